"""What a tokenizer.json makes of its input: how much it grows, how long its patterns may try, how large it is."""

import re
from collections.abc import Iterator
from typing import Any

from apps.models.formats.documents import walk

MAX_VOCABULARY = 2_000_000  # tokens; the largest in use have 300,000
MAX_ADDED = 100_000  # tokens beside the vocabulary
MAX_MERGES = 4_000_000
MAX_TOKEN = 8192  # characters of one token
MAX_PATTERN = 8192  # characters of one regular expression
MAX_GROWTH = 64  # times that normalizers may lengthen a text
ESCAPE_OR_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*+\]", re.DOTALL)
BRACES = re.compile(r"\{\d*(?:,(\d*))?\}")
UNBOUNDED = 1000  # repetitions that count as without end


def problems(tokenizer: dict[str, Any]) -> Iterator[str]:
    """What is out of bounds."""
    yield from _sizes(tokenizer)
    growth = 1.0
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        for key, value in walk({part: tokenizer.get(part)}):
            if key == "Regex" and isinstance(value, str):
                yield from _pattern(part, value)
    for step in _steps(tokenizer.get("normalizer")):
        growth *= _grows(step)
    if growth > MAX_GROWTH:
        yield f"its normalizers may make a text more than {MAX_GROWTH} times as long"


def _sizes(tokenizer: dict[str, Any]) -> Iterator[str]:
    model = tokenizer.get("model")
    model = model if isinstance(model, dict) else {}
    sizes = (
        ("vocabulary", model.get("vocab"), MAX_VOCABULARY, "tokens"),
        ("list of merges", model.get("merges"), MAX_MERGES, "entries"),
        ("list of added tokens", tokenizer.get("added_tokens"), MAX_ADDED, "entries"),
    )
    for name, value, most, what in sizes:
        if isinstance(value, (dict, list)) and len(value) > most:
            yield f"its {name} has {len(value)} {what}, and {most} are plausible"
    if any(len(token) > MAX_TOKEN for token in _tokens(model.get("vocab"), tokenizer.get("added_tokens"))):
        yield f"a token of it has more than {MAX_TOKEN} characters"
    for key in ("max_input_chars_per_word",):
        value = model.get(key)
        if isinstance(value, int) and value > 10**6:
            yield f"its {key} is {value}"


def _tokens(vocabulary: Any, added: Any) -> Iterator[str]:
    if isinstance(vocabulary, dict):
        yield from vocabulary
    elif isinstance(vocabulary, list):
        yield from (pair[0] for pair in vocabulary if isinstance(pair, list) and pair and isinstance(pair[0], str))
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            yield token["content"]


def _steps(normalizer: Any) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer, those of sequences in sequences too."""
    waiting = [normalizer]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            yield step
            inner = step.get("normalizers")
            waiting.extend(inner if isinstance(inner, list) else [])


def _grows(step: dict[str, Any]) -> float:
    """How many times as long a text may get by one step."""
    if step.get("type") == "Replace" and isinstance(step.get("content"), str):
        pattern = step.get("pattern")
        literal = pattern.get("String") if isinstance(pattern, dict) else None
        taken = len(literal) if isinstance(literal, str) else 1
        return max(1.0, len(step["content"]) / max(taken, 1))
    if step.get("type") == "Prepend" and isinstance(step.get("prepend"), str):
        return 1.0 + len(step["prepend"]) / 16
    return 1.0


def _pattern(part: str, pattern: str) -> Iterator[str]:
    if len(pattern) > MAX_PATTERN:
        yield f"a pattern of its {part} has {len(pattern)} characters"
    elif nested(pattern):
        yield f"a pattern of its {part} repeats what repeats itself: {pattern[:60]!r}"


def nested(pattern: str) -> bool:
    """Is a group repeated without end that holds something repeated without end? It tries every way to divide a text.

    Possessive repetitions (`++`) and atomic groups (`(?>`) divide it one way only.
    """
    plain = ESCAPE_OR_CLASS.sub("x", pattern)
    open_groups: list[tuple[bool, bool]] = []  # is it atomic? does it hold a repetition?
    holds, position = False, 0
    while position < len(plain):
        char, inner = plain[position], False
        position += 1
        if char == "(":
            open_groups.append((plain.startswith("?>", position), holds))
            holds = False
            position += plain.startswith("?", position)
            continue
        if char == ")" and open_groups:
            atomic, outer = open_groups.pop()
            inner, holds = holds and not atomic, outer or (holds and not atomic)
        endless, possessive, position = _repeated(plain, position)
        if endless and inner and not possessive:
            return True
        holds = holds or (endless and not possessive)
    return False


def _repeated(plain: str, position: int) -> tuple[bool, bool, int]:
    """Is what ends here repeated without end, and possessively? With where the repetition ends."""
    endless = False
    if plain.startswith(("*", "+"), position):
        endless, position = True, position + 1
    elif found := BRACES.match(plain, position):
        most = found[1]
        endless = most is not None and (most == "" or len(most) > 4 or int(most) >= UNBOUNDED)
        position = found.end()
    elif plain.startswith("?", position):
        position += 1
    else:
        return False, False, position
    possessive = plain.startswith("+", position)
    return endless, possessive, position + plain.startswith(("+", "?"), position)
