"""Heads of requests and responses: which headers pass, which are the gateway's own, and which end here."""

import http
import itertools
import os
import re
from typing import Any

from apps.deployments.routing import Backend

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip
NOT_UP = HOP_BY_HOP | {
    b"host", b"authorization", b"cookie", b"content-length", b"expect", b"forwarded", b"x-real-ip", b"via",
    b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-request-id",
    b"accept-encoding", b"origin", b"traceparent",
}  # fmt: skip
NOT_DOWN = HOP_BY_HOP | {
    b"server", b"set-cookie", b"x-request-id", b"location", b"content-location", b"x-powered-by", b"via",
    b"access-control-allow-origin", b"access-control-allow-credentials", b"content-length",
}  # fmt: skip
STATUS = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in http.HTTPStatus
}  # fmt: skip
PLAIN = re.compile(rb"[\w.:-]{1,128}")
TRACE = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_prefix = os.urandom(6).hex()
_numbers = itertools.count(1)


def fresh_id() -> bytes:
    """A request's ID that no other request of any process has."""
    return b"req_%s%010x" % (_prefix.encode(), next(_numbers))


class Head:
    """The head of a caller's request, taken apart in one go.

    A caller that keeps its connection mostly sends the same head again. `plan` and `terms` are what it led to (see
    `call` and `account`); the beginning of the engine's head is kept for the backend that it was last made for.
    """

    def __init__(self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.authorization: bytes | None = None
        self.length: bytes | None = None
        self.chunked = self.expects = False
        self.hosts = 0
        self.encoding: bytes | None = None
        self.origin: bytes | None = None
        self.request_id = b""
        self.plan: Any = None
        self.terms: Any = None
        self._begun: tuple[Backend, bytes, bytes] | None = None
        passed = []
        for pair in headers:
            name = pair[0]
            if name in NOT_UP:
                self._own(name, pair[1])
            else:
                if name == b"content-encoding":
                    self.encoding = pair[1]
                passed.append(b"%b: %b\r\n" % pair)
        self.passed = passed
        self.alone = not self.chunked and self.length in {None, b"0"}  # no body follows

    def _own(self, name: bytes, value: bytes) -> None:
        if name == b"authorization":
            self.authorization = value
        elif name == b"host":
            self.hosts += 1
        elif name == b"content-length":
            self.length = value
        elif name == b"transfer-encoding":
            self.chunked = True
            if value.lower() != b"chunked":
                self.encoding = value  # the body is packed before it is cut into chunks
        elif name == b"expect":
            self.expects = value.lower() == b"100-continue"
        elif name == b"x-request-id":
            if PLAIN.fullmatch(value):
                self.request_id = value
        elif name == b"origin":
            self.origin = value

    def upwards(self, target: bytes, backend: Backend, request_id: bytes, length: int | None) -> bytes:
        """The head as the engine gets it: what passes, ours, and the body's length; None sends it chunked."""
        begun = self._begun
        if begun is None or begun[0] is not backend or begun[1] is not target:
            begun = self._begun = (backend, target, self._begin(target, backend))
        if length:
            return b"%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (begun[2], request_id, length)
        if length is None:
            sized = b"transfer-encoding: chunked\r\n"
        else:
            sized = b"content-length: 0\r\n" if self.method in {b"POST", b"PUT", b"PATCH"} else b""
        return b"%bx-request-id: %b\r\n%b\r\n" % (begun[2], request_id, sized)

    def _begin(self, target: bytes, backend: Backend) -> bytes:
        passed = self.passed
        for name, value in self.headers:
            if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
                gone = tuple(part.strip().lower() + b":" for part in value.split(b","))
                passed = [line for line in passed if not line.startswith(gone)]
            elif name == b"traceparent" and TRACE.fullmatch(value):
                passed = [*passed, b"traceparent: %b\r\n" % value]
        return b"%b %b HTTP/1.1\r\nhost: %b:%d\r\nauthorization: Bearer %b\r\n%b" % (
            self.method,
            target,
            backend.host.encode("ascii"),
            backend.port,
            backend.secret.encode("ascii"),
            b"".join(passed),
        )


LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)\r\n", re.IGNORECASE)
MISSES = 4  # heads in a row that weren't the same, after which a connection's aren't compared any more


class Same:
    """The last head that came over a connection, as bytes: one that is the same but for its length isn't parsed again.

    The parser makes of the same bytes the same head; the length is compared by its own strict rule. `meaning` is what
    the parser made of it.
    """

    def __init__(self) -> None:
        self.meaning: Any = None
        self.misses = 0
        self._before = b""
        self._after = b""

    def learn(self, data: bytes, meaning: Any) -> None:
        """The parser accepted a head at the beginning of `data`."""
        end = data.find(b"\r\n\r\n") + 4
        found = LENGTH.search(data, 0, end)
        if end < 4 or found is None or LENGTH.search(data, found.end() - 2, end):
            self.meaning = None
            return
        self._before, self._after, self.meaning = data[: found.start(1)], data[found.end(1) : end], meaning

    def body(self, data: bytes) -> bytes | None:
        """The body, if `data` is the same head and all of its body; None otherwise."""
        if data.startswith(self._before):
            start = len(self._before)
            end = data.find(b"\r", start, start + 12)
            digits = data[start:end]
            at = end + len(self._after)
            if end > 0 and digits.isdigit() and data.startswith(self._after, end) and len(data) - at == int(digits):
                self.misses = 0
                return data[at:]
        self.misses += 1
        return None


def downwards(status: int, headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The lines of a response's head for the caller, without its length and what belongs to the engine's hop."""
    lines = [STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status]
    named: tuple[bytes, ...] = ()
    for pair in headers:
        name = pair[0]
        if name not in NOT_DOWN:
            lines.append(b"%b: %b\r\n" % pair)
        elif name == b"connection" and pair[1].lower() not in {b"keep-alive", b"close"}:
            named = tuple(part.strip().lower() + b":" for part in pair[1].split(b","))
    return [line for line in lines if not line.startswith(named)] if named else lines


def chunk(data: bytes) -> bytes:
    """A part of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def cors(origin: bytes | None, allowed: list[str]) -> bytes:
    """The lines that let a page of that origin read the answer; empty if the operator doesn't allow it."""
    if origin is None or not allowed or not PRINTABLE.fullmatch(origin):
        return b""
    if "*" not in allowed and origin.decode("ascii", "replace") not in allowed:
        return b""
    return b"access-control-allow-origin: %b\r\nvary: origin\r\naccess-control-expose-headers: %b\r\n" % (
        origin, EXPOSED)  # fmt: skip


PRINTABLE = re.compile(rb"[\x21-\x7e]{1,300}")
EXPOSED = (
    b"x-request-id, retry-after, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
    b"x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
PREFLIGHT = (
    b"access-control-allow-methods: GET, POST, HEAD, OPTIONS\r\naccess-control-max-age: 600\r\n"
    b"access-control-allow-headers: authorization, content-type, x-request-id, traceparent, tracestate, %b\r\n"
)
ASKED = re.compile(rb"[\w, -]{1,1000}")


def preflight(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The lines that answer a browser's question before a call; whatever headers it names are allowed."""
    asked = dict(headers).get(b"access-control-request-headers", b"")
    return PREFLIGHT % (asked if ASKED.fullmatch(asked) else b"x-api-version")
