"""How many requests every engine is answering, over all web processes: what a drain waits for."""

import redis

from modelyard import changes

KEY = "modelyard:inflight:{}"
KEPT_SECONDS = 5  # a web process writes about once a second; what a killed one wrote is gone after this


def total(replica_id: str) -> int | None:
    """Requests in flight on one replica; None when that can't be known."""
    try:
        with changes.connection() as client:
            return sum(int(count) for count in client.hvals(KEY.format(replica_id)))
    except redis.RedisError:
        return None
