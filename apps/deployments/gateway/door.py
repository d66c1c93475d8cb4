"""A caller's connection: the gateway's requests are answered here, below ASGI; all others go on to Django.

It is uvicorn's own protocol with another room in it: accepting, parsing, flow control and shutdown are uvicorn's. A
request below ASGI costs a fraction of what it costs above it (see docs/performance.md).
"""

import logging
import time
from collections.abc import Sized
from typing import TYPE_CHECKING, Any, ClassVar

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from apps.deployments.gateway import errors
from apps.deployments.gateway.call import Call
from apps.deployments.gateway.exchange import Exchange
from apps.deployments.gateway.heads import MISSES, Head, Same

if TYPE_CHECKING:
    from apps.deployments.gateway.app import Gateway

logger = logging.getLogger(__name__)
PREFIXES = (b"/d/", b"/v1/")
MAX_HEAD = 64 * 1024  # bytes of a request line and headers
HEAD_SECONDS = 20.0  # that a head may take from its first byte
LINGER = 5.0  # seconds that the rest of a refused body is read
FLUSH = 20.0  # seconds that a caller has to take the end of the last answer
SYNTHETIC = b"POST / HTTP/1.1\r\n%b\r\n\r\n"


class Flow(FlowControl):
    """Reading and writing of one connection. Nothing is read while requests wait, whoever asks for more."""

    def __init__(self, transport: Any, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, unless what was read already has to wait."""
        if not self._waiting:
            super().resume_reading()


class Door(HttpToolsProtocol):
    """One connection. `call` is the gateway's request that is being answered, `receiver` the one whose body comes."""

    gateway: ClassVar["Gateway"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.call: Call | None = None
        self.receiver: Call | None = None
        self.running: RequestResponseCycle | None = None
        self.in_head = self.muted = self.closing = False
        self._between = True  # the parser waits for the beginning of a request
        self.head_size = 0
        self.leaving_since = 0.0
        self.same = Same()
        self._first = b""
        self._read = 0  # bytes in which the head that is being parsed came, at most
        self._new_head = False  # did a head begin in the last read?
        self._moved = False  # was a head, a part of a body or an end in the last read?
        self._stray = 0  # bytes since then: trailers and the like, which the parser collects
        self.quiet_since = time.monotonic()
        self.peer = ""

    # --- asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """asyncio: a caller came."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self.peer = self.client[0] if self.client else ""
        self.gateway.doors.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the caller is gone."""
        self.gateway.doors.discard(self)
        call, self.call, self.receiver = self.call, None, None
        if self.running and not self.running.response_complete:
            self.running.disconnected = True  # uvicorn tells only the request that came last
            self.running.message_event.set()
        super().connection_lost(exc)
        if call:
            call.gone()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        while data:
            data = self._received(data)

    def _received(self, data: bytes) -> bytes:
        """What of it another parser has to read: see `_without_upgrade`."""
        if self.closing and self.receiver is None:
            return b""
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if self._between:
            if self.same.meaning is not None and self._again(data):
                return b""
            self._first = data
        self._read = (self._read if self.in_head else 0) + len(data)
        self._new_head = self._moved = False
        rest = b""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            logger.exception("a request failed")
            self._refuse(errors.gateway_failed(), ours=True)
        except httptools.HttpParserError:
            self._refuse(errors.bad_request())
        self._first = b""
        self._measure(len(data))
        return rest

    def _measure(self, size: int) -> None:
        """Not for long: a head that doesn't end, and bytes that are neither of a head nor of a body."""
        if self._moved:
            self._stray = 0
        if self.in_head:
            # Of the read in which it began, most may be other requests.
            self.head_size = self._parsed() if self._new_head else self.head_size + size
        elif not self._moved:
            self._stray += size
        if max(self.head_size if self.in_head else 0, self._stray) > MAX_HEAD:
            if self.closing:
                self.transport.abort()
            else:
                self._refuse(errors.head_too_large(MAX_HEAD))

    def _parsed(self) -> int:
        """Bytes of the head that were parsed."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def pause_writing(self) -> None:
        """asyncio: the caller takes no more at the moment."""
        super().pause_writing()
        if self.call:
            self.call.caller_takes(False)

    def resume_writing(self) -> None:
        """asyncio: the caller takes more."""
        super().resume_writing()
        if self.call:
            self.call.caller_takes(True)
        else:
            self._next()

    # --- httptools -----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """httptools: a request begins. What Django needs of it is made only for Django."""
        self.url = b""
        self.headers = []
        if not self.muted:
            self._between = False
            self.in_head = self._new_head = True
            self.head_size = 0
            self.quiet_since = time.monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: one header; what comes behind a body is none of the request's."""
        if self.in_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """httptools: the head is whole."""
        self._moved = True
        if self.muted:
            return
        self.in_head = False
        if self.closing:
            return
        if self._read > MAX_HEAD and self._parsed() > MAX_HEAD:
            self.receiver = None
            self._refuse(errors.head_too_large(MAX_HEAD))
            return
        if not self.url.startswith(PREFIXES):
            self.receiver = None
            self._to_django()
            return
        parser = self.parser
        keep = parser.should_keep_alive() or parser.should_upgrade()
        old = parser.get_http_version() != "1.1"
        head = Head(parser.get_method(), self.url, self.headers)
        call = Call(self, head, keep and not old, old)
        call.body_ended = head.alone
        self.receiver = call
        if self._first and call.keep_alive and not head.expects and self.same.misses < MISSES:
            self.same.learn(self._first, head)
        if self._busy():
            self.flow.pause_reading()
            self.pipeline.appendleft((call, None))  # type: ignore[arg-type]
        else:
            self.call = call
            call.begin()

    def _again(self, data: bytes) -> bool:
        """The same head as last time, with the whole body: nothing is parsed."""
        if self.closing or self._busy():
            return False
        body = self.same.body(data)
        if body is None:
            return False
        call = self.call = self.receiver = Call(self, self.same.meaning, keep_alive=True, old=False)
        call.body_ended = True
        call.size = len(body)
        call.parts = [body]
        call.begin()
        return True

    def on_body(self, body: bytes) -> None:
        """httptools: a part of a body."""
        self._moved = True
        if self.receiver:
            self.receiver.on_body(body)
        elif self.cycle is not None and not self.closing:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """httptools: a request is whole."""
        self._moved = True
        self._first = b""  # what comes behind it in the same read isn't at its beginning
        self._between = True
        if self.receiver:
            if not (self.parser.should_upgrade() and not self.muted):
                self.receiver.on_body_end()
        elif self.cycle is not None and not self.closing:
            super().on_message_complete()

    # --- uvicorn -------------------------------------------------------------------------------------------------

    def _to_django(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers += headers
        self.expect_100_continue = any(n == b"expect" and v.lower() == b"100-continue" for n, v in headers)
        try:
            super().on_headers_complete()
        except httptools.HttpParserInvalidURLError:
            self._refuse(errors.bad_request())

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """A request of Django's that came behind one of the gateway's waits for it."""
        if self.call or self.pipeline:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
        else:
            self._run_django(cycle, app)

    def _run_django(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """uvicorn: Django has answered."""
        if self.pipeline:
            self.server_state.total_requests += 1
            self._next()
        else:
            super().on_response_complete()

    def shutdown(self) -> None:
        """uvicorn: finish what runs, take no more."""
        if self.call:
            self.call.keep_alive = False
        else:
            super().shutdown()

    # --- the gateway ---------------------------------------------------------------------------------------------

    def _busy(self) -> bool:
        """Is anything being answered, or was not taken yet by the caller? Then what comes next waits."""
        return (
            self.call is not None
            or self.flow.write_paused
            or bool(self.pipeline)
            or (self.cycle is not None and not self.cycle.response_complete)
        )

    def answered(self, call: Exchange) -> None:
        """A call has its whole answer: the next request, or a wait for one."""
        if self.call is not call:
            return
        self.call = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.quiet_since = call.active_at
        if self.closing or not call.body_ended:
            self._linger()
        elif not call.keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.loop.call_soon(self._next)  # not at once: answers that need no waiting would pile up on the stack
        else:
            self.flow.resume_reading()

    def _next(self) -> None:
        """Begin with what waits, once the caller has taken the answers before it; read on when nothing waits."""
        if self.flow.write_paused or self._answering() or self.transport.is_closing():
            return
        waiting, app = self.pipeline.pop() if self.pipeline else (None, None)
        if not self.pipeline:
            self.flow.resume_reading()
        if isinstance(waiting, Call):
            self.call = waiting
            waiting.begin()
        elif waiting is not None:
            self._run_django(waiting, app)

    def _answering(self) -> bool:
        return self.call is not None or (self.running is not None and not self.running.response_complete)

    def _linger(self) -> None:
        """Throw the rest of a body away for a while: closing at once would take the answer from the caller."""
        self.closing = True
        self.pipeline.clear()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)

    def _refuse(self, refused: errors.Refused, *, ours: bool = False) -> None:
        """Answer what isn't a request, and hang up. `ours`: the fault is this process' own."""
        if self.closing or self.transport.is_closing():
            return
        self.closing, self.in_head = True, False
        call = self.call
        if call and (ours or not call.body_ended) and call is self.receiver and not call.status:
            call.keep_alive = False
            call.refuse(refused)
            return
        if call and call.body_ended and not ours:
            call.keep_alive = False  # what is wrong came behind it: it gets its answer, and nothing else is read
            self.receiver = None
            self.pipeline.clear()
            return
        if self._busy():
            self.transport.close()  # what was asked before is being answered: there is no place for another answer
            return
        self.gateway.metrics.refused[refused.code] += 1
        body = refused.body()
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (refused.status, refused.phrase, len(body)) + body)
        self._linger()

    def _without_upgrade(self, rest: bytes) -> bytes:
        """The parser stops where a caller offers another protocol; another goes on with the body it announced.

        What that one has to read.
        """
        call = self.receiver
        if call is None:
            if self.cycle is None or not self.closing:
                self._unsupported_upgrade_warning()
            return b""
        head = call.head
        sized = b"transfer-encoding: chunked" if head.chunked else b"content-length: " + (head.length or b"0")
        self.parser = httptools.HttpRequestParser(self)
        self.muted = True
        self.parser.feed_data(SYNTHETIC % sized)
        self.muted = False
        return rest

    def tick(self, now: float) -> None:
        """End a call that takes too long; hang up on those who never finish asking, or never take their answer."""
        if self.transport.is_closing():
            self.leaving_since = self.leaving_since or now
            if now - self.leaving_since > FLUSH:
                self.transport.abort()
            return
        if self.call:
            self.call.tick(now)
        elif self.in_head and now - self.quiet_since > HEAD_SECONDS:
            self._refuse(errors.head_too_slow(HEAD_SECONDS))
        elif now - self.quiet_since > self.timeout_keep_alive and self._idle():
            self.transport.close()

    def _idle(self) -> bool:
        return not (self.in_head or self.timeout_keep_alive_task or self._answering())
