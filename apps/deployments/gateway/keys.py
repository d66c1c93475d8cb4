"""What the gateway keeps of an API key, and whether a request's key opens anything."""

import time
from dataclasses import dataclass

from apps.apikeys import tokens
from apps.apikeys.models import ApiKey
from apps.deployments.gateway import errors
from apps.deployments.gateway.feed import Cache


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the database had it; never written back. `expires_at` in seconds since the epoch."""

    id: str
    deployment_id: str
    hash: str
    expires_at: float | None
    revoked: bool


def load(identifier: str) -> Key | None:
    """One key from the database."""
    row = ApiKey.objects.filter(pk=identifier).values_list("deployment_id", "hash", "expires_at", "revoked_at").first()
    if row is None:
        return None
    deployment_id, stored, expires_at, revoked_at = row
    return Key(identifier, deployment_id, stored, expires_at.timestamp() if expires_at else None, bool(revoked_at))


async def check(header: bytes | None, cache: Cache[Key]) -> Key:
    """The key that a request's Authorization header holds; Refused if it opens nothing."""
    if not header:
        raise errors.no_key()
    scheme, _, text = header.partition(b" ")
    if scheme.lower() != b"bearer":
        raise errors.no_key()
    token = tokens.read(text.strip().decode("ascii", "replace"))
    if token is None:
        raise errors.malformed_key()
    key = await cache.get(token.id)
    # An unknown key costs the same comparison as a wrong one.
    right = tokens.matches(token.secret, key.hash if key else "0" * 64)
    if key is None or not right or key.revoked or (key.expires_at is not None and key.expires_at <= time.time()):
        raise errors.invalid_key()
    return key
