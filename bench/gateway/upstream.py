"""The engine of the benchmark; `python -m bench.gateway.upstream PORT`.

It answers at once with usage, or streams 64 chunks (`"seed"` is the gap between two in ms), or, asked for `"flood"`,
sends 400 MB as fast as they are taken.
"""

import asyncio
import json
import re
import sys
from typing import Any

import httptools
import uvloop

USAGE = {"prompt_tokens": 9, "completion_tokens": 64, "total_tokens": 73}
MESSAGE = {"role": "assistant", "content": "Hello!"}
CHUNKS = 64
FLOOD, BLOCK = 400_000_000, 64_000  # bytes
SEED = re.compile(rb'"seed"\s*:\s*(\d+)')
STREAMED = re.compile(rb'"stream"\s*:\s*true')
PLAIN_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def answer(content: dict[str, Any]) -> bytes:
    """A plain answer with its head."""
    body = json.dumps(content).encode()
    return PLAIN_HEAD % len(body) + body


def event(delta: dict[str, Any], **more: Any) -> bytes:
    """One chunk of a stream, as an engine sends it."""
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    content = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench", **more}
    return framed(b"data: " + json.dumps({"choices": [choice], **content}).encode() + b"\n\n")


def framed(data: bytes) -> bytes:
    """Data as one piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


CHOICES = [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}]
CHAT = answer({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "bench", "choices": CHOICES,
               "usage": USAGE})  # fmt: skip
MODELS = answer({"object": "list", "data": [{"id": "bench", "object": "model", "created": 1, "owned_by": "bench"}]})
WORD = event({"content": "Hi "})
LAST = event({}, choices=[], usage=USAGE)
DONE = framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Engine(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body: list[bytes] = []
        self.takes = asyncio.Event()
        self.takes.set()

    def pause_writing(self) -> None:
        self.takes.clear()

    def resume_writing(self) -> None:
        self.takes.set()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        body = b"".join([*self.body[:1], *self.body[-2:]])
        self.body = []
        if b'"flood"' in body:
            asyncio.get_running_loop().create_task(self.flood())
        elif STREAMED.search(body):
            gap = SEED.search(body)
            usage = b'"include_usage"' in body
            asyncio.get_running_loop().create_task(self.stream(int(gap[1]) / 1000 if gap else 0.005, usage=usage))
        else:
            self.transport.write(CHAT if self.url.endswith(b"/chat/completions") else MODELS)

    async def stream(self, gap: float, *, usage: bool) -> None:
        """All chunks, each a gap after the one before."""
        self.transport.write(STREAM_HEAD)
        for _ in range(CHUNKS):
            if self.transport.is_closing():
                return  # the load ends in the middle of its last streams
            self.transport.write(WORD)
            await asyncio.sleep(gap)
        self.transport.write((LAST if usage else b"") + DONE)

    async def flood(self) -> None:
        """As fast as it is taken, and no faster."""
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % FLOOD)
        block = bytes(BLOCK)
        for _ in range(FLOOD // BLOCK):
            await self.takes.wait()
            if self.transport.is_closing():
                return
            self.transport.write(block)
            await asyncio.sleep(0)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
