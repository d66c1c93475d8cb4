"""What the gateway keeps of an API key, and whether a request's key opens anything."""

import hashlib
import secrets
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from apps.apikeys import scopes, tokens
from apps.apikeys.models import LIMITS, ApiKey
from apps.deployments.gateway import errors, tickets
from apps.deployments.gateway.feed import Cache
from apps.deployments.gateway.limits.budget import Limits

UNLIMITED = Limits()
KNOWN = 50_000  # headers whose key was found right before
FIELDS = ("deployment_id", "account", "name", "hash", "expires_at", "revoked_at", "scopes", "networks", *LIMITS)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the database had it; never written back. `expires_at` in seconds since the epoch.

    A caller without a key, a person who is logged in, has a `user_name` and an empty `id`.
    """

    id: str
    deployment_id: str
    account: str = ""
    name: str = ""
    hash: str = ""
    expires_at: float | None = None
    revoked: bool = False
    scopes: tuple[str, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    limits: Limits = UNLIMITED
    user_name: str = ""
    client: str = ""  # the address of such a person
    subject: str = ""
    opened: dict[str, bool] = field(default_factory=dict, compare=False)

    def allows(self, path: str) -> bool:
        """Is the engine's path in the key's scopes?"""
        if not self.scopes:
            return True
        known = self.opened.get(path)
        if known is None:
            known = scopes.allows(self.scopes, path)
            if len(self.opened) < 1000:
                self.opened[path] = known
        return known

    def admits(self, client: str) -> bool:
        """May it be used from that address?"""
        if not self.networks:
            return True
        try:
            address = ip_address(client)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.networks)


def load(identifier: str) -> Key | None:
    """One key from the database."""
    row = ApiKey.objects.filter(pk=identifier).values(*FIELDS).first()
    if row is None:
        return None
    return Key(
        id=identifier,
        deployment_id=row["deployment_id"],
        account=row["account"],
        subject=f"key:{row['account']}",
        name=row["name"],
        hash=row["hash"],
        expires_at=row["expires_at"].timestamp() if row["expires_at"] else None,
        revoked=row["revoked_at"] is not None,
        scopes=tuple(row["scopes"]),
        networks=tuple(ip_network(each, strict=False) for each in row["networks"]),
        limits=Limits(*(row[name] for name in LIMITS)),
    )


class Keys:
    """The keys that this process knows, and which Authorization headers were found to hold which.

    Only a keyed hash of a header is remembered, so that no dump of the process shows keys.
    """

    def __init__(self, cache: Cache[Key]) -> None:
        self.cache = cache
        self._salt = secrets.token_bytes(32)
        self._known: dict[bytes, tuple[str, str]] = {}

    def peek(self, header: bytes, now: float) -> Key | None:
        """The key of a header that was seen before; None if it has to be looked at. Refused if it has ended."""
        found = self._known.get(hashlib.blake2b(header, key=self._salt, digest_size=16).digest())
        if found is None:
            return None
        entry = self.cache.peek(found[0], now)
        if entry is None or entry.value is None or entry.value.hash != found[1]:
            return None
        return _valid(entry.value)

    async def check(self, header: bytes | None) -> Key:
        """The key that a request's Authorization header holds; Refused if it opens nothing."""
        if not header:
            raise errors.no_key()
        scheme, _, text = header.partition(b" ")
        if scheme.lower() != b"bearer":
            raise errors.no_key()
        text = text.strip()
        if text.startswith(tickets.PREFIX):
            ticket = tickets.read(text)
            if ticket is None:
                raise errors.invalid_key()
            return Key(id="", deployment_id=ticket.deployment_id, user_name=ticket.user_name, client=ticket.client)
        token = tokens.read(text.decode("ascii", "replace"))
        if token is None:
            tokens.matches("", "0" * 64)  # as long as it takes for one that is well-formed
            raise errors.malformed_key()
        key = await self.cache.get(token.id)
        # An unknown key costs the same comparison as a wrong one.
        right = tokens.matches(token.secret, key.hash if key else "0" * 64)
        if key is None or not right:
            raise errors.invalid_key()
        if len(self._known) >= KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[hashlib.blake2b(header, key=self._salt, digest_size=16).digest()] = (key.id, key.hash)
        return _valid(key)


def _valid(key: Key) -> Key:
    if key.revoked or (key.expires_at is not None and key.expires_at <= time.time()):
        raise errors.ended_key()
    return key
