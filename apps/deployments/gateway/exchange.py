"""One request on its way to an engine and back: body up, response down, nothing held longer than it must be."""

import asyncio
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from apps.deployments.gateway import errors
from apps.deployments.gateway.paths import Table
from apps.deployments.gateway.upstream import Broken, Connection, Pool, TimedOut, head_of
from apps.deployments.routing import Backend

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip
NOT_UP = HOP_BY_HOP | {
    b"host", b"authorization", b"cookie", b"content-length", b"expect", b"forwarded", b"x-real-ip", b"via",
    b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-request-id",
}  # fmt: skip
NOT_DOWN = HOP_BY_HOP | {
    b"server",
    b"date",
    b"set-cookie",
    b"x-request-id",
    b"location",
    b"content-location",
    b"x-powered-by",
    b"via",
}
REPLAYABLE = 1024 * 1024  # bytes of a body that is kept until the engine answers, so that it can be sent again
WATCH_AFTER = 0.05  # seconds after which somebody looks whether the caller is still there
DIGITS = re.compile(rb"\d{1,15}")
FAILED = 500


class Gone(Exception):
    """The caller went away."""


class Body:
    """The request's body: all of it where it is small, else as it comes."""

    def __init__(self, receive: Receive, headers: Iterable[tuple[bytes, bytes]], limit: int) -> None:
        self._receive = receive
        self.limit = limit
        self.size = 0
        self.more = True
        self.first = b""
        self.declared = self._declared(headers)

    def _declared(self, headers: Iterable[tuple[bytes, bytes]]) -> int | None:
        for name, value in headers:
            if name == b"content-length":
                length = int(value) if DIGITS.fullmatch(value) else self.limit + 1
                if length > self.limit:
                    raise errors.too_large(self.limit)
                return length
        return None

    async def start(self) -> None:
        """Take the body as far as it can be kept for a second try."""
        parts = []
        while self.more and self.size <= REPLAYABLE:
            parts.append(await self.next())
        self.first = parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def whole(self) -> bool:
        """All of it is in `first`."""
        return not self.more

    @property
    def length(self) -> int | None:
        """Its length as far as it is known before it was sent."""
        return self.size if self.whole else self.declared

    async def next(self) -> bytes:
        """The next part. Refused beyond the limit; Gone if the caller left."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        data: bytes = message.get("body", b"")
        self.more = message.get("more_body", False)
        self.size += len(data)
        if self.size > self.limit:
            raise errors.too_large(self.limit)
        return data


class Exchange:
    """One request of one caller."""

    def __init__(self, scope: Message, receive: Receive, send: Send, pool: Pool, found: Table) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.pool = pool
        self.route = found.route
        self.request_id = request_id(scope["headers"])
        self.connection: Connection | None = None
        self.body_error: Gone | errors.Refused | None = None
        self.started = False

    async def run(self, target: bytes) -> None:
        """Forward the request and its response. Refused and Broken before the response began; Gone at any time."""
        body = Body(self.receive, self.scope["headers"], self.route.max_body_bytes)
        try:
            async with asyncio.timeout(self.route.timeout_seconds):
                await body.start()
        except TimeoutError:
            raise errors.too_slow(self.route.timeout_seconds) from None
        tried: set[str] = set()
        backend = self._choose(tried)
        tried.add(backend.replica_id)
        try:
            await self._attempt(backend, target, body, fresh=False)
        except Broken as broken:
            if self.started or isinstance(broken, TimedOut) or not body.whole:
                raise
            await self._again(backend, target, body, tried, broken)

    async def _again(self, backend: Backend, target: bytes, body: Body, tried: set[str], broken: Broken) -> None:
        """Nothing was answered yet: another replica, or a new connection where the kept one had gone stale."""
        stale = self.connection is not None and self.connection.used > 1
        others = [each for each in self.route.backends if each.replica_id not in tried]
        if others:
            await self._attempt(self._choose(tried), target, body, fresh=True)
        elif stale:
            await self._attempt(backend, target, body, fresh=True)
        else:
            raise broken

    def _choose(self, tried: set[str]) -> Backend:
        """The replica with the fewest requests in flight."""
        left = [each for each in self.route.backends if each.replica_id not in tried]
        if len(left) == 1:
            return left[0]
        return min(left or self.route.backends, key=lambda each: self.pool.in_flight[each.replica_id])

    async def _attempt(self, backend: Backend, target: bytes, body: Body, *, fresh: bool) -> None:
        self.pool.in_flight[backend.replica_id] += 1
        try:
            await self._exchange(backend, target, body, fresh=fresh)
        finally:
            self.pool.in_flight[backend.replica_id] -= 1
            if not self.pool.in_flight[backend.replica_id]:
                del self.pool.in_flight[backend.replica_id]

    async def _exchange(self, backend: Backend, target: bytes, body: Body, *, fresh: bool) -> None:
        self.connection = None
        connection = self.connection = await self.pool.take(backend, self.route.timeout_seconds, fresh=fresh)
        watch = Watch(self.receive, connection)
        sender: asyncio.Task[None] | None = None
        try:
            self._start(connection, backend, target, body)
            if body.whole:
                watch.later()
            else:
                sender = asyncio.create_task(self._send_rest(connection, body, watch))
            await self._answer(connection)
        except Broken:
            # A body that was refused half-way, or a caller who left, has ended the connection from this side.
            if watch.gone:
                raise Gone from None
            raise self.body_error or sys.exception() from None  # type: ignore[misc]
        finally:
            watch.end()
            if sender and not sender.done():
                connection.cancel()  # answered before it had the whole body: nothing else may go over it
                sender.cancel()
            self.pool.give_back(backend, connection)

    def _start(self, connection: Connection, backend: Backend, target: bytes, body: Body) -> None:
        method = self.scope["method"]
        head = head_of(method, target, backend, self._headers_up(), body.length)
        first = body.first if body.length is not None else _chunk(body.first)
        connection.start(head + first, head_only=method == "HEAD")

    async def _send_rest(self, connection: Connection, body: Body, watch: "Watch") -> None:
        chunked = body.length is None
        try:
            while body.more:
                data = await body.next()
                connection.active_at = time.monotonic()
                await connection.write(_chunk(data) if chunked else data)
            if chunked:
                await connection.write(b"0\r\n\r\n")
            watch.later()
        except (Gone, errors.Refused) as error:
            self.body_error = error
            connection.cancel()
        except Broken:
            connection.cancel()  # the reading side says why

    async def _answer(self, connection: Connection) -> None:
        await connection.head()
        if connection.status >= FAILED or connection.status in {401, 403, 407}:
            raise _failure_of(connection)
        await self._send_head(connection)
        while True:
            data = await connection.read()
            last = connection.finished
            await self.send({"type": "http.response.body", "body": data, "more_body": not last})
            if last:
                return

    async def _send_head(self, connection: Connection) -> None:
        dropped = NOT_DOWN | _named_in_connection(connection.headers)
        headers = [pair for pair in connection.headers if pair[0] not in dropped]
        headers.append((b"x-request-id", self.request_id))
        self.started = True
        await self.send({"type": "http.response.start", "status": connection.status, "headers": headers})

    def _headers_up(self) -> list[tuple[bytes, bytes]]:
        headers = self.scope["headers"]
        dropped = NOT_UP | _named_in_connection(headers)
        passed = [pair for pair in headers if pair[0] not in dropped]
        passed.append((b"x-request-id", self.request_id))
        return passed


class Watch:
    """Looks whether the caller is still there, once a request has taken longer than most do."""

    def __init__(self, receive: Receive, connection: Connection) -> None:
        self._receive = receive
        self._connection = connection
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.gone = False

    def later(self) -> None:
        """Start looking in a moment; only once the whole body was read."""
        self._handle = asyncio.get_running_loop().call_later(WATCH_AFTER, self._start)

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._connection.cancel()  # the engine stops working for nobody

    def end(self) -> None:
        """Stop looking."""
        if self._handle:
            self._handle.cancel()
        if self._task:
            self._task.cancel()


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The caller's x-request-id if it is a plain short one, else a fresh one."""
    for name, value in headers:
        if name == b"x-request-id" and re.fullmatch(rb"[\w.:-]{1,128}", value):
            return value
    return os.urandom(12).hex().encode()


def _failure_of(connection: Connection) -> errors.Refused:
    """What the caller is told of an engine's failure: never the engine's own words."""
    if connection.status in {502, 503, 504}:
        given = dict(connection.headers).get(b"retry-after", b"")
        return errors.engine_busy(given.decode() if DIGITS.fullmatch(given) else "5")
    return errors.engine_failed()


def _named_in_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Headers that the Connection header declares to be of one hop only."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
            return frozenset(part.strip().lower() for part in value.split(b","))
    return frozenset()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""
