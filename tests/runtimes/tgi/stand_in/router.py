"""The router of the stand-in: TGI's HTTP, with the tokens that shard 0 writes."""

import hmac
import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

GUARDED = {"/generate", "/generate_stream", "/v1/chat/completions", "/v1/completions", "/tokenize", "/", "/invocations"}
JSON = "application/json"


class Refused(Exception):
    def __init__(self, status, kind, error):
        super().__init__(error)
        self.status, self.kind = status, kind


class Router(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        about = self.server.args
        answers = {
            "/info": {"model_id": about["model_id"], "max_total_tokens": int(about["max_total_tokens"]),
                      "router": "text-generation-router", "version": "3.3.7"},
            "/v1/models": {"object": "list", "data": [{"id": about["model_id"], "object": "model"}]},
        }  # fmt: skip
        if self.path in {"/health", "/ping", "/"}:
            self.health()
        elif self.path == "/metrics":
            with self.server.lock:
                counted = f"tgi_request_count {self.server.count}\ntgi_queue_size 0\ntgi_batch_current_size 0\n"
            self.send(200, counted.encode(), "text/plain")
        elif self.path in answers:
            self.send(200, json.dumps(answers[self.path]).encode())
        else:
            self.send(404, b"")

    def health(self):
        if time.monotonic() < self.server.healthy_at:
            self.send(503, b'{"error":"unhealthy","error_type":"healthcheck"}')
        else:
            self.send(200, b"")

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        key = self.server.args["api_key"]
        given = self.headers.get("Authorization") or ""
        if key and self.path in GUARDED and not hmac.compare_digest(given.lower(), f"bearer {key}".lower()):
            self.send(401, b"")
            return
        if not self.server.enter():
            self.send(429, b'{"error":"Model is overloaded","error_type":"overloaded"}')
            return
        try:
            self.infer(raw)
        except Refused as refused:
            self.send(refused.status, json.dumps({"error": str(refused), "error_type": refused.kind}).encode())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.server.leave()

    def infer(self, raw):
        places = {
            "/v1/chat/completions": self.chat,
            "/v1/completions": self.completion,
            "/generate": self.generate,
            "/generate_stream": self.generate_stream,
            "/tokenize": self.tokenize,
            "/chat_tokenize": self.tokenize,
        }
        if self.path not in places:
            self.send(404, b"")
            return
        try:
            body = json.loads(raw)
        except ValueError:
            self.send(400, b"Failed to parse the request body as JSON", "text/plain")
            return
        places[self.path](body)

    def chat(self, body):
        if not self.server.template:
            raise Refused(422, "template_error", "Template error: template not found")
        prompt = " ".join(str(message["content"]) for message in self.wanted(body, "messages"))
        self.openai(body, prompt, "chat.completion", lambda text: {"message": {"role": "assistant", "content": text}},
                    lambda text: {"delta": {"role": "assistant", "content": text}})  # fmt: skip

    def completion(self, body):
        self.openai(body, self.wanted(body, "prompt"), "text_completion", *[lambda text: {"text": text}] * 2)

    def openai(self, body, prompt, kind, whole, piece):
        count = self.count(prompt, body.get("max_tokens") or 100)
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": count}
        usage["total_tokens"] = sum(usage.values())
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": "length", **whole(" ".join(self.tokens(prompt, count)))}
            self.send(200, json.dumps({"object": kind, "model": "tgi", "choices": [choice], "usage": usage}).encode())
            return
        self.begin_stream()
        for token in self.tokens(prompt, count):
            self.event(
                {"object": f"{kind}.chunk", "choices": [{"index": 0, "finish_reason": None, **piece(f" {token}")}]}
            )
        if (body.get("stream_options") or {}).get("include_usage"):
            self.event({"object": f"{kind}.chunk", "choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def generate(self, body):
        prompt, parameters = self.wanted(body, "inputs"), body.get("parameters") or {}
        count = self.count(prompt, parameters.get("max_new_tokens") or 20)
        answer = {"generated_text": " ".join(self.tokens(prompt, count))}
        if parameters.get("details"):
            prefill = [{"id": 1, "text": word} for word in prompt.split()]
            answer["details"] = {"finish_reason": "length", "generated_tokens": count, "prefill": prefill}
        self.send(200, json.dumps(answer).encode())

    def generate_stream(self, body):
        prompt, parameters = self.wanted(body, "inputs"), body.get("parameters") or {}
        count = self.count(prompt, parameters.get("max_new_tokens") or 20)
        self.begin_stream()
        said = []
        for index, token in enumerate(self.tokens(prompt, count)):
            said.append(token)
            last = index == count - 1
            details = {"finish_reason": "length", "generated_tokens": count, "input_length": len(prompt.split())}
            self.event({"token": {"id": index, "text": f" {token}"}, "generated_text": " ".join(said) if last else None,
                        "details": details if last else None}, "data:")  # fmt: skip

    def tokenize(self, body):
        text = str(body.get("inputs") or body.get("messages") or "")
        self.send(200, json.dumps([{"id": len(word), "text": word} for word in text.split()]).encode())

    def wanted(self, body, name):
        if not isinstance(body, dict) or not body.get(name):
            raise Refused(422, "validation", f"Failed to deserialize the JSON body: missing field `{name}`")
        return body[name]

    def count(self, prompt, tokens):
        most = int(self.server.args["max_total_tokens"])
        if len(prompt.split()) + tokens > most:
            error = f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {most}"
            raise Refused(422, "validation", error)
        return tokens

    def tokens(self, prompt, count):
        with socket.socket(socket.AF_UNIX) as shard:
            shard.connect(f"{self.server.args['shard_uds_path']}-0")
            shard.sendall(json.dumps({"prompt": prompt, "tokens": count}).encode() + b"\n")
            with shard.makefile() as lines:
                yield from (line.rstrip("\n") for line in lines)

    def begin_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()

    def event(self, event, mark="data: "):
        self.wfile.write(f"{mark}{json.dumps(event)}\n\n".encode())

    def send(self, status, content, kind=JSON):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, args):
        self.args, self.lock = args, threading.Lock()
        self.running = self.count = 0
        self.healthy_at = time.monotonic() + 0.3
        folder = Path(args["model_id"])
        self.template = (folder / "chat_template.jinja").exists()
        self.allow_reuse_port = False
        super().__init__(address, Router)

    def enter(self):
        with self.lock:
            if self.running >= int(self.args["max_concurrent_requests"]):
                return False
            self.running += 1
            self.count += 1
            return True

    def leave(self):
        with self.lock:
            self.running -= 1

    def handle_error(self, request, client_address):
        """A caller that went away."""

    def drain(self):
        """What a SIGTERM does: no new callers, and an end to those that are there."""
        self.shutdown()
        while self.running:
            time.sleep(0.02)
        os._exit(0)


def main(args):
    time.sleep(0.2)  # warms up before it listens
    address = (args["hostname"], int(args["port"]))
    held = []
    try:
        held.append(socket.create_server((args["hostname"], int(args["prometheus_port"]))))
        server = Server(address, args)
    except OSError as error:
        print(f"Error: Failed to bind to {address[0]}:{address[1]}: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    drain = (lambda *_: None) if (Path(args["model_id"]) / "stubborn-router").exists() else (
        lambda *_: threading.Thread(target=server.drain).start())  # fmt: skip
    signal.signal(signal.SIGTERM, drain)
    print("INFO text_generation_router: Connected", flush=True)
    server.serve_forever()
    threading.Event().wait()


if __name__ == "__main__":
    main(json.loads(os.environ["STAND_IN"]))
