"""Secrets in the database: encrypted with a key made of the installation's secret key.

With a new `MODELYARD_SECRET_KEY`, the old one in `MODELYARD_SECRET_KEY_FALLBACKS` still opens what was sealed with it;
`modelyard reseal` seals everything with the new one, after which the old one can go.
"""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class Sealed(Exception):
    """None of the keys opens it."""


def seal(secret: str) -> str:
    """Encrypt and authenticate."""
    return _keys().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """The secret again. Sealed if it was sealed with a key that isn't known any more."""
    try:
        return _keys().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise Sealed from None


def reseal(sealed: str) -> str:
    """The same secret under the first key."""
    try:
        return _keys().rotate(sealed.encode()).decode()
    except InvalidToken:
        raise Sealed from None


def _keys() -> MultiFernet:
    return MultiFernet([Fernet(_key(secret)) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _key(secret: str) -> bytes:
    made = hashlib.sha256(b"modelyard.vault.1:" + secret.encode()).digest()  # secret keys have 50 random characters
    return base64.urlsafe_b64encode(made)
