"""Callers that stream: `python -m bench.gateway.streams URL COUNT GAP_MS [HEADER …]` prints what they saw as JSON."""

import asyncio
import json
import statistics
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import uvloop

from bench.gateway.upstream import CHUNKS

SPREAD = 0.5  # seconds over which they begin
EVENT, END = b"data: {", b"data: [DONE]"


class Caller(asyncio.Protocol):
    """One stream over a connection of its own."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.over = asyncio.get_running_loop().create_future()
        self.gaps: list[float] = []
        self.events = 0
        self.whole = False
        self.rest = b""
        self.last = self.began = self.first = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.began = time.perf_counter()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        data = self.rest + data
        found = data.count(EVENT)
        self.whole = self.whole or END in data
        cut = data.rfind(b"\n") + 1
        found -= data.count(EVENT, cut)  # counted when its line is whole
        self.rest = data[cut:][-200:]
        if found:
            if self.last:
                self.gaps.append(now - self.last)
                self.gaps += [0.0] * (found - 1)
            else:
                self.first = now - self.began
            self.last = now
            self.events += found
        if self.whole:
            self.end()

    def connection_lost(self, _: Exception | None) -> None:
        self.end()

    def end(self) -> None:
        """It is over, well or not."""
        if not self.over.done():
            self.over.set_result(None)
            self.transport.close()


async def run(url: str, count: int, gap: int, headers: list[str]) -> dict[str, float]:
    """All streams at once; how they went, times in ms."""
    parts = urlsplit(url)
    body = json.dumps(
        {"model": "bench", "stream": True, "seed": gap, "messages": [{"role": "user", "content": "Hello"}]}
    )
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json", *headers,
             f"Content-Length: {len(body)}", "", body]  # fmt: skip
    request = "\r\n".join(lines).encode()
    callers: list[Caller] = []

    async def one(after: float) -> None:
        await asyncio.sleep(after)
        _, caller = await asyncio.get_running_loop().create_connection(
            lambda: Caller(request), parts.hostname, parts.port
        )
        callers.append(caller)
        await asyncio.wait_for(caller.over, 120)

    began = time.perf_counter()
    await asyncio.gather(*(one(SPREAD * n / count) for n in range(count)), return_exceptions=True)
    took = time.perf_counter() - began
    whole = [caller for caller in callers if caller.whole and caller.events >= CHUNKS]
    gaps = sorted(gap for caller in whole for gap in caller.gaps)
    return {
        "lost": count - len(whole),
        "gap_ms": statistics.median(gaps) * 1000 if gaps else 0.0,
        "gap_p99_ms": gaps[int(len(gaps) * 0.99)] * 1000 if gaps else 0.0,
        "first_ms": statistics.median(caller.first for caller in whole) * 1000 if whole else 0.0,
        "took_s": took,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))))
