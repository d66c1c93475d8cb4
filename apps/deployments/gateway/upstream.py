"""The gateway's side towards engines: HTTP/1.1 over kept-alive connections, with back-pressure both ways.

Raw asyncio and httptools (the parser that uvicorn uses): a general client costs several times the CPU of the rest of
the gateway. It speaks to engines on the loopback address only, with plain HTTP.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from typing import Any

import httptools

from apps.deployments.routing import Backend

HIGH_WATER = 256 * 1024  # bytes read ahead of the caller before reading stops
KEEP_IDLE = 4.0  # seconds; servers commonly close after 5
MAX_IDLE = 256  # kept connections of one backend
CONNECT_TIMEOUT = 5.0
MAX_HEADERS = 128 * 1024  # bytes of a response's headers


class Broken(Exception):
    """The engine refused, closed, or sent what isn't HTTP. `started`: after the response had begun."""

    def __init__(self, message: str, *, started: bool = False) -> None:
        super().__init__(message)
        self.started = started


class TimedOut(Broken):
    """The engine sent nothing for too long."""


class Connection(asyncio.Protocol):
    """One connection to an engine, used for one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.closed = False
        self.idle_since = 0.0
        self.used = 0
        self._writable: asyncio.Future[None] | None = None
        self._paused_writing = False
        self._reset(False)

    def _reset(self, head_only: bool) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.error: Broken | None = None
        self.active_at = time.monotonic()
        self._head_only = head_only
        self._have_head = False
        self._sized = False
        self._keeps = False
        self._header_bytes = 0
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused_reading = False
        self._waiter: asyncio.Future[None] | None = None

    # --- asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self.active_at = time.monotonic()
        if self.idle_since:
            self.close()  # nothing was asked: whatever this is, it answers no request
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {error}")

    def eof_received(self) -> None:
        """asyncio: the engine will send no more."""
        self.connection_lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self.closed = True
        unsized = self._have_head and not self._sized and not self.complete
        if unsized and self.error is None and error is None:
            self.complete = True  # a body without a length ends with the connection
        elif not self.complete:
            self._fail("the connection was closed")
        self._wake()
        if self._writable and not self._writable.done():
            self._writable.set_result(None)

    def pause_writing(self) -> None:
        """asyncio: the engine takes no more at the moment."""
        self._paused_writing = True

    def resume_writing(self) -> None:
        """asyncio: the engine takes more."""
        self._paused_writing = False
        if self._writable and not self._writable.done():
            self._writable.set_result(None)

    # --- httptools -----------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: one header."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADERS:
            self._fail("its headers are too long")
            return
        lower = name.lower()
        self._sized = self._sized or lower in {b"content-length", b"transfer-encoding"}
        self.headers.append((lower, value))

    def on_headers_complete(self) -> None:
        """httptools: the head is whole."""
        status = self.parser.get_status_code()
        if 100 <= status < 200:
            self.headers = []
            return
        self.status = status
        self._have_head = True
        self._sized = self._sized or status in {204, 304}
        if self._head_only:
            self.complete = True
        self._wake()

    def on_body(self, body: bytes) -> None:
        """httptools: a part of the body."""
        if self.complete:
            return
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > HIGH_WATER and not self._paused_reading:
            self._paused_reading = True
            self.transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """httptools: the response is whole."""
        if self._have_head:
            self.complete = True
            self._keeps = self.parser.should_keep_alive()
            self._wake()

    # --- the gateway ---------------------------------------------------------------------------------------------

    def start(self, head: bytes, *, head_only: bool = False) -> None:
        """Begin a request; `head` may already hold all of its body."""
        self._reset(head_only)
        self.idle_since = 0.0
        self.used += 1
        self.transport.write(head)

    async def write(self, data: bytes) -> None:
        """Send more of the body, and wait while the engine takes no more."""
        if self.closed:
            raise self.error or Broken("the connection was closed")
        self.transport.write(data)
        if self._paused_writing:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable

    async def head(self) -> None:
        """Wait until status and headers are there."""
        while not self._have_head:
            if self.error:
                raise self.error
            await self._wait()

    async def read(self) -> bytes:
        """What came since, at least one byte; empty at the end."""
        while not self._chunks:
            if self.complete:
                return b""
            if self.error:
                raise self.error
            await self._wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused_reading:
            self._paused_reading = False
            if not self.closed:
                self.transport.resume_reading()
        return data

    @property
    def finished(self) -> bool:
        """Nothing of the response is left to read."""
        return self.complete and not self._chunks

    @property
    def reusable(self) -> bool:
        """May another request go over it?"""
        return self.finished and self._keeps and self._sized and not self._head_only and not self.closed

    def cancel(self) -> None:
        """End the request because nobody waits for it any more."""
        self._fail("cancelled")

    def time_out(self, seconds: float) -> None:
        """End the request because nothing came for so long."""
        self._fail(f"nothing came for {seconds:.0f} s", TimedOut)

    def close(self) -> None:
        """End it now, whatever is under way."""
        self.closed = True
        if self.transport:
            self.transport.abort()

    def _fail(self, message: str, kind: type[Broken] = Broken) -> None:
        if self.error is None:
            self.error = kind(message, started=self._have_head)
        self._wake()
        self.close()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter


class Pool:
    """Kept-alive connections by backend, and how many requests each replica is answering."""

    def __init__(self) -> None:
        self.idle: dict[tuple[str, int], list[Connection]] = defaultdict(list)
        self.busy: dict[Connection, float] = {}
        self.in_flight: dict[str, int] = defaultdict(int)

    async def take(self, backend: Backend, patience: float, *, fresh: bool = False) -> Connection:
        """A connection to the backend: a kept one, or a new one. Broken if the engine doesn't accept it."""
        kept = self.idle[(backend.host, backend.port)]
        while kept and not fresh:
            connection = kept.pop()
            if not connection.closed and time.monotonic() - connection.idle_since < KEEP_IDLE:
                self.busy[connection] = patience
                return connection
            connection.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, made = await loop.create_connection(Connection, backend.host, backend.port)
        except (OSError, TimeoutError) as error:
            raise Broken(f"can't connect: {error}") from None
        self.busy[made] = patience
        return made

    def give_back(self, backend: Backend, connection: Connection) -> None:
        """Keep the connection for another request if that is possible, close it otherwise."""
        self.busy.pop(connection, None)
        kept = self.idle[(backend.host, backend.port)]
        if connection.reusable and len(kept) < MAX_IDLE:
            connection.idle_since = time.monotonic()
            kept.append(connection)
        else:
            connection.close()

    async def watch(self) -> None:
        """End what got no byte for too long, and drop what was kept too long; for as long as the process lives."""
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            for connection, timeout in list(self.busy.items()):
                if now - connection.active_at > timeout and not connection._paused_reading:
                    connection.time_out(timeout)
            for address, kept in list(self.idle.items()):
                self._drop_old(address, kept, now)

    def _drop_old(self, address: tuple[str, int], kept: list[Connection], now: float) -> None:
        for connection in [each for each in kept if each.closed or now - each.idle_since > KEEP_IDLE]:
            kept.remove(connection)
            connection.close()
        if not kept:
            del self.idle[address]

    def close(self) -> None:
        """Close everything that is kept."""
        for kept in self.idle.values():
            for connection in kept:
                with contextlib.suppress(OSError):
                    connection.close()
        self.idle.clear()


def head_of(method: str, target: bytes, backend: Backend, headers: Any, length: int | None) -> bytes:
    """The request's head as the engine gets it: the caller's headers that pass, ours, and the body's length.

    A length of None sends the body chunked.
    """
    lines = [
        b"%s %s HTTP/1.1" % (method.encode("ascii"), target),
        b"host: %s:%d" % (backend.host.encode("ascii"), backend.port),
        b"authorization: Bearer " + backend.secret.encode("ascii"),
    ]
    lines += [b"%s: %s" % (name, value) for name, value in headers]
    if length is None:
        lines.append(b"transfer-encoding: chunked")
    elif length or method in {"POST", "PUT", "PATCH"}:
        lines.append(b"content-length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"
