"""Free ports for engines."""

import random
import socket
from collections.abc import Collection

from modelyard.launchers.base import NoFreePort

HOST = "127.0.0.1"


def parse(text: str) -> range:
    """The ports that `20000-29999` names; ValueError, with what is wrong, if it names none."""
    first, dash, last = text.partition("-")
    try:
        low, high = int(first), int(last if dash else first)
    except ValueError:
        raise ValueError(f"MODELYARD_ENGINE_PORTS must look like 20000-29999, not {text!r}") from None
    if not 1 <= low <= high <= 65535:
        raise ValueError(f"MODELYARD_ENGINE_PORTS must be a range within 1-65535, not {text!r}")
    return range(low, high + 1)


def pick(text: str, taken: Collection[int]) -> int:
    """A port of the range that nobody has. It may be taken a moment later: then the engine says so.

    One with old connections in TIME_WAIT can't be told from one that somebody has bound but doesn't listen on yet (an
    engine that loads its model). So it is given only when the range has no other.
    """
    ports = parse(text)
    start = random.randrange(len(ports))  # noqa: S311 (spreads concurrent picks; no secret)
    order: list[int] = [port for port in (*ports[start:], *ports[:start]) if port not in taken]
    for waiting_too in (False, True):
        for port in order:
            if _free(port, waiting_too=waiting_too):
                return port
    raise NoFreePort(f"every port of {text} is taken")


def _free(port: int, *, waiting_too: bool) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(waiting_too))
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
