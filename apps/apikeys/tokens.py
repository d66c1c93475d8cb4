"""The key itself: `myk_<id>_<secret><checksum>`, how it is made, read and hashed."""

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass

from django.conf import settings

from modelyard.ids import ALPHABET

PREFIX = "myk"
ID_LENGTH = 12  # 60 bits: names the key, opens nothing
SECRET_LENGTH = 52  # 260 bits
CHECKSUM_LENGTH = 7  # CRC-32 in base 32: a typo, or a text that only looks like a key, is known without a lookup
FORM = re.compile(
    rf"{PREFIX}_([{ALPHABET}]{{{ID_LENGTH}}})_([{ALPHABET}]{{{SECRET_LENGTH}}})([{ALPHABET}]{{{CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True)
class Token:
    """A well-formed key, taken apart. Whether it opens anything is another question."""

    id: str
    secret: str


def make() -> tuple[Token, str]:
    """A fresh key: its parts, and the text that is shown once."""
    token = Token(_random(ID_LENGTH), _random(SECRET_LENGTH))
    body = f"{PREFIX}_{token.id}_{token.secret}"
    return token, body + _checksum(body)


def read(text: str) -> Token | None:
    """The parts of a key; None if the text isn't one, or has a typo."""
    match = FORM.fullmatch(text)
    if match is None or _checksum(text[:-CHECKSUM_LENGTH]) != match[3]:
        return None
    return Token(match[1], match[2])


def shown(token: Token) -> str:
    """What lists show of a key: enough to find it again, not enough to use it."""
    return f"{PREFIX}_{token.id}_{token.secret[:2]}"


def digest(secret: str, secret_key: str | None = None) -> str:
    """The keyed hash that is stored: of no use to whoever has the database but not the platform's secret key."""
    pepper = hashlib.sha256(b"modelyard api keys:" + (secret_key or settings.SECRET_KEY).encode()).digest()
    return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()


def matches(secret: str, stored: str) -> bool:
    """Is it the secret of that hash? Takes as long for a wrong one. Earlier secret keys of the platform count too."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return any([hmac.compare_digest(digest(secret, key), stored) for key in keys])


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    return "".join(ALPHABET[(value >> shift) & 31] for shift in range(30, -1, -5))
