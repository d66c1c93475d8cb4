"""What this process knows of keys and routes: loaded once, dropped when the change feed says so.

While Redis can't be heard, entries live for half a second only, so that a revocation acts through the database; while
the database is away too, what is known serves for MODELYARD_GATEWAY_STALE_SECONDS, and then nothing does. Once Redis
was away for MODELYARD_REDIS_AWAY_SECONDS nothing is served any more: limits don't hold together without it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections
from redis.exceptions import RedisError

from modelyard import changes

logger = logging.getLogger(__name__)
BLOCK = 0.3  # seconds that one read of the feed waits
GRACE = 0.4  # seconds without a read after which the feed counts as unheard
AGE_UNHEARD = 0.5  # seconds that an entry lives while the feed is unheard
AGE_HEARD = 2.5  # seconds after which an entry is loaded again behind the scenes, feed or not
AGE_MOST = 5.0  # seconds after which an entry isn't used before that
PATIENCE = 2.0  # seconds that a load may take
EXCUSED = 1.0  # seconds between two tries of a database that doesn't answer
AGE_NEGATIVE = 10.0  # seconds that "there is no such thing" is believed
SIZE = 50_000  # entries of one cache


class Unavailable(Exception):
    """Nothing fresh enough is known, and the database doesn't answer."""


@dataclass
class Entry[T]:
    """A loaded thing, or None for one that isn't there, and when it was loaded (monotonic seconds).

    `stale` means: to be used only if it can't be loaded again; until `excused_until` it is known that it can't.
    """

    value: T | None
    loaded_at: float
    refreshing: bool = False
    stale: bool = False
    excused_until: float = 0.0


class Load[T]:
    """A load under way. `dirty` once a change came in between: what it brings may be old already."""

    def __init__(self, task: asyncio.Task[T | None]) -> None:
        self.task = task
        self.patient_until = time.monotonic() + PATIENCE  # one call waits that long for it, not each anew
        self.dirty = False


class Cache[T]:
    """Things by ID, loaded from the database by a thread. One load at a time for each ID."""

    def __init__(self, load: Callable[[str], T | None], feed: "Feed", pool: ThreadPoolExecutor) -> None:
        self._load = load
        self._feed = feed
        self._pool = pool
        self._entries: dict[str, Entry[T]] = {}
        self._loads: dict[str, Load[T]] = {}

    def peek(self, identifier: str, now: float | None = None) -> Entry[T] | None:
        """What is known and fresh enough to be used without waiting."""
        now = time.monotonic() if now is None else now
        heard = now < self._feed.heard_until
        if not heard:
            self._feed.check(now)
        entry = self._entries.get(identifier)
        if entry is None:
            return None
        if now < entry.excused_until:
            return entry
        if entry.stale:
            return None
        age = now - entry.loaded_at
        if not heard:
            return entry if age < AGE_UNHEARD else None
        if entry.value is None:
            return entry if age < AGE_NEGATIVE else None
        if age > AGE_HEARD and not entry.refreshing:
            entry.refreshing = True
            self._start(identifier)
        return entry if age < AGE_MOST else None

    async def get(self, identifier: str) -> T | None:
        """The thing, loaded if need be; None if there is none. Unavailable if that can't be known."""
        entry = self.peek(identifier)
        if entry is not None:
            return entry.value
        load = self._loads.get(identifier) or self._start(identifier)
        try:
            async with asyncio.timeout(max(load.patient_until - time.monotonic(), 0)):
                return await asyncio.shield(load.task)
        except (DatabaseError, TimeoutError):
            now, stale = time.monotonic(), self._entries.get(identifier)
            if stale and now - stale.loaded_at < settings.GATEWAY_STALE_SECONDS:
                stale.excused_until = now + EXCUSED
                return stale.value
            raise Unavailable from None

    def drop(self, identifier: str) -> None:
        """Forget one thing: it has changed."""
        self._entries.pop(identifier, None)
        if identifier in self._loads:
            self._loads[identifier].dirty = True

    def age_all(self) -> None:
        """Let nothing be used before it was loaded again; it stays for when the database is away."""
        for entry in self._entries.values():
            entry.stale = True
        for load in self._loads.values():
            load.dirty = True

    def _start(self, identifier: str) -> Load[T]:
        load = Load(asyncio.get_running_loop().create_task(self._run(identifier)))
        self._loads[identifier] = load
        # A failure is for who waits; without this, one nobody waits for would be reported as lost.
        load.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return load

    async def _run(self, identifier: str) -> T | None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                mine = self._loads.get(identifier)
                started = time.monotonic()
                value = await loop.run_in_executor(self._pool, self._loaded, identifier)
                if mine is None or not mine.dirty:
                    self._store(identifier, Entry(value, started))
                    return value
                mine.dirty = False
        finally:
            self._loads.pop(identifier, None)
            left = self._entries.get(identifier)
            if left is not None:
                left.refreshing = False

    def _loaded(self, identifier: str) -> T | None:
        try:
            return self._load(identifier)
        finally:
            close_old_connections()

    def _store(self, identifier: str, entry: Entry[T]) -> None:
        if len(self._entries) >= SIZE:
            self._entries.pop(next(iter(self._entries)))
        self._entries[identifier] = entry


class Feed:
    """Reads the change feed for as long as the process lives, and drops what it names."""

    def __init__(self) -> None:
        self.caches: Mapping[str, Cache[Any]] = {}
        self.heard_until = 0.0  # monotonic seconds
        self.away_since = time.monotonic()

    def check(self, now: float) -> None:
        """Unavailable once Redis was away for longer than the operator allows."""
        if now - self.away_since > settings.REDIS_AWAY_SECONDS:
            raise Unavailable

    async def run(self) -> None:
        """Read until cancelled; after an interruption everything known is loaded again before it is used."""
        while True:
            try:
                await self._read()
            except (RedisError, OSError) as error:
                if self.heard_until:
                    logger.warning("the change feed can't be read, entries live %s s: %s", AGE_UNHEARD, error)
                self.heard_until = 0.0
            await asyncio.sleep(0.2)

    async def _read(self) -> None:
        client = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_timeout=BLOCK + GRACE, decode_responses=True)
        async with contextlib.aclosing(client):
            newest = await client.xrevrange(changes.STREAM, count=1)
            last = str(newest[0][0]) if newest else "0-0"
            for each in self.caches.values():
                each.age_all()
            while True:
                self.heard_until = self.away_since = time.monotonic() + BLOCK + GRACE
                found = await client.xread({changes.STREAM: last}, count=1000, block=int(BLOCK * 1000))
                for last, fields in self._entries(found):  # noqa: B007 (the last one says where to go on)
                    cache = self.caches.get(fields.get("kind", ""))
                    if cache is not None:
                        cache.drop(fields.get("id", ""))

    @staticmethod
    def _entries(found: object) -> list[tuple[str, dict[str, str]]]:
        """The entries of one answer, which is a list in one version of the protocol and a mapping in the other."""
        if not found:
            return []
        streams = found.values() if isinstance(found, dict) else [stream[1] for stream in found]  # type: ignore[attr-defined]
        entries = []
        for stream in streams:
            rows = stream[0] if stream and isinstance(stream[0], list) else stream
            entries += [(row[0], row[1]) for row in rows]
        return entries
