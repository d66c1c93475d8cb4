"""Keeps inputs and outputs of calls, redacted, where a deployment asks for that."""

import codecs
import json
import logging
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from apps.deployments.usage.models import Capture
from apps.deployments.usage.redaction import redact

logger = logging.getLogger(__name__)
KEPT = 64 * 1024  # bytes of a request and of an answer
EDGE = 48  # characters at a cut that go, lest half a number stays that nothing recognizes
SAID = frozenset({
    "content", "text", "delta", "arguments", "reasoning", "reasoning_content", "refusal", "generated_text",
})  # fmt: skip
"""Keys under which the events of a stream have what was said."""

STREAM = re.compile(r"(?:data|event|id|retry)?:")


def write(rows: Sequence[tuple[Any, ...]]) -> None:
    """Write (at, request_id, deployment_id, account, path, status, request, answer, cut); bodies as bytes."""
    try:
        Capture.objects.bulk_create(_capture(*row) for row in rows)
    except re.error as error:
        # Rather none than some that aren't redacted as was asked.
        logger.error("inputs and outputs aren't kept, a pattern of MODELYARD_REDACT_PATTERNS can't be read: %s", error)


def _capture(
    at: float, request_id: str, deployment_id: str, account: str, path: str, status: int, request: bytes,
    answer: bytes, cut: bool,
) -> Capture:  # fmt: skip
    cut = cut or max(len(request), len(answer)) > KEPT
    return Capture(
        at=datetime.fromtimestamp(at, UTC), request_id=request_id[:128], deployment_id=deployment_id, account=account,
        path=path[:200], status=status, request=shown(request, cut), response=shown(answer, cut), cut=cut,
    )  # fmt: skip


def shown(body: bytes, cut: bool = False) -> str:
    """A body as redacted text; of a stream what was said, since half a word an event hides from patterns."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(body[:KEPT], final=len(body) < KEPT)
    except UnicodeDecodeError:
        return f"({len(body)} bytes that are no text)"
    if cut and len(body) >= KEPT:
        text = re.sub(r"\S{1,200}\Z", "", text[:-EDGE])
    try:
        plain = _said(text) if STREAM.match(text) else json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        plain = text
    # Escapes of JSON may stand for what no database takes as text.
    return redact(plain).replace("\0", "").encode("utf-8", "replace").decode()


def _said(stream: str) -> str:
    """What the events of a stream say, each voice put together."""
    voices: dict[tuple[str, ...], list[str]] = {}
    events = 0
    for line in stream.splitlines():
        if not line.startswith("data:"):
            continue
        events += 1
        try:
            content = json.loads(line[5:])
        except ValueError:
            continue
        for voice, text in _texts(content, ()):
            voices.setdefault(voice, []).append(text)
    texts = ["".join(parts) for parts in voices.values()]
    return "\n\n".join(texts) if texts else f"(a stream of {events} events without text)"


def _texts(content: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(content, list):
        for place, each in enumerate(content):
            number = each.get("index", place) if isinstance(each, dict) else place
            yield from _texts(each, (*path, str(number)))
    elif isinstance(content, dict):
        for name, each in content.items():
            yield from _texts(each, (*path, name))
    elif isinstance(content, str) and path and path[-1] in SAID:
        yield path, content
