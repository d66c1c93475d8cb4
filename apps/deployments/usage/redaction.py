"""Takes out of a text what names a person or opens a door. Patterns find most of it, never all: see the guide."""

import re
from collections.abc import Callable
from functools import cache

from django.conf import settings

EDGE = r"(?:(?<![\w.+-])|(?<=\\[nrtbf]))"
"""Where a number may begin: not within a word or a longer number, but after what JSON writes for a line break."""
KEY_PREFIXES = "sk|pk|rk|myk|myt|hf|gh[opsur]|github_pat|glpat|xox[abeoprs]|npm|pypi|dop_v1|whsec|nvapi|gsk"

Pattern = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def redact(text: str) -> str:
    """The text with e-mail addresses, phone, card and account numbers, keys and tokens, and own patterns taken out."""
    for pattern, instead in (*OURS, *own(settings.REDACT_PATTERNS)):
        text = pattern.sub(instead, text)
    return text


@cache
def own(patterns: str) -> tuple[Pattern, ...]:
    """The operator's patterns; re.error names the one that can't be read."""
    return tuple((re.compile(part), "[redacted]") for part in split(patterns))


def split(patterns: str) -> list[str]:
    """The patterns of the setting: a line each, or between `;;`."""
    return [part.strip() for line in patterns.splitlines() for part in line.split(";;") if part.strip()]


def _card(found: re.Match[str]) -> str:
    digits = [int(digit) for digit in found[0] if digit.isdigit()]
    doubled = [digit if place % 2 == 0 else sum(divmod(digit * 2, 10)) for place, digit in enumerate(reversed(digits))]
    return found[0] if sum(doubled) % 10 else "[card]"


def _iban(found: re.Match[str]) -> str:
    plain = re.sub(r"[ -]", "", found[0]).upper()
    number = "".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])
    return "[iban]" if int(number) % 97 == 1 else found[0]


def _phone(found: re.Match[str]) -> str:
    digits = sum(letter.isdigit() for letter in found[0])
    return "[phone]" if 8 <= digits <= 15 else found[0]


def _named(found: re.Match[str]) -> str:
    return f"{found[1]}[secret]"


OURS: tuple[Pattern, ...] = (
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), "[token]"),
    (re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}"), "[token]"),
    (re.compile(rf"\b(?:{KEY_PREFIXES})[-_][A-Za-z0-9_-]{{12,}}|\b(?:AKIA|ASIA)[A-Z0-9]{{16}}\b|\bAIza[\w-]{{30,}}"),
     "[secret]"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----)[\s\S])*(?:-----END [A-Z ]*PRIVATE KEY-----)?"),
     "[secret]"),
    (re.compile(r"(?i)(\b(?:api[_-]?key|secret|token|password|passwd|passwort|pwd)\b[\\\"']*\s*[:=]\s*[\\\"']*)"
                r"[^\s\\\"',;&}]{4,}"), _named),
    (re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"), "[email]"),
    (re.compile(r"(?i)(?:\b|(?<=\\[nrtbf]))[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,3})?\b"), _iban),
    (re.compile(rf"{EDGE}\d(?:[ -]?\d){{12,18}}(?![\w.]*\d)"), _card),
    (re.compile(rf"(?:{EDGE}|(?<=\())(?:\+|00)\d{{1,3}}[ ()./-]{{0,3}}\d[\d ()./-]{{4,20}}\d"), _phone),
    (re.compile(rf"{EDGE}(?:\(0?\d{{2,5}}\)|0\d{{1,4}}|\d{{3}})[ ./-]{{1,2}}\d{{3,4}}[ /.-]?\d{{2,6}}"
                r"(?:[ -]?\d{2,4})?(?![\w-])(?!\.\d)"), _phone),
)  # fmt: skip
