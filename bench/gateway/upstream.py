"""The engine of the benchmark: answers at once, or streams 64 chunks; `python -m bench.gateway.upstream PORT`."""

import asyncio
import sys
from typing import Any

import httptools
import uvloop

BODY = b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello!"}}]}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)
EVENT = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi "}}]}\n\n'
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNKS, GAP = 64, 0.005  # chunks of a stream, seconds between them


class Engine(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if b'"stream":true' in self.body:
            asyncio.get_running_loop().create_task(self.stream())
        else:
            self.transport.write(HEAD + BODY)
        self.body = b""

    async def stream(self) -> None:
        for part in [STREAM_HEAD, *[CHUNK] * CHUNKS, b"0\r\n\r\n"]:
            if self.transport.is_closing():
                return  # the load generator ends in the middle of its last streams
            self.transport.write(part)
            await asyncio.sleep(GAP)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
