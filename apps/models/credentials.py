"""Credentials that people leave in files: found, and told without being shown."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

HIDDEN = "\N{HORIZONTAL ELLIPSIS}(hidden)"
MAX_SCANNED = 4 * 2**20  # bytes of one file; larger text files are vocabularies
MAX_LINE = 4096  # characters of one line that are looked at in one go
TEXTS = (
    "", ".json", ".jsonl", ".txt", ".md", ".py", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".sh", ".env",
    ".jinja", ".properties", ".xml", ".html", ".log",
)  # fmt: skip
KEPT_FOR_CREDENTIALS = re.compile(
    r"^(\.env(\..+)?|.+\.env|id_(rsa|dsa|ecdsa|ed25519)|\.netrc|_netrc|\.git-credentials|\.pypirc|\.npmrc|\.htpasswd"
    r"|.+\.(pem|p12|pfx|key|keystore|jks|kdbx|ppk)|credentials(\.json)?|service[-_]account.*\.json)$",
    re.IGNORECASE,
)
"""Files that are there to hold credentials; no model needs them."""
SHAPES = {
    "a Hugging Face token": re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}\b"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})\b"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Google API key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "an OpenAI or Anthropic key": re.compile(r"\bsk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{32,}"),
    "a Modelyard key": re.compile(r"\bmyk_[A-Za-z0-9]+_[A-Za-z0-9]{20,}"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "a JSON web token": re.compile(
        r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{13,}+\.eyJ[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]{10,}"
    ),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"]{1,64}:[^\s/@'\"{}$<]{4,128}@"),
    "a password or token": re.compile(
        r"(?i)\b(?:api[_-]?key|secret(?:[_-]?access)?(?:[_-]?key)?|access[_-]?token|auth[_-]?token|password|passwd)"
        r"['\"]?\s{0,8}[:=]\s{0,8}['\"][^\s'\"{}<>$]{12,256}['\"]"
    ),
}
PRIVATE_KEY = re.compile(r"(-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----).*?(-----END|\Z)", re.DOTALL)


def redacted(text: str) -> str:
    """The text with `…(hidden)` where a credential stood."""
    text = PRIVATE_KEY.sub(HIDDEN, text)
    for shape in SHAPES.values():
        text = shape.sub(HIDDEN, text)
    return text


def is_kept_for_credentials(path: str) -> bool:
    """Is it a file such as `.env` or `id_rsa`?"""
    return bool(KEPT_FOR_CREDENTIALS.match(PurePosixPath(path).name))


def found(folder: Path, path: str) -> Iterator[tuple[int, str]]:
    """The line and the kind of each credential in one text file; never the credential itself."""
    file = folder / path
    if PurePosixPath(path).suffix.lower() not in TEXTS or file.stat().st_size > MAX_SCANNED:
        return
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        for start in range(0, len(line), MAX_LINE):
            piece = line[start : start + MAX_LINE + 512]
            yield from ((number, kind) for kind, shape in SHAPES.items() if shape.search(piece))
