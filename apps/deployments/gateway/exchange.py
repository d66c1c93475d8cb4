"""What a call holds, how it is refused, and how it ends; `call` says how it goes on in between."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from apps.deployments.gateway import account, counting, errors
from apps.deployments.gateway.asking import Late
from apps.deployments.gateway.feed import Unavailable
from apps.deployments.gateway.heads import Head, cors, fresh_id, preflight
from apps.deployments.gateway.keys import Key
from apps.deployments.gateway.limits import Away, Exceeded, Terms
from apps.deployments.gateway.limits.budget import FRESH, headers
from apps.deployments.gateway.metrics import Traffic
from apps.deployments.gateway.paths import Table
from apps.deployments.gateway.upstream import Connection
from apps.deployments.routing import Backend, Route

if TYPE_CHECKING:
    from apps.deployments.gateway.door import Door

logger = logging.getLogger(__name__)
NO_PARTS: list[bytes] = []


class Exchange:
    """One request of one caller: what is known of it, how it is refused, and how it ends. `Call` moves it.

    `door` is the caller's side, `connection` the engine's.
    """

    # What most calls never change is no attribute of their own: making a call is on every request's way.
    key: Key | None = None
    table: Table | None = None
    traffic: Traffic  # once it was let in
    terms: Terms | None = None
    path = doubtful = ""
    target = b""
    parts: list[bytes] = NO_PARTS
    body = b""
    size = bytes_out = reserved = status = broken = 0
    limit = 0  # of the body, once it is known
    charged_at = sent_at = first_byte_at = 0.0
    opened = admitted = counted = engaged = started = done = False
    body_ended = uploading = chunked_up = chunked = hide = streamed = caller_full = False
    late: Late | None = None
    connection: Connection | None = None
    route: Route  # once it was let in
    backend: Backend  # once it was sent
    answer: counting.Answer | None = None
    usage: tuple[int, int] | None = None
    error = ""
    task: asyncio.Task[None] | asyncio.TimerHandle | None = None
    captured: list[bytes] | None = None
    tried: frozenset[str] = frozenset()

    def __init__(self, door: "Door", head: Head, keep_alive: bool, old: bool) -> None:
        self.door = door
        self.gateway = door.gateway
        self.head = head
        self.keep_alive = keep_alive
        self.old = old  # HTTP/1.0
        self.client = door.peer
        self.request_id = head.request_id or fresh_id()
        self.began = self.active_at = 0.0

    def _own_lines(self) -> bytes:
        """The end of every head: the request's ID, what is left of limits, and what browsers need."""
        limits = b""
        if self.terms:
            first, now = self.terms.budgets[0], self.active_at
            limits = first.line if now - first.line_at < FRESH else headers(self.terms.budgets, now)
        if self.head.origin is None and self.keep_alive and self.body_ended:
            return b"x-request-id: %b\r\n%b\r\n" % (self.request_id, limits)
        lines = [b"x-request-id: %b\r\n" % self.request_id, limits]
        if self.head.origin is not None:
            lines.append(cors(self.head.origin, self.gateway.origins))
        if not self.keep_alive or not self.body_ended:
            self.keep_alive = False
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    # --- the gateway's own answers -------------------------------------------------------------------------------

    def _answer_preflight(self) -> None:
        head = self.head
        allowed = cors(head.origin, self.gateway.origins)
        if not allowed:
            raise errors.wrong_method("GET, POST")
        self.status = 204
        own = self._own_lines()
        self._end(b"HTTP/1.1 204 No Content\r\n" + preflight(head.headers) + own)

    def fail(self, refused: errors.Refused) -> None:
        """An engine, the caller or this process gave up half-way; if the answer has begun, it is cut."""
        if self.done:
            return
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
            delay = self.gateway.guard.delay(self.gateway.client_of(self), self.began, guess=refused.guess)
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
        answer = b"".join(lines) + self._own_lines() + shown
        self.bytes_out += len(shown)
        self._end(answer)

    # --- its life ------------------------------------------------------------------------------------------------

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        self.task = self.gateway.loop.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except errors.Refused as refused:
            self.refuse(refused)
        except Exceeded as exceeded:
            self.traffic.limited[exceeded.whose, exceeded.what] += 1
            self.refuse(errors.limited(exceeded))
        except (Unavailable, Away):
            self.refuse(errors.unavailable())
        except Exception:
            logger.exception("a request failed")
            self.fail(errors.gateway_failed())

    def tick(self, now: float) -> None:
        """End what takes too long."""
        limits = self.table.route.timeouts if self.table else self.gateway.usual
        silent = now - self.active_at
        if limits.total and now - self.began > limits.total:
            self._time_out(limits.total)
        elif not self.body_ended and not self.started:
            if silent > limits.idle:
                self._stalled(limits.idle)
        elif self.connection is not None:
            patience = limits.idle if self.started else limits.first_byte
            if silent > patience:
                self._time_out(patience)

    def _stalled(self, seconds: float) -> None:
        """No more of the body came: because the caller sends none, or because the engine takes none."""
        if not self.door.flow.read_paused:
            self.fail(errors.too_slow(seconds))
        elif self.uploading:
            self._time_out(seconds)

    def _time_out(self, seconds: float) -> None:
        self._leave_engine()
        self.fail(errors.timed_out(seconds))

    def _leave_engine(self) -> None:
        """The engine's part is over, well or not."""
        if not self.engaged:
            return
        backend, connection = self.backend, self.connection
        self.engaged, self.connection = False, None
        pool = self.gateway.pool
        if connection is not None:
            if self.caller_full and not connection.closed:
                connection.transport.resume_reading()  # the next call over it has another caller
            if self.uploading and not self.body_ended:
                connection.close()  # answered before it had the whole body: nothing else may go over it
            pool.give_back(backend, connection, self.active_at)
        pool.in_flight[backend.replica_id] -= 1
        if not pool.in_flight[backend.replica_id]:
            del pool.in_flight[backend.replica_id]

    def _end(self, last: bytes = b"") -> None:
        """Its answer is whole with these bytes, or there will be none. Once.

        They go after the call is counted: what a caller has is in the ledger or counted as lost, whenever we die.
        """
        self.done = True
        self._leave_engine()
        if isinstance(self.task, asyncio.TimerHandle):
            self.task.cancel()
            self.gateway.guard.waiting -= 1
        try:
            account.close(self)
        except Exception:
            logger.exception("a call could not be counted")
        if last:
            self.door.transport.write(last)
        self.door.answered(self)
