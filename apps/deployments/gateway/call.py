"""One request on its way to an engine and back, driven by what comes from either side; nothing held longer than it must.

Where all that is needed is in memory, nothing here waits: a request goes up in the same turn of the event loop in which
it came, and its answer goes down in the turn in which that came. Only what isn't known yet is waited for, in a task.
"""

import asyncio
import logging
import re
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from apps.deployments.gateway import account, counting, errors
from apps.deployments.gateway.feed import Unavailable
from apps.deployments.gateway.heads import Head, chunk, cors, downwards, preflight
from apps.deployments.gateway.keys import Key
from apps.deployments.gateway.limits import Away, Budget, Exceeded
from apps.deployments.gateway.paths import Table
from apps.deployments.gateway.upstream import Broken, Connection
from apps.deployments.routing import Backend
from apps.deployments.statuses import WORKING, Status

if TYPE_CHECKING:
    from apps.deployments.gateway.door import Door

logger = logging.getLogger(__name__)
REPLAYABLE = 1024 * 1024  # bytes of a body that are kept until the engine answers, so that it can be sent again
DIGITS = re.compile(rb"\d{1,15}")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FAILED = 500
LEFT = 499  # as nginx logs it: the caller left before it was answered


class Call:
    """One request of one caller. `door` is the caller's side, `connection` the engine's."""

    def __init__(self, door: "Door", head: Head, keep_alive: bool, old: bool) -> None:
        self.door = door
        self.gateway = door.gateway
        self.head = head
        self.keep_alive = keep_alive
        self.old = old  # HTTP/1.0
        self.key: Key | None = None
        self.table: Table | None = None
        self.budgets: list[Budget] = []
        self.path = ""
        self.target = b""
        self.client = door.peer
        self.began = self.active_at = self.charged_at = self.sent_at = self.first_byte_at = 0.0
        self.parts: list[bytes] = []
        self.body = b""
        self.size = self.bytes_out = self.reserved = 0
        self.limit = 0  # of the body, once it is known
        self.opened = self.admitted = self.counted = self.uploading = self.started = self.done = False
        self.engaged = self.chunked_up = self.body_ended = self.chunked = self.hide = self.streamed = (
            self.caller_full
        ) = False
        self.connection: Connection | None = None
        self.backend: Backend | None = None
        self.tried: set[str] = set()
        self.answer: counting.Answer | None = None
        self.usage: tuple[int, int] | None = None
        self.status = 0
        self.error = ""
        self.task: asyncio.Task[None] | asyncio.TimerHandle | None = None
        self.captured: list[bytes] | None = None

    # --- who calls, and what -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The head is there, and it is this request's turn."""
        self.began = self.active_at = now = time.monotonic()
        gateway, head = self.gateway, self.head
        gateway.calls.add(self)
        try:
            if head.method == b"OPTIONS" and head.origin is not None:
                self._answer_preflight()
                return
            header = head.authorization
            key = gateway.keys.peek(header, now) if header else None
            entry = gateway.tables.peek(key.deployment_id, now) if key else None
            if key is not None and entry is not None:
                self._open(key, entry.value)
            else:
                self._wait_for(self._find())
        except errors.Refused as refused:
            self.refuse(refused)
        except Unavailable:
            self.refuse(errors.unavailable())

    async def _find(self) -> None:
        key = await self.gateway.keys.check(self.head.authorization)
        table = await self.gateway.tables.get(key.deployment_id)
        if not self.done:
            self._open(key, table)

    def _open(self, key: Key, table: Table | None) -> None:
        """It may pass as far as key, path and deployment are concerned."""
        self.key, self.table = key, table
        if table is None:
            raise errors.no_deployment()
        head, route, gateway = self.head, table.route, self.gateway
        self.path, self.target = table.resolve(head.method.decode("ascii"), head.url)
        if key.networks or gateway.trusted:
            self.client = gateway.client_of(self)
            if not key.admits(self.client):
                raise errors.wrong_address()
        if not key.allows(self.path):
            raise errors.out_of_scope(", ".join(key.scopes))
        traffic = gateway.metrics.of(route.deployment_id)
        if not route.accepting:
            status = Status(route.status)
            raise errors.undeploying() if status in {*WORKING, Status.DEPLOYED} else errors.not_deployed(status.label)
        if not route.backends:
            raise errors.starting()
        if traffic.open >= route.max_in_flight:
            raise errors.too_many()
        self._check_body(route.max_body_bytes)
        traffic.open += 1
        self.counted = self.opened = True
        if route.captures:
            self.captured = []
        if head.expects and not self.size and not self.body_ended:
            self.door.transport.write(CONTINUE)
        if self.body_ended or self.size > REPLAYABLE:
            self._admit()

    def _check_body(self, limit: int) -> None:
        head = self.head
        self.limit = limit
        if head.length is not None and (not DIGITS.fullmatch(head.length) or int(head.length) > limit):
            raise errors.too_large(limit)
        if self.size > limit:
            raise errors.too_large(limit)
        if head.encoding is not None and head.encoding.lower() != b"identity":
            raise errors.compressed()

    # --- the caller's side ---------------------------------------------------------------------------------------

    def on_body(self, data: bytes) -> None:
        """A part of the body came."""
        if self.done:
            return
        self.active_at = time.monotonic()
        self.size += len(data)
        if self.limit and self.size > self.limit:
            self._fail(errors.too_large(self.limit))
        elif self.uploading:
            if self.connection:
                self.connection.transport.write(chunk(data) if self.chunked_up else data)
        else:
            self.parts.append(data)
            if self.size > REPLAYABLE:
                self.door.flow.pause_reading()
                if self.opened and not self.admitted:
                    self._admit()

    def on_body_end(self) -> None:
        """The body is whole."""
        self.body_ended = True
        if self.done:
            if self.door.call is None:
                self.door.transport.close()
        elif self.uploading:
            if self.connection and self.chunked_up:
                self.connection.transport.write(b"0\r\n\r\n")
        elif self.opened and not self.admitted:
            self._admit()

    def caller_takes(self, go_on: bool) -> None:
        """The caller reads, or doesn't at the moment: the engine is held back as well."""
        self.caller_full = not go_on
        if self.connection and not self.connection.closed:
            transport = self.connection.transport
            (transport.resume_reading if go_on else transport.pause_reading)()
            self.active_at = time.monotonic()

    def gone(self) -> None:
        """The caller left: the engine stops working for nobody."""
        if not self.done:
            self.status = self.status or LEFT
            self._end()

    # --- limits --------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        self.admitted = True
        self.body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts = []
        if self.captured is not None:
            self.captured.append(self.body[: account.CAPTURED])
        if account.reserve(self):
            self._send()
        else:
            self._wait_for(self._admit_slowly())

    async def _admit_slowly(self) -> None:
        await self.gateway.limits.admit(self.budgets, self.reserved)
        self.charged_at = time.monotonic()
        if self.done:
            account.release(self)  # the caller left meanwhile
        else:
            self._send()

    # --- the engine's side ---------------------------------------------------------------------------------------

    def _send(self) -> None:
        assert self.table
        if self.body_ended and self.path in counting.STREAMING_PATHS:
            self.body, self.hide = counting.asking(self.body)
        backend = self.gateway.pool.choose(self.table.route.backends, self.tried)
        self._send_to(backend, fresh=False)

    def _send_to(self, backend: Backend, *, fresh: bool) -> None:
        self.backend = backend
        self.tried.add(backend.replica_id)
        pool = self.gateway.pool
        pool.in_flight[backend.replica_id] += 1
        self.engaged = True
        self.active_at = self.sent_at = time.monotonic()
        kept = None if fresh else pool.kept(backend)
        if kept is None:
            self._wait_for(self._connect(backend))
        else:
            self._start(kept)

    async def _connect(self, backend: Backend) -> None:
        assert self.table
        try:
            connection = await self.gateway.pool.connect(backend, self.table.route.timeouts.connect)
        except Broken as error:
            if not self.done:
                self._lost(error, stale=False)
            return
        if self.done:
            connection.close()
        else:
            self._start(connection)

    def _start(self, connection: Connection) -> None:
        assert self.backend
        head = self.head
        self.connection = connection
        if self.parts:  # came while the engine was being reached
            self.body, self.parts = b"".join([self.body, *self.parts]), []
        length: int | None = len(self.body)
        first = self.body
        if not self.body_ended:
            length = int(head.length) if head.length else None
            self.chunked_up = length is None
            first = chunk(first) if self.chunked_up else first
        connection.start(self, head.upwards(self.target, self.backend, length) + first, head.method == b"HEAD")
        if not self.body_ended:
            self.uploading = True
            self.body = b""
            self.door.flow.resume_reading()

    def upload_may(self, go_on: bool) -> None:
        """The engine takes more of the body, or doesn't at the moment: the caller is held back as well."""
        if self.uploading and not self.body_ended:
            (self.door.flow.resume_reading if go_on else self.door.flow.pause_reading)()

    def broke(self, connection: Connection, error: Broken) -> None:
        """The engine broke off. Nothing was answered yet: another replica, or a new connection for a stale one."""
        if not self.done:
            self._lost(error, stale=connection.used > 1)

    def _lost(self, error: Broken, *, stale: bool) -> None:
        assert self.backend
        assert self.table
        self._leave_engine()
        logger.warning("request %s to %s: %s", self.head.request_id.decode(), self.table.route.deployment_id, error)
        if self.started:
            self.error = "engine_unreachable"
            self._end()
            self.door.transport.close()  # a response that was cut must look cut
            return
        if not stale:
            self.gateway.pool.failed(self.backend.replica_id)
        if self.uploading or not self._try_again(stale):
            self._fail(errors.engine_broke())

    def _try_again(self, stale: bool) -> bool:
        assert self.backend
        assert self.table
        backends = self.table.route.backends
        if any(each.replica_id not in self.tried for each in backends):
            self._send_to(self.gateway.pool.choose(backends, self.tried), fresh=True)
            return True
        if stale:
            self._send_to(self.backend, fresh=True)
        return stale

    def _leave_engine(self) -> None:
        """The engine's part is over, well or not."""
        backend, connection = self.backend, self.connection
        self.connection = None
        if not self.engaged or backend is None:
            return
        self.engaged = False
        pool = self.gateway.pool
        if connection is not None:
            if self.uploading and not self.body_ended:
                connection.close()  # answered before it had the whole body: nothing else may go over it
            pool.give_back(backend, connection, self.active_at)
        pool.in_flight[backend.replica_id] -= 1
        if not pool.in_flight[backend.replica_id]:
            del pool.in_flight[backend.replica_id]

    # --- the answer ----------------------------------------------------------------------------------------------

    def came(self, connection: Connection) -> None:
        """More of the engine's answer is there."""
        self.active_at = now = time.monotonic()
        parts, connection.parts = connection.parts, []
        data = b"" if not parts else parts[0] if len(parts) == 1 else b"".join(parts)
        if self.started:
            self._pass(b"", data, connection)
            return
        status = connection.status
        if status >= FAILED or status in {401, 403, 407}:
            self._engine_refused(connection)
            return
        assert self.backend
        self.gateway.pool.answered(self.backend.replica_id)
        self.first_byte_at = now
        self._pass(self._head_down(connection), data, connection)

    def _engine_refused(self, connection: Connection) -> None:
        """What the caller is told of an engine's failure is never the engine's own words."""
        status, headers, uploading = connection.status, dict(connection.headers), self.uploading
        self._leave_engine()
        if status == 503 and not uploading and self._try_again(stale=False):
            return
        if status in {502, 503, 504}:
            given = headers.get(b"retry-after", b"")
            self._fail(errors.engine_busy(given.decode() if DIGITS.fullmatch(given) else "5"))
        else:
            self._fail(errors.engine_failed())

    def _head_down(self, connection: Connection) -> bytes:
        head, status = self.head, connection.status
        self.started = True
        self.status = status
        lines = downwards(status, connection.headers)
        empty = head.method == b"HEAD" or status in {204, 304}
        kind = length = b""
        for name, value in connection.headers:
            if name == b"content-type":
                kind = value
            elif name == b"content-length":
                length = value
        self.streamed = kind.startswith(b"text/event-stream")
        self.chunked = not length and not empty
        if self.hide and not self.streamed:
            self.hide = False
        if self.hide and length:
            lines = [line for line in lines if not line.startswith(b"content-length:")]
            self.chunked = True
        self.answer = counting.Events(self.hide) if self.streamed else None
        if self.chunked:
            if self.old:
                self.chunked, self.keep_alive = False, False
            else:
                lines.append(b"transfer-encoding: chunked\r\n")
        return b"".join(lines) + self._own_lines()

    def _own_lines(self) -> bytes:
        """The end of every head: the request's ID, what is left of limits, and what browsers need."""
        lines = [b"x-request-id: %b\r\n" % self.head.request_id]
        if self.budgets:
            lines.append(account.remaining(self.budgets))
        if self.head.origin is not None:
            lines.append(cors(self.head.origin, self.gateway.origins))
        if not self.keep_alive or not self.body_ended:
            self.keep_alive = False
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _pass(self, head: bytes, data: bytes, connection: Connection) -> None:
        complete = connection.complete
        answer = self.answer
        if answer is not None:
            data = answer.feed(data)
            if complete:
                data += answer.end()
        elif complete:
            self.usage = counting.read(data)  # most answers come in one piece: nothing has to be kept
        else:
            answer = self.answer = counting.Answer(counting.WHOLE if self._own_usage() else counting.TAIL)
            answer.feed(data)
        if self.captured is not None and self.bytes_out < account.CAPTURED:
            self.captured.append(data)
        self.bytes_out += len(data)
        if complete and answer is None and self._own_usage():
            answer = self.answer = counting.Answer(counting.WHOLE)
            answer.feed(data)
        body = chunk(data) if self.chunked else data
        if complete and self.chunked:
            body += b"0\r\n\r\n"
        if head or body:
            self.door.transport.write(head + body)
        if complete:
            self._leave_engine()
            self._end()

    def _own_usage(self) -> bool:
        return self.table is not None and self.table.route.usage_of is not None

    # --- the gateway's own answers -------------------------------------------------------------------------------

    def _answer_preflight(self) -> None:
        head = self.head
        allowed = cors(head.origin, self.gateway.origins)
        if not allowed:
            raise errors.wrong_method("GET, POST")
        self.status = 204
        own = self._own_lines()
        self.door.transport.write(b"HTTP/1.1 204 No Content\r\n" + preflight(head.headers) + own)
        self._end()

    def _fail(self, refused: errors.Refused) -> None:
        """An engine or the caller failed half-way; if the answer has begun, it is cut."""
        if self.started:
            self.error = refused.code
            self._end()
            self.door.transport.close()
        else:
            self.refuse(refused)

    def refuse(self, refused: errors.Refused) -> None:
        """The gateway's own answer; a wrong key's comes later, the more there were."""
        if self.done or self.status:
            return
        if refused.status == 401:
            delay = self.gateway.guard.delay(self.client, self.began)
            if delay is None:
                refused = errors.too_many_failures(5)
            else:
                self.gateway.guard.waiting += 1
                self.status = refused.status
                self.task = self.gateway.loop.call_later(delay, self._refuse_later, refused)
                return
        self._refuse_now(refused)

    def _refuse_later(self, refused: errors.Refused) -> None:
        self.gateway.guard.waiting -= 1
        self.task = None
        if not self.done:
            self._refuse_now(refused)

    def _refuse_now(self, refused: errors.Refused) -> None:
        body = refused.body()
        self.status, self.error = refused.status, refused.code
        if "connection" in refused.headers:
            self.keep_alive = False
        lines = [b"HTTP/1.1 %d %b\r\n" % (refused.status, refused.phrase)]
        lines += [b"%b: %b\r\n" % (n.encode(), v.encode()) for n, v in refused.headers.items() if n != "connection"]
        lines.append(b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body))
        shown = b"" if self.head.method == b"HEAD" else body
        self.door.transport.write(b"".join(lines) + self._own_lines() + shown)
        self.bytes_out += len(shown)
        self._end()

    # --- its life ------------------------------------------------------------------------------------------------

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        self.task = self.gateway.loop.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except errors.Refused as refused:
            self.refuse(refused)
        except Exceeded as exceeded:
            self.refuse(errors.limited(exceeded))
        except (Unavailable, Away):
            self.refuse(errors.unavailable())
        except Exception:
            logger.exception("a request failed")
            self._fail(errors.gateway_failed())

    def tick(self, now: float) -> None:
        """End what takes too long."""
        if self.table is None:
            limits = self.gateway.usual
        else:
            limits = self.table.route.timeouts
        silent = now - self.active_at
        if limits.total and now - self.began > limits.total:
            self._time_out(limits.total)
        elif not self.body_ended and not self.started:
            if silent > limits.idle and not self.admitted:
                self._fail(errors.too_slow(limits.idle))
        elif self.connection is not None:
            patience = limits.idle if self.started else limits.first_byte
            if silent > patience:
                self._time_out(patience)

    def _time_out(self, seconds: float) -> None:
        self._leave_engine()
        self._fail(errors.timed_out(seconds))

    def _end(self) -> None:
        """Its answer is whole, or there will be none. Once."""
        self.done = True
        self._leave_engine()
        if isinstance(self.task, asyncio.TimerHandle):
            self.task.cancel()
            self.gateway.guard.waiting -= 1
        self.gateway.calls.discard(self)
        account.close(self)
        self.door.answered(self)
