"""JSON from people we don't know: bounded before it is parsed, and looked through for what readers disagree about."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apps.models.formats.safetensors import MAX_DIGITS, Malformed, plausible
from apps.models.rules import Policy

MAX_JSON = 64 * 2**20  # bytes of a configuration or tokenizer file
MAX_VALUES = 4_000_000  # lists, objects and their members; the largest tokenizers have two million
MAX_DEPTH = 64  # of lists and objects in one another
STEP = "Write the file again with an ordinary JSON program, and import again."


class Bomb(Malformed):
    """It is there to exhaust who reads it."""


@dataclass
class Document:
    """What a file holds, and what is wrong with the way it says so."""

    value: Any = None
    problems: list[str] = field(default_factory=list)


def load(raw: bytes) -> Document:
    """Parse it. Malformed if it isn't JSON, or has more values than any configuration."""
    try:
        plausible(raw, MAX_VALUES)
    except Malformed as error:
        raise Bomb(str(error)) from None
    found = Document()

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs) and not found.problems:
            seen: set[str] = set()
            double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            found.problems.append(f"it says {double[:60]!r} twice")
        return made

    def number(text: str) -> int:
        if len(text) > MAX_DIGITS:
            raise ValueError("a number has too many digits")
        return int(text)

    try:
        found.value = json.loads(raw.decode(), object_pairs_hook=once, parse_int=number)
    except RecursionError:
        raise Bomb("it is nested too deep") from None
    except ValueError as error:
        raise Malformed(str(error)[:100]) from None
    if depth(found.value) > MAX_DEPTH:
        found.problems.append(f"it is nested deeper than {MAX_DEPTH}")
    return found


def depth(value: Any) -> int:
    """How deep lists and objects lie in one another, no further than a little over what is allowed."""
    level, found = [value], 0
    while level and found <= MAX_DEPTH:
        level = [inner for each in level for inner in _inner(each) if isinstance(inner, (dict, list))]
        found += 1
    return found


def _inner(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        yield from value.values() if isinstance(value, dict) else value


def every(folder: Path, paths: list[str], policy: Policy) -> Iterator[tuple[str, Any]]:
    """What every JSON file holds, one after the other; those that aren't JSON are left to who wants them."""
    for path in policy.each(paths):
        if not path.lower().endswith(".json"):
            continue
        if (folder / path).stat().st_size > MAX_JSON:
            policy.block("MYI025", f"{path} is larger than {MAX_JSON // 2**20} MiB.", STEP)
            continue
        raw = (folder / path).read_bytes()
        try:
            document = load(raw)
        except Bomb as error:
            policy.block("MYI025", f"{path}: {error}.", STEP)
            continue
        except Malformed:
            continue
        for problem in document.problems:
            policy.block("MYI025", f"{path}: {problem}.", STEP)
        yield path, document.value


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every object in it, with what it stands for."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield from ((str(key), inner) for key, inner in each.items())
        waiting.extend(inner for inner in _inner(each) if isinstance(inner, (dict, list)))
