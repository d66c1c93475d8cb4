"""Slows those who try keys: by address, longer each time, and alike for every kind of wrong key."""

import time
from ipaddress import IPv6Address, ip_address

FREE = 10  # failures of one address before they cost time
FORGET = 60.0  # seconds without a failure after which an address starts afresh
STEP = 0.025  # seconds: refusals are sent on such a grid, so that how long a look-up took doesn't show
LONGEST = 2.0  # seconds
WAITING = 500  # refusals that wait at once; above it they are told to come back
SIZE = 20_000  # addresses


class Guard:
    """Failures by address, in this process."""

    def __init__(self) -> None:
        self._failures: dict[str, tuple[int, float]] = {}
        self.waiting = 0

    def delay(self, client: str, began: float, *, guess: bool) -> float | None:
        """Count a failure if it was a guess; seconds until its refusal is sent. None: too many wait already."""
        now = time.monotonic()
        if not guess:
            return STEP - (now - began) % STEP
        client = neighbourhood(client)
        count, last = self._failures.pop(client, (0, now))
        count = 1 if now - last > FORGET else count + 1
        if len(self._failures) >= SIZE:
            self._failures.pop(next(iter(self._failures)))
        self._failures[client] = (count, now)
        if count > FREE and self.waiting >= WAITING:
            return None
        grid = STEP - (now - began) % STEP
        return grid + (min(0.1 * 2.0 ** min(count - FREE, 10), LONGEST) if count > FREE else 0)


def neighbourhood(client: str) -> str:
    """What counts as one address: of IPv6 a /64, since whoever has one address there has all."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        return address.exploded[:19]
    return client
