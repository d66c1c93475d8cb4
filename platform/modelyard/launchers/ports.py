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
    """A port of the range that nobody listens on. It may be taken a moment later: then the engine says so."""
    ports = parse(text)
    start = random.randrange(len(ports))  # noqa: S311 (spreads concurrent picks; no secret)
    for step in range(len(ports)):
        port = ports[(start + step) % len(ports)]
        if port not in taken and _free(port):
            return port
    raise NoFreePort(f"every port of {text} is taken")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # As engines do: a port with old connections in TIME_WAIT is free, one that somebody listens on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
