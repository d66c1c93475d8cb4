"""The gateway's side towards engines: HTTP/1.1 over kept-alive connections, with back-pressure both ways.

Raw asyncio and httptools (the parser that uvicorn uses): a general client costs several times the CPU of the rest of
the gateway. It speaks to engines on the loopback address only, with plain HTTP.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from typing import Protocol

import httptools

from apps.deployments.gateway.heads import MISSES, Same, downwards
from apps.deployments.routing import Backend

KEEP_IDLE = 4.0  # seconds; servers commonly close after 5
MAX_IDLE = 1024  # kept connections of one backend
MAX_HEADERS = 128 * 1024  # bytes of a response's headers
EJECTED = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds that a replica is left alone after so many failures in a row


class Broken(Exception):
    """The engine refused, closed, or sent what isn't HTTP."""


class Reader(Protocol):
    """Who waits for a response; called from the event loop, after every read of the socket."""

    def came(self, connection: "Connection") -> None:
        """More of the response is in `connection`."""

    def broke(self, connection: "Connection", error: Broken) -> None:
        """There will be no more, and it isn't whole."""

    def upload_may(self, go_on: bool) -> None:
        """The engine takes more of the request's body, or doesn't at the moment."""


class Connection(asyncio.Protocol):
    """One connection to an engine, used for one request at a time.

    `parts` holds what came of the body and wasn't taken yet.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.parser = httptools.HttpResponseParser(self)
        self.reader: Reader | None = None
        self.closed = False
        self.full = False  # it takes no more at the moment
        self._fresh = False
        self._first = b""
        self.idle_since = 0.0
        self.used = 0
        self.parts: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.same = Same()
        self.length: int | None = None
        self.kind = b""
        self.lines: bytes = b""
        self.status = self.header_bytes = 0
        self.have_head = self.complete = self.sized = self.keeps = self.head_only = False

    # --- asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        reader = self.reader
        if reader is None:
            self.close()  # nothing was asked: whatever this is, it answers no request
            return
        if self._fresh:
            self._fresh = False
            if self.same.meaning is not None and self._again(data):
                reader.came(self)
                return
            self._first = data
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(f"not HTTP: {error}")
            return
        if self.header_bytes > MAX_HEADERS:
            self.fail("its headers are too long")
        elif self.have_head:
            reader.came(self)

    def eof_received(self) -> None:
        """asyncio: the engine will send no more."""
        self.connection_lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self.closed = True
        reader = self.reader
        if reader is None:
            return
        if self.have_head and not self.sized and not self.complete and error is None:
            self.complete = True  # a body without a length ends with the connection
            reader.came(self)
        elif not self.complete:
            self.fail("the connection was closed")

    def pause_writing(self) -> None:
        """asyncio: the engine takes no more at the moment."""
        self.full = True
        if self.reader:
            self.reader.upload_may(False)

    def resume_writing(self) -> None:
        """asyncio: the engine takes more."""
        self.full = False
        if self.reader:
            self.reader.upload_may(True)

    # --- httptools -----------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: one header."""
        self.header_bytes += len(name) + len(value)
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """httptools: the head is whole."""
        status = self.parser.get_status_code()
        if status < 200:
            self.headers = []
            self._first = b""
            return
        self.status = status
        self.have_head = True
        self.sized = status in {204, 304}
        self.kind, self.length = b"", None
        for name, value in self.headers:
            if name == b"content-length":
                self.sized, self.length = True, int(value)
            elif name == b"transfer-encoding":
                self.sized = True
            elif name == b"content-type":
                self.kind = value
        self.lines = b"".join(downwards(status, self.headers))
        if self.head_only:
            self.complete = True

    def _again(self, data: bytes) -> bool:
        """The same head as last time, with the whole body: nothing is parsed."""
        body = self.same.body(data)
        if body is None:
            return False
        self.status, self.kind, self.lines, self.headers = self.same.meaning
        self.length = len(body)
        self.parts.append(body)
        self.have_head = self.complete = self.sized = self.keeps = True
        return True

    def on_body(self, body: bytes) -> None:
        """httptools: a part of the body."""
        if not self.complete:
            self.parts.append(body)

    def on_message_complete(self) -> None:
        """httptools: the response is whole."""
        if self.have_head:
            self.complete = True
            self.keeps = self.parser.should_keep_alive()
            usual = self.keeps and self.length is not None and not self.head_only
            if usual and self._first and self.same.misses < MISSES:
                self.same.learn(self._first, (self.status, self.kind, self.lines, self.headers))
            self._first = b""

    # --- the gateway ---------------------------------------------------------------------------------------------

    def start(self, reader: Reader, head: bytes, head_only: bool) -> None:
        """Begin a request; `head` may already hold all of its body."""
        self.reader = reader
        self.used += 1
        self._fresh = True
        self.status = 0
        self.headers = []
        self.have_head = self.complete = self.sized = self.keeps = False
        self.head_only = head_only
        self.header_bytes = 0
        self.transport.write(head)

    def fail(self, message: str) -> None:
        """End the request, and tell who waits."""
        reader, self.reader = self.reader, None
        self.close()
        if reader:
            reader.broke(self, Broken(message))

    def close(self) -> None:
        """End it now, whatever is under way; nobody is told."""
        self.closed = True
        self.reader = None
        if self.transport:
            self.transport.abort()


