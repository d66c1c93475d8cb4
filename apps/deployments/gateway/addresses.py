"""Who calls, where a proxy may stand in between."""

import ipaddress
from collections.abc import Sequence

FORWARDING = (b"forwarded", b"via", b"x-forwarded", b"x-real-ip")
"""How the names of headers begin that proxies add."""
LONGEST = 45  # characters that an address can have, and that the ledger has room for
Headers = Sequence[tuple[bytes, bytes]]


def caller(peer: str, headers: Headers, trusted: frozenset[str]) -> str:
    """The caller's address: the peer's, or what a proxy that the operator trusts says it is."""
    if peer not in trusted:
        return peer
    for name, value in reversed(headers):
        if name == b"x-forwarded-for":
            # The proxy appends who called it, to the line or as a line: what stands before is the caller's own word.
            return value.rsplit(b",", 1)[-1].strip().decode("ascii", "replace")[:LONGEST]
    return peer


def local(peer: str, headers: Headers, trusted: frozenset[str]) -> bool:
    """Does the caller run on this host? What a proxy on it passes on does not, unless that one says so."""
    if not any(name.startswith(FORWARDING) for name, _ in headers):
        return not peer or loopback(peer)
    said = any(name == b"x-forwarded-for" for name, _ in headers)
    return said and peer in trusted and loopback(caller(peer, headers, trusted))


def loopback(address: str) -> bool:
    """Is it an address of the host itself?"""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
