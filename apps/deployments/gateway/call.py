"""One request on its way to an engine and back, driven by what comes from either side; nothing is held for long.

Where all that is needed is in memory, nothing here waits: a request goes up in the same turn of the event loop in which
it came, and its answer goes down in the turn in which that came. Only what isn't known yet is waited for, in a task.
"""

import logging
import re
import time

from apps.deployments.gateway import account, counting, errors
from apps.deployments.gateway.asking import Late, asking
from apps.deployments.gateway.exchange import NO_PARTS, Exchange
from apps.deployments.gateway.feed import Unavailable
from apps.deployments.gateway.heads import chunk
from apps.deployments.gateway.keys import Key
from apps.deployments.gateway.paths import Table
from apps.deployments.gateway.plan import Plan
from apps.deployments.gateway.upstream import Broken, Connection
from apps.deployments.routing import Backend, Route
from apps.deployments.statuses import WORKING, Status
from modelyard.language import english

logger = logging.getLogger(__name__)
REPLAYABLE = 1024 * 1024  # bytes of a body that are kept until the engine answers, so that it can be sent again
DIGITS = re.compile(rb"\d{1,15}")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FAILED = 500


class Call(Exchange):
    """An exchange that goes on with whatever comes from either side."""

    # --- who calls, and what -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The head is there, and it is this request's turn."""
        self.began = self.active_at = now = time.monotonic()
        gateway, head = self.gateway, self.head
        try:
            plan: Plan | None = head.plan
            if plan is not None and plan.holds(gateway, now):
                self.key, self.table = plan.key, plan.table
                self.path, self.target, self.client = plan.path, plan.target, plan.client
                self._enter(plan.table.route)
            elif head.hosts != 1 and not self.old:
                raise errors.bad_request()
            elif head.method == b"OPTIONS" and head.origin is not None:
                self._answer_preflight()
            else:
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
        self.active_at = time.monotonic()  # of the window it is charged in: looking them up took a while
        if not self.done:
            self._open(key, table)

    def _open(self, key: Key, table: Table | None) -> None:
        """It may pass as far as key, path and deployment are concerned."""
        self.key, self.table = key, table
        if table is None:
            raise errors.no_deployment()
        head, gateway = self.head, self.gateway
        self.path, self.target = table.resolve(head.method.decode("ascii"), head.url)
        if key.client:
            self.client = key.client
        elif key.networks or gateway.trusted:
            self.client = gateway.client_of(self)
            if not key.admits(self.client):
                raise errors.wrong_address()
        if not key.allows(self.path):
            raise errors.out_of_scope(", ".join(key.scopes))
        if not gateway.trusted:  # the caller's address may be another with the next request of a trusted proxy
            head.plan, head.terms = Plan(key, table, self.path, self.target, self.client), None
        self._enter(table.route)

    def _enter(self, route: Route) -> None:
        """The deployment takes calls, and one more."""
        head, self.route = self.head, route
        traffic = self.traffic = self.gateway.metrics.of(route.deployment_id)
        if not route.accepting:
            status = Status(route.status)
            raise (
                errors.undeploying()
                if status in {*WORKING, Status.DEPLOYED}
                else errors.not_deployed(english(status.label))
            )
        if not route.backends:
            raise errors.starting()
        if traffic.open >= route.max_in_flight:
            raise errors.too_many()
        self._check_body(route.max_body_bytes)
        traffic.open += 1
        self.counted = self.opened = True
        if route.captures:
            self.captured = []
        if head.expects and not self.size and not self.body_ended and not self.old:
            self.door.transport.write(CONTINUE)
        if self.body_ended or self.size > REPLAYABLE:
            self._admit()

    def _check_body(self, limit: int) -> None:
        head = self.head
        self.limit = limit
        declared = None if self.body_ended else head.length
        if declared is not None and (not DIGITS.fullmatch(declared) or int(declared) > limit):
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
            self.fail(errors.too_large(self.limit))
        elif self.uploading:
            if self.late:
                data = self.late.feed(data)
            if self.connection and data:
                self.connection.transport.write(chunk(data) if self.chunked_up else data)
        else:
            if self.parts is NO_PARTS:
                self.parts = []
            self.parts.append(data)
            if self.size > REPLAYABLE:
                self.door.flow.pause_reading()
                if self.opened and not self.admitted:
                    self._admit()

    def on_body_end(self) -> None:
        """The body is whole."""
        if self.body_ended:
            return  # there was none
        self.body_ended = True
        if self.done:
            if self.door.call is None:
                self.door.transport.close()
        elif self.uploading:
            self._end_upload()
        elif self.opened and not self.admitted:
            self._admit()

    def _end_upload(self) -> None:
        rest = b""
        if self.late:
            rest = self.late.end()
            self.hide = self.late.asked
        if self.chunked_up:
            rest = chunk(rest) + b"0\r\n\r\n"
        if self.connection and rest:
            self.connection.transport.write(rest)

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
            self.status = self.status or account.LEFT
            self._end()

    # --- limits --------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        self.admitted = True
        self.body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts = NO_PARTS
        if self.captured is not None:
            self.captured.append(self.body[: account.CAPTURED])
        if account.reserve(self):
            self._send()
        else:
            self._wait_for(self._admit_slowly())

    async def _admit_slowly(self) -> None:
        if self.terms:
            await self.gateway.limits.admit(self.terms, self.reserved)
        self.charged_at = self.active_at = time.monotonic()
        if self.done:
            account.release(self)  # the caller left meanwhile
        else:
            self._send()

    # --- the engine's side ---------------------------------------------------------------------------------------

    def _send(self) -> None:
        backend = self.gateway.pool.choose(self.route.backends, self.tried)
        # What is sent while it comes can't be sent again: a kept connection might have gone stale.
        self._send_to(backend, fresh=not self.body_ended)

    def _send_to(self, backend: Backend, *, fresh: bool) -> None:
        self.backend = backend
        pool = self.gateway.pool
        pool.in_flight[backend.replica_id] += 1
        self.engaged = True
        self.sent_at = self.active_at
        kept = None if fresh else pool.kept(backend, self.active_at)
        if kept is None:
            self._wait_for(self._connect(backend))
        else:
            self._start(kept)

    async def _connect(self, backend: Backend) -> None:
        try:
            connection = await self.gateway.pool.connect(backend, self.route.timeouts.connect)
        except Broken as error:
            if not self.done:
                self.broken += backend.replica_id == self.doubtful  # its connection wasn't stale: it died
                self._lost(error, stale=False)
            return
        if self.done:
            connection.close()
        else:
            self._start(connection)

    def _start(self, connection: Connection) -> None:
        head = self.head
        self.connection = connection
        if self.parts:  # came while the engine was being reached
            self.body, self.parts = b"".join([self.body, *self.parts]), NO_PARTS
        if self.body_ended and not self.hide and self.path in counting.STREAMING_PATHS:
            self.body, self.hide = asking(self.body)
        length: int | None = len(self.body)
        first = self.body
        if not self.body_ended:
            length = int(head.length) if head.length else None
            self.chunked_up = length is None
            if self.path in counting.STREAMING_PATHS:
                self.late = Late()
                first = self.late.feed(first)
                length = length + Late.EXTRA if length is not None else None
            first = chunk(first) if self.chunked_up else first
        up = head.upwards(self.target, self.backend, self.request_id, length)
        connection.start(self, up + first, head.method == b"HEAD")
        if not self.body_ended:
            self.uploading = True
            self.body = b""
            if not connection.full:
                self.door.flow.resume_reading()

    def upload_may(self, go_on: bool) -> None:
        """The engine takes more of the body, or doesn't at the moment: the caller is held back as well."""
        if self.uploading and not self.body_ended:
            (self.door.flow.resume_reading if go_on else self.door.flow.pause_reading)()

    def broke(self, connection: Connection, error: Broken) -> None:
        """The engine broke off. Nothing was answered yet: another replica, or a new connection for a stale one."""
        if not self.done:
            stale = connection.used > 1
            if stale:
                self.doubtful = self.backend.replica_id
            self.broken += not stale
            self._lost(error, stale=stale)

    def _lost(self, error: Broken, *, stale: bool) -> None:
        self._leave_engine()
        logger.warning("request %s to %s: %s", self.request_id.decode(), self.route.deployment_id, error)
        if self.started:
            self.error = "engine_unreachable"
            self._end()
            self.door.transport.close()  # a response that was cut must look cut
            return
        if not stale:
            self.gateway.pool.failed(self.backend.replica_id)
        # One that broke two engines may be the reason: it isn't given to a third.
        if self.uploading or self.broken > 1 or not self._try_again(stale):
            self.fail(errors.engine_broke())

    def _try_again(self, stale: bool) -> bool:
        if stale:
            self._send_to(self.backend, fresh=True)
            return True
        backends = self.route.backends
        self.tried |= {self.backend.replica_id}
        if all(each.replica_id in self.tried for each in backends):
            return False
        self._send_to(self.gateway.pool.choose(backends, self.tried), fresh=True)
        return True

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
            self.fail(errors.engine_busy(given.decode() if DIGITS.fullmatch(given) else "5"))
        else:
            self.fail(errors.engine_failed())

    def _head_down(self, connection: Connection) -> bytes:
        head, status, length = self.head, connection.status, connection.length
        self.started = True
        self.status = status
        if connection.kind.startswith(b"text/event-stream"):
            self.streamed = True
            self.answer = counting.Events(self.hide)
            length = None if self.hide else length
        lines = connection.lines
        if length is not None:
            lines += b"content-length: %d\r\n" % length
        elif head.method != b"HEAD" and status not in {204, 304}:
            if self.old:
                self.keep_alive = False
            else:
                self.chunked = True
                lines += b"transfer-encoding: chunked\r\n"
        return lines + self._own_lines()

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
        if complete:
            self._end(head + body)
        elif head or body:
            self.door.transport.write(head + body)

    def _own_usage(self) -> bool:
        return self.table is not None and self.route.usage_of is not None