class Pool:
    """Kept-alive connections by address; how many requests each replica is answering, and which are left alone."""

    def __init__(self) -> None:
        self.idle: dict[tuple[str, int], list[Connection]] = defaultdict(list)
        self.in_flight: dict[str, int] = defaultdict(int)
        self.failures: dict[str, int] = {}
        self.ejected: dict[str, float] = {}

    def choose(self, backends: tuple[Backend, ...], tried: frozenset[str] = frozenset()) -> Backend:
        """The replica with the fewest requests in flight; one that keeps failing only where there is no other."""
        if len(backends) == 1:
            return backends[0]
        left = [each for each in backends if each.replica_id not in tried] or list(backends)
        if self.ejected:
            now = time.monotonic()
            left = [each for each in left if self.ejected.get(each.replica_id, 0) <= now] or left
        return min(left, key=lambda each: self.in_flight.get(each.replica_id, 0))

    def kept(self, backend: Backend, now: float) -> Connection | None:
        """A kept connection to the backend, if there is one."""
        kept = self.idle.get((backend.host, backend.port))
        while kept:
            connection = kept.pop()
            if not connection.closed and now - connection.idle_since < KEEP_IDLE:
                return connection
            connection.close()
        return None

    @staticmethod
    async def connect(backend: Backend, seconds: float) -> Connection:
        """A new connection. Broken if the engine doesn't accept it."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                _, made = await loop.create_connection(Connection, backend.host, backend.port)
        except (OSError, TimeoutError) as error:
            raise Broken(f"can't connect: {error}") from None
        return made

    def give_back(self, backend: Backend, connection: Connection, now: float) -> None:
        """Keep the connection for another request if that is possible, close it otherwise."""
        connection.reader = None
        reusable = connection.complete and connection.keeps and connection.sized and not connection.head_only
        kept = self.idle[(backend.host, backend.port)]
        if reusable and not connection.closed and len(kept) < MAX_IDLE:
            connection.idle_since = now
            kept.append(connection)
        else:
            connection.close()

    def failed(self, replica_id: str) -> None:
        """The replica broke off before it answered: it is left alone for a while, longer each time."""
        count = self.failures[replica_id] = self.failures.get(replica_id, 0) + 1
        self.ejected[replica_id] = time.monotonic() + EJECTED[min(count, len(EJECTED)) - 1]

    def answered(self, replica_id: str) -> None:
        """The replica answers: whatever was held against it is forgotten."""
        if replica_id in self.failures:
            del self.failures[replica_id]
            self.ejected.pop(replica_id, None)

    def tidy(self, now: float) -> None:
        """Drop what was kept too long."""
        for address, kept in list(self.idle.items()):
            for connection in [each for each in kept if each.closed or now - each.idle_since > KEEP_IDLE]:
                kept.remove(connection)
                connection.close()
            if not kept:
                del self.idle[address]
        for replica, until in list(self.ejected.items()):
            if now - until > 300:
                del self.ejected[replica]
                self.failures.pop(replica, None)

    def close(self) -> None:
        """Close everything that is kept."""
        for kept in self.idle.values():
            for connection in kept:
                with contextlib.suppress(OSError):
                    connection.close()
        self.idle.clear()
