"""The engine: repeats the last message; `python engine.py host port fault start_seconds words_per_second folder`."""

import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST, PORT, FAULT, START, SPEED = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), float(sys.argv[5])
FOLDER = Path(sys.argv[6])
LOUD = sys.argv[8] == "1" or (Path(sys.argv[7]) / "shout").exists()
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
SECRET = os.environ["ECHO_SECRET"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if not self.admitted():
            return
        if self.path == "/metrics":
            worked = time.monotonic_ns() if FAULT == "queue_after_ready" else 1
            self.send(f"echo_tokens_total {worked}\n".encode(), "text/plain")
            return
        self.answer({"object": "list", "data": [{"id": "echo", "object": "model"}]})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.admitted():
            return
        try:
            body = json.loads(data)
            text = body["messages"][-1]["content"]
        except (ValueError, LookupError):
            self.send_error(400)
            return
        if (FOLDER / "answered").exists():
            if FAULT in {"hang_after_ready", "queue_after_ready"}:
                time.sleep(3600)
            if FAULT == "refuse_after_ready":
                self.send_error(429)
                return
        (FOLDER / "answered").touch()
        text = text.upper() if LOUD else text
        if body.get("stream"):
            self.stream(text.split(), body.get("stream_options", {}).get("include_usage", False))
        else:
            self.answer(
                {
                    "object": "chat.completion",
                    "model": "echo",
                    "choices": [
                        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                    ],
                    "usage": USAGE,
                }
            )
        if FAULT == "die_after_ready":
            threading.Timer(0.3, os._exit, [7]).start()

    def admitted(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {SECRET}":
            return True
        self.send_error(401)
        return False

    def answer(self, value: object) -> None:
        self.send(json.dumps(value).encode(), "application/json")

    def send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, words: list[str], counted: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in words:
            delta = {"choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]}
            self.chunk(f"data: {json.dumps({'object': 'chat.completion.chunk', 'model': 'echo', **delta})}\n\n")
            time.sleep(1 / SPEED)
        if counted:
            self.chunk(f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [], 'usage': USAGE})}\n\n")
        self.chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


def main() -> None:
    print("echo: loading", flush=True)
    time.sleep(START)
    if (Path(sys.argv[7]) / "broken").exists():
        print("echo: can't load this model", flush=True)
        raise SystemExit(3)
    if FAULT == "exit":
        raise SystemExit("echo: broken on request")
    if FAULT == "exit_permanent":
        print("echo: can't load this model", flush=True)
        raise SystemExit(3)
    if FAULT == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if FAULT in {"never_ready", "deaf"}:
        time.sleep(3600)
    if FAULT == "port_taken" and not (FOLDER / "once").exists():
        (FOLDER / "once").touch()
        thief = socket.create_server((HOST, PORT))
        print(f"echo: {thief.getsockname()} was taken in the meantime", flush=True)

    class Server(ThreadingHTTPServer):
        allow_reuse_address = False

    server = Server((HOST, PORT), Handler)
    print("echo: ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
