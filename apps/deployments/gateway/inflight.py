"""How many requests every engine is answering, over all web processes: what a drain waits for."""

import asyncio
import logging
import uuid
from collections.abc import Mapping

import redis
import redis.asyncio
from django.conf import settings

from modelyard import changes

logger = logging.getLogger(__name__)
KEY = "modelyard:inflight:{}"
EVERY = 1.0  # seconds between two writes of a process
KEPT_SECONDS = 5  # what a killed process wrote is gone after this


def total(replica_id: str) -> int | None:
    """Requests in flight on one replica; None when that can't be known."""
    try:
        with changes.connection() as client:
            return sum(int(count) for count in client.hvals(KEY.format(replica_id)))
    except redis.RedisError:
        return None


async def publish(counts: Mapping[str, int]) -> None:
    """Write this process' counts about once a second, for as long as it lives."""
    me = uuid.uuid4().hex
    told: set[str] = set()
    while True:
        await asyncio.sleep(EVERY)
        now = {replica: count for replica, count in counts.items() if count}
        if not now and not told:
            continue
        try:
            await _write(me, {**dict.fromkeys(told, 0), **now})
            told = set(now)
        except (redis.RedisError, OSError) as error:
            logger.warning("requests in flight not published: %s", error)


async def _write(me: str, counts: Mapping[str, int]) -> None:
    client = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_timeout=1)
    try:
        async with client.pipeline(transaction=False) as pipe:
            for replica, count in counts.items():
                key = KEY.format(replica)
                if count:
                    pipe.hset(key, me, str(count))
                    pipe.expire(key, KEPT_SECONDS)
                else:
                    pipe.hdel(key, me)
            await pipe.execute()
    finally:
        await client.aclose()
