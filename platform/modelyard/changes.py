"""The change feed: what was changed in the database that web processes keep in memory (keys, routes).

A Redis stream, not publish/subscribe: a process that was away for a moment reads what it missed.
"""

import logging

import redis
from django.conf import settings
from django.db import transaction

STREAM = "modelyard:changes"
KEPT = 10_000  # entries; what a reader that is further behind has missed acts once it loads things again by age
ATTEMPTS = 2
logger = logging.getLogger(__name__)


def connection() -> redis.Redis:
    """A client of the Redis or Valkey that MODELYARD_REDIS_URL names."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


def announce(kind: str, identifier: str) -> None:
    """Tell every web process, once the current transaction is committed, to forget what it knows about one thing."""
    transaction.on_commit(lambda: _append(kind, identifier), robust=True)


def _append(kind: str, identifier: str) -> None:
    for attempt in range(ATTEMPTS):
        try:
            with connection() as client:
                client.xadd(STREAM, {"kind": kind, "id": identifier}, maxlen=KEPT, approximate=True)
        except redis.RedisError as error:
            if attempt == ATTEMPTS - 1:
                # Readers notice that Redis is away and ask the database twice a second until it is back.
                logger.warning("change of %s %s not announced: %s", kind, identifier, error)
        else:
            return
