"""The gateway itself: who calls, what they may call, and on to the engine."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from apps.deployments import routing
from apps.deployments.gateway import errors, inflight, keys, paths
from apps.deployments.gateway.exchange import Exchange, Gone, Message, Receive, Send, request_id
from apps.deployments.gateway.feed import Cache, Feed, Unavailable
from apps.deployments.gateway.upstream import Broken, Pool, TimedOut
from apps.deployments.gateway.usage import LastUsed
from apps.deployments.statuses import WORKING, Status

logger = logging.getLogger(__name__)
LINGER = 5.0  # seconds that the rest of a refused body is read
THREADS = 4  # that load keys and routes; a hit in memory needs none


class Gateway:
    """A bare ASGI application. `startup` and `shutdown` belong to the server's lifespan."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="gateway")
        self.feed = Feed()
        self.keys: Cache[keys.Key] = Cache(keys.load, self.feed.heard, self.threads)
        self.tables: Cache[paths.Table] = Cache(_load_table, self.feed.heard, self.threads)
        self.feed.caches = {"key": self.keys, "deployment": self.tables}
        self.pool = Pool()
        self.open: Counter[str] = Counter()  # requests being answered, by deployment
        self.last_used = LastUsed()
        self.tasks: list[asyncio.Task[None]] = []

    async def startup(self) -> None:
        """Begin what runs behind the requests."""
        work = (
            self.feed.run(),
            self.pool.watch(),
            inflight.publish(self.pool.in_flight),
            self.last_used.run(self.threads),
        )
        self.tasks = [asyncio.create_task(each) for each in work]

    async def shutdown(self) -> None:
        """End it; what was noted is written."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.last_used.flush(self.threads)
        self.pool.close()
        self.threads.shutdown()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._serve(scope, receive, send)
        except errors.Refused as refused:
            await _refuse(scope, receive, send, refused)
        except Unavailable:
            await _refuse(scope, receive, send, errors.unavailable())
        except Gone:
            return
        except Exception:
            logger.exception("a request failed")
            await _refuse(scope, receive, send, errors.gateway_failed())

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        deployment_id, path = paths.split(scope["raw_path"].decode("ascii", "replace"))
        key = await keys.check(_header(scope, b"authorization"), self.keys)
        if deployment_id is not None and deployment_id != key.deployment_id:
            raise errors.other_deployment()
        table = await self.tables.get(key.deployment_id)
        if table is None:
            raise errors.no_deployment()
        paths.check(table, scope["method"], path)
        self._check_ready(table.route)
        self.last_used.note(key.id, time.time())
        query = scope["query_string"]
        target = path.encode("ascii") + (b"?" + query if query else b"")
        # Counted from here on, so that bodies that come slowly count too.
        self.open[key.deployment_id] += 1
        try:
            await self._forward(Exchange(scope, receive, send, self.pool, table), target)
        finally:
            self.open[key.deployment_id] -= 1
            if not self.open[key.deployment_id]:
                del self.open[key.deployment_id]

    def _check_ready(self, route: routing.Route) -> None:
        status = Status(route.status)
        if not route.accepting:
            raise errors.undeploying() if status in {*WORKING, Status.DEPLOYED} else errors.not_deployed(status.label)
        if not route.backends:
            raise errors.starting()
        if self.open[route.deployment_id] >= route.max_in_flight:
            raise errors.too_many()

    async def _forward(self, exchange: Exchange, target: bytes) -> None:
        try:
            await exchange.run(target)
        except Broken as broken:
            logger.warning("request %s to %s: %s", exchange.request_id.decode(), exchange.route.deployment_id, broken)
            if exchange.started:
                return  # the server closes the connection: a response that was cut must look cut
            if isinstance(broken, TimedOut):
                raise errors.timed_out(exchange.route.timeout_seconds) from None
            raise errors.engine_broke() from None


def _load_table(deployment_id: str) -> paths.Table | None:
    route = routing.route(deployment_id)
    return paths.table(route) if route else None


def _header(scope: Message, wanted: bytes) -> bytes | None:
    for name, value in scope["headers"]:
        if name == wanted:
            found: bytes = value
            return found
    return None


async def _refuse(scope: Message, receive: Receive, send: Send, refused: errors.Refused) -> None:
    body = refused.body()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id(scope["headers"])),
    ]
    headers += [(name.encode(), value.encode()) for name, value in refused.headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    closing = "connection" in refused.headers
    shown = b"" if scope["method"] == "HEAD" else body
    await send({"type": "http.response.body", "body": shown, "more_body": closing})
    if closing:
        # The rest of the body is thrown away for a while: closing at once would take the answer from the caller.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b""})
