"""System IDs: what the product calls a thing for ever, whatever its name becomes."""

import secrets

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread
LENGTH = 16  # 80 random bits


def new(prefix: str) -> str:
    """A fresh ID such as `dep_7m3k0q9x2v4b6n8c`."""
    return f"{prefix}_" + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def model() -> str:
    return new("mdl")


def deployment() -> str:
    return new("dep")


def artifact() -> str:
    return new("art")


def draft() -> str:
    return new("dft")


def replica() -> str:
    return new("rep")


def installation() -> str:
    return new("ins")


def upload() -> str:
    return new("upl")


def connection() -> str:
    return new("con")
