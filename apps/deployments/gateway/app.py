"""The gateway of one web process: what it knows, what it counts, and what runs behind the requests."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from django.conf import settings

from apps.deployments import routing
from apps.deployments.gateway import addresses, errors, inflight, keys, paths
from apps.deployments.gateway.door import Door
from apps.deployments.gateway.feed import Cache, Feed
from apps.deployments.gateway.guard import Guard
from apps.deployments.gateway.last_used import LastUsed
from apps.deployments.gateway.limits import Keeper
from apps.deployments.gateway.metrics import Metrics
from apps.deployments.gateway.recorder import Recorder
from apps.deployments.gateway.upstream import Pool
from apps.deployments.monitoring import snapshots

if TYPE_CHECKING:
    from apps.deployments.gateway.exchange import Exchange

logger = logging.getLogger(__name__)
THREADS = 4  # that load keys and routes, and write; a hit in memory needs none
TICK = 0.5  # seconds between two looks at what takes too long


class Gateway:
    """All that calls share. `door` is the protocol to serve callers with; `startup` and `shutdown` frame its life."""

    loop: asyncio.AbstractEventLoop
    recorder: Recorder
    place: snapshots.Place

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="gateway")
        self.feed = Feed()
        key_cache: Cache[keys.Key] = Cache(keys.load, self.feed, self.threads)
        self.tables: Cache[paths.Table] = Cache(_load_table, self.feed, self.threads)
        self.feed.caches = {"key": key_cache, "deployment": self.tables}
        self.keys = keys.Keys(key_cache)
        self.guard = Guard()
        self.pool = Pool()
        self.metrics = Metrics()
        self.last_used = LastUsed()
        self.doors: set[Door] = set()
        self.origins: list[str] = settings.CORS_ORIGINS
        self.addresses: bool = settings.GATEWAY_CLIENT_ADDRESSES
        self.trusted = frozenset({"127.0.0.1", "::1", ""}) if settings.SECURE_PROXY_SSL_HEADER else frozenset()
        self.usual = routing.usual_timeouts()
        self.epoch = time.time() - time.monotonic()
        self.door = type("GatewayDoor", (Door,), {"gateway": self})
        self.tasks: list[asyncio.Task[None]] = []

    async def startup(self) -> None:
        """Begin what runs behind the requests."""
        self.loop = asyncio.get_running_loop()
        self.recorder = Recorder(self.threads)
        self.limits = Keeper()
        self.place = snapshots.Place(settings.RUN_DIR)
        work: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
            self.feed.run,
            self.limits.run,
            self.recorder.run,
            self.watch,
            lambda: inflight.publish(self.pool.in_flight),
            lambda: self.last_used.run(self.threads),
            lambda: snapshots.publish(self, self.place),
        )
        self.tasks = [asyncio.create_task(kept_up(each)) for each in work]

    async def shutdown(self) -> None:
        """End it; what was noted is written. A call that is still under way then is cut, and counted."""
        for door in list(self.doors):
            if door.call:
                door.call.fail(errors.unavailable())
            door.transport.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.last_used.flush(self.threads)
        await self.recorder.close()
        await self.limits.close()
        await snapshots.write(self, self.place)
        self.place.close()
        self.pool.close()
        self.threads.shutdown()

    async def watch(self) -> None:
        """End what takes too long and drop what was kept too long, for as long as the process lives."""
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            self.epoch = time.time() - now
            for door in list(self.doors):
                door.tick(now)
            self.pool.tidy(now)

    def client_of(self, call: "Exchange") -> str:
        """The caller's address: the peer's, or what a proxy that the operator trusts says it is."""
        return addresses.caller(call.door.peer, call.head.headers, self.trusted)


async def kept_up(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Begin it again when it fails: without it limits, revocations or the ledger would stand still unseen."""
    while True:
        try:
            return await work()
        except Exception:
            logger.exception("what runs behind the requests failed, and begins again")
            await asyncio.sleep(TICK)


def _load_table(deployment_id: str) -> paths.Table | None:
    route = routing.route(deployment_id)
    return paths.table(route) if route else None
