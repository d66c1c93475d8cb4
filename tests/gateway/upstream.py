"""An engine that behaves as the request's `x-behave` header asks, and remembers what it was sent."""

import json
import socket
import socketserver
import threading
import time
from dataclasses import dataclass, field
from typing import Any

STACK = b'Traceback (most recent call last):\n  File "/opt/engine/secret.py", line 1, in <module>'


@dataclass
class Seen:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class Engine:
    """The server and what it saw."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    step: threading.Event = field(default_factory=threading.Event)
    sent: int = 0
    connections: int = 0
    server: Any = None


class Handler(socketserver.StreamRequestHandler):
    """Serves one connection."""

    def handle(self) -> None:
        self.engine: Engine = self.server.engine  # type: ignore[attr-defined]
        self.engine.connections += 1
        number = self.engine.connections
        while True:
            line = self.rfile.readline().decode().strip()
            if not line:
                return
            headers = {}
            while header := self.rfile.readline().decode().strip():
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            if headers.get("x-behave") == "deaf":
                self.engine.step.wait(30)  # takes nothing of the body
                return
            seen = Seen(line, headers, self.body(headers), number)
            self.engine.seen.append(seen)
            behave = getattr(self, headers.get("x-behave", "json").replace("-", "_"))
            if behave() is False:
                return

    def body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(headers.get("content-length", 0)))

    def answer(self, status: str, body: bytes, *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
        self.wfile.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def chunked(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def json(self) -> None:
        self.answer("200 OK", json.dumps({"ok": True}).encode(), "Server: engine/1", "X-Own: kept", "Set-Cookie: a=b")

    def usage(self) -> None:
        """An answer of 10 and 20 tokens."""
        usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
        self.answer("200 OK", json.dumps({"choices": [{"text": "Hi"}], "usage": usage}).encode())

    def events(self) -> None:
        """A stream of three words; usage at its end if it was asked for."""
        self.chunked()
        for word in ("one", "two", "three"):
            self.chunk(b"data: " + json.dumps({"choices": [{"delta": {"content": word}}]}).encode() + b"\n\n")
        asked = json.loads(self.engine.seen[-1].body)
        if (asked.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
            event = b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
            for at in range(0, len(event), 20):  # in pieces, as a network may deliver it
                self.chunk(event[at : at + 20])
                time.sleep(0.002)
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def headers(self) -> None:
        self.answer("200 OK", b"{}", "Connection: keep-alive, x-hop", "X-Hop: 1", "Keep-Alive: timeout=5")

    def stepwise(self) -> None:
        """The next chunk goes only when the test says so."""
        self.chunked()
        for number in range(3):
            self.chunk(b"data: %d\n\n" % number)
            self.engine.step.wait(10)
            self.engine.step.clear()
        self.wfile.write(b"0\r\n\r\n")

    def endless(self) -> bool:
        """Sends until the caller is gone."""
        self.chunked()
        try:
            while True:
                self.chunk(b"x" * 1000)
                self.engine.sent += 1000
                time.sleep(0.005)
        except OSError:
            self.engine.cancelled.set()
        return False

    def flood(self) -> bool:
        """Sends as fast as it is taken."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n")
        try:
            for _ in range(4000):
                self.wfile.write(b"x" * 100_000)
                self.engine.sent += 100_000
        except OSError:
            self.engine.cancelled.set()
        return False

    def slow(self) -> None:
        time.sleep(0.3)
        self.json()

    def die(self) -> bool:
        """What was asked ends the engine: it listens no more."""
        self.server.shutdown()
        self.server.server_close()
        return False

    def large(self) -> None:
        """An answer of as many bytes as its request asks for."""
        self.answer("200 OK", b"x" * json.loads(self.engine.seen[-1].body)["size"])

    def silent(self) -> bool:
        """Never answers; notices when the caller is gone."""
        self.connection.settimeout(20)
        try:
            if self.connection.recv(1) == b"":
                self.engine.cancelled.set()
        except OSError:
            self.engine.cancelled.set()
        return False

    def close(self) -> bool:
        return False

    def close_reused(self) -> bool | None:
        """Answers once on each connection and closes on the second request, as a kept-alive connection gone stale."""
        if len([seen for seen in self.engine.seen if seen.connection == self.engine.connections]) > 1:
            return False
        self.json()
        return None

    def cut(self) -> bool:
        self.chunked()
        self.chunk(b"data: 1\n\n")
        time.sleep(0.1)
        return False

    def short(self) -> bool:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        return False

    def until_close(self) -> bool:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        return False

    def early_hints(self) -> None:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.json()

    def garbage(self) -> bool:
        self.wfile.write(b"this is no HTTP\r\n\r\n")
        return False

    def crash(self) -> None:
        self.answer("500 Internal Server Error", STACK)

    def busy(self) -> None:
        self.answer("503 Service Unavailable", STACK, "Retry-After: 7")

    def full(self) -> None:
        self.answer("429 Too Many Requests", b'{"error": {"code": "queue_full"}}', "Retry-After: 2")

    def refused(self) -> None:
        self.answer("400 Bad Request", b'{"error": {"message": "max_tokens is too large"}}')

    def unauthorized(self) -> None:
        self.answer("401 Unauthorized", b"wrong engine secret")

    def no_content(self) -> None:
        self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")


class Server(socketserver.ThreadingTCPServer):
    """Threads end with the test."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is what some tests are about."""


def start() -> Engine:
    """An engine on a free port."""
    engine = Engine()
    server = Server(("127.0.0.1", 0), Handler)
    server.engine = engine  # type: ignore[attr-defined]
    engine.server = server
    engine.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return engine


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
