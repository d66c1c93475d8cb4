"""Heads of requests and responses: which headers pass, which are the gateway's own, and which end here."""

import http
import itertools
import os
import re

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
    b"access-control-allow-origin", b"access-control-allow-credentials",
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
    """The head of a caller's request, taken apart in one go."""

    __slots__ = (
        "authorization",
        "chunked",
        "encoding",
        "event_stream",
        "expects",
        "headers",
        "length",
        "method",
        "origin",
        "passed",
        "request_id",
        "url",
    )

    def __init__(self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.authorization: bytes | None = None
        self.length: bytes | None = None
        self.chunked = self.expects = False
        self.encoding: bytes | None = None
        self.origin: bytes | None = None
        self.request_id = b""
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
        if not self.request_id:
            self.request_id = fresh_id()

    def _own(self, name: bytes, value: bytes) -> None:
        if name == b"authorization":
            self.authorization = value
        elif name == b"content-length":
            self.length = value
        elif name == b"transfer-encoding":
            self.chunked = True
        elif name == b"expect":
            self.expects = value.lower() == b"100-continue"
        elif name == b"x-request-id":
            if PLAIN.fullmatch(value):
                self.request_id = value
        elif name == b"origin":
            self.origin = value

    def upwards(self, target: bytes, backend: Backend, length: int | None) -> bytes:
        """The head as the engine gets it: what passes, ours, and the body's length; None sends it chunked."""
        passed = self.passed
        for name, value in self.headers:
            if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
                gone = tuple(part.strip().lower() + b":" for part in value.split(b","))
                passed = [line for line in passed if not line.startswith(gone)]
            elif name == b"traceparent" and TRACE.fullmatch(value):
                passed = [*passed, b"traceparent: %b\r\n" % value]
        if length is None:
            sized = b"transfer-encoding: chunked\r\n"
        elif length or self.method in {b"POST", b"PUT", b"PATCH"}:
            sized = b"content-length: %d\r\n" % length
        else:
            sized = b""
        return b"%b %b HTTP/1.1\r\nhost: %b:%d\r\nauthorization: Bearer %b\r\n%bx-request-id: %b\r\n%b\r\n" % (
            self.method,
            target,
            backend.host.encode("ascii"),
            backend.port,
            backend.secret.encode("ascii"),
            b"".join(passed),
            self.request_id,
            sized,
        )


def downwards(status: int, headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The lines of a response's head as the caller gets them, without what belongs to the engine's hop."""
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
    b"x-request-id, retry-after, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
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
