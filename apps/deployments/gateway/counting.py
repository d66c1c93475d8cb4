"""Tokens of a call: read from the end of its answer, and hidden from a caller who didn't ask (see `asking`).

No body is parsed. What is looked for are JSON keys: inside a JSON string their quotes would be escaped, so a text that
passes can't pretend to be one.
"""

import json
import re
from typing import Any

PROMPT = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})')
COMPLETION = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,12})')
TOTAL = re.compile(rb'"total_tokens"\s*:\s*(\d{1,12})')
MOST = re.compile(
    rb'"(?:(?:max_tokens|max_completion_tokens|max_output_tokens|max_new_tokens)"\s*:\s*(\d{1,12}(?:\.\d+)?(?:[eE]\+?\d\d?)?)'
    rb'|(?:n|best_of)"\s*:\s*(\d{1,4}))'
)
PROMPTS = re.compile(rb'"prompt"\s*:\s*\[')
ELEMENT = re.compile(rb'\s*(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|\[[\d\s,]*+\])\s*([,\]])', re.DOTALL)
"""One prompt of several, a text or a list of tokens, and whether another one follows."""
HIGHEST = 10**12  # tokens that a request is taken to ask for at most
COMPLETIONS = "/v1/completions"
STREAMING_PATHS = frozenset({"/v1/chat/completions", COMPLETIONS})  # those with `stream_options`
TEXT_PATHS = STREAMING_PATHS | {"/v1/responses", "/generate", "/generate_stream"}
EMBEDDING_PATHS = frozenset({"/v1/embeddings", "/v1/rerank", "/v1/score", "/v1/classify", "/classify"})
BYTES_A_TOKEN = 4  # of an average text; what is counted so is marked as estimated
NEAR = 64 * 1024  # bytes that are looked at to see how deep a key lies
WINDOW = 800  # bytes after "usage" in which its numbers stand
TAIL = 16 * 1024  # bytes of an answer that are kept to find its usage
WHOLE = 256 * 1024  # bytes that are kept for a runtime with a usage of its own
HELD = 64 * 1024  # bytes of an unfinished event that are held back at most


def most(body: bytes) -> int | None:
    """The most completion tokens that a request asks for; None if it doesn't say."""
    if b"max_" not in body:
        return None  # as most requests: told ten times as fast
    found = MOST.findall(body) if len(body) <= NEAR else MOST.findall(body[:NEAR]) + MOST.findall(body[-NEAR:])
    asked = [number for number, _ in found if number]
    if not asked:
        return None
    answers = max((int(number) for _, number in found if number), default=1)
    return min(int(max(map(float, asked))) * max(answers, 1), HIGHEST)


def prompts(body: bytes) -> int:
    """How many prompts a completion request has, each of which is answered; at least so many of a body's beginning."""
    found = PROMPTS.search(body)
    if not found:
        return 1
    count, at = 0, found.end()
    while element := ELEMENT.match(body, at):
        count, at = count + 1, element.end()
        if element[1] == b"]":
            return count
    return count + 1


def read(tail: bytes) -> tuple[int, int] | None:
    """Prompt and completion tokens, from the last `usage` that says any; None if there is none."""
    at = tail.rfind(b'"usage"')
    while at >= 0:
        end = at + WINDOW
        prompt = PROMPT.search(tail, at, end) or TOTAL.search(tail, at, end)
        if prompt:
            completion = COMPLETION.search(tail, at, end)
            return int(prompt[1]), int(completion[1]) if completion else 0
        at = tail.rfind(b'"usage"', 0, at)
    return None


class Answer:
    """What of a plain answer is needed for its usage: its end, and its beginning where it is long."""

    def __init__(self, keep: int = TAIL) -> None:
        self.keep = keep
        self.head = b""
        self.tail = b""
        self.whole = True
        self.events = 0

    def feed(self, data: bytes) -> bytes:
        """Take note of what passes; all of it goes on."""
        tail = self.tail + data if self.tail else data
        if len(tail) > self.keep:
            if self.whole:
                self.head = tail[: self.keep]
            self.whole = False
            tail = tail[-self.keep :]
        self.tail = tail
        return data

    def end(self) -> bytes:
        """What is still to go on."""
        return b""

    def usage(self) -> tuple[int, int] | None:
        """Prompt and completion tokens, if the answer says so."""
        return read(self.tail) or (read(self.head) if self.head else None)


class Events(Answer):
    """A stream of events. With `hide`, the usage that the gateway asked for is taken out again.

    Only whole events go on then: half a one is of no use to a caller, and usage may come in two reads.
    """

    def __init__(self, hide: bool) -> None:
        super().__init__()
        self.hide = hide
        self.held = b""
        self.found: tuple[int, int] | None = None

    def feed(self, data: bytes) -> bytes:
        """What goes on to the caller now."""
        if not self.hide:
            self.events += data.count(b"data:")
            return super().feed(data)
        if self.held:
            data = self.held + data
            self.held = b""
        if not data.endswith(b"\n\n"):
            cut = max(data.rfind(b"\n\n") + 2, data.rfind(b"\r\n\r\n") + 4)
            if cut < 4 and len(data) <= HELD:
                self.held = data
                return b""
            if cut >= 4:
                data, self.held = data[:cut], data[cut:]
        self.events += data.count(b"data:")
        return self._shown(data) if b'"usage"' in data else data

    def _shown(self, data: bytes) -> bytes:
        found = read(data)
        if found is None:
            return data  # `"usage": null` in every chunk is what OpenAI does too
        self.found = found
        separator = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
        return separator.join(shown for event in data.split(separator) if (shown := _without(event)) is not None)

    def end(self) -> bytes:
        """The rest of a stream that ended within an event."""
        rest, self.held = self.held, b""
        return self._shown(rest) if b'"usage"' in rest else rest

    def usage(self) -> tuple[int, int] | None:
        """Prompt and completion tokens, if the stream said so."""
        return self.found or super().usage()


def _without(event: bytes) -> bytes | None:
    """An event without its usage; None if there was nothing else in it."""
    start = event.find(b"{")
    if b'"usage"' not in event or start < 0:
        return event
    try:
        content = json.loads(event[start:])
    except (ValueError, RecursionError):
        return event
    if not content.get("usage"):
        return event
    if not content.get("choices"):
        return None
    del content["usage"]
    return event[:start] + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def parsed(body: bytes) -> dict[str, Any] | None:
    """A whole answer, for a runtime that tells usage its own way; None if it is no JSON object."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
