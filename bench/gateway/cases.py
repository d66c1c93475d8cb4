"""What is asked of each target: plain calls, streams, large bodies, and what it keeps in memory."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.gateway.servers import ENGINE, LITELLM, LOAD_CORE, Target

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
HELLO = '{"model":"bench","messages":[{"role":"user","content":"Hello"}]}'
MANY, FEWER = 100_000, 2000  # requests before memory is looked at; of LiteLLM, which takes 10 ms for each
SLOW_SECONDS, SLOW_STEP = 5.0, 0.05  # a slow reader takes 64 kB twenty times a second
Row = dict[str, float]


@dataclass(frozen=True)
class Case:
    """One row of figures a round and target. `slow`: LiteLLM would need minutes for it, and is left out."""

    name: str
    measure: Callable[[Target, int, Path], Row]
    slow: bool = False
    once: bool = False

    def takes(self, target: Target) -> bool:
        """Is it measured on this target?"""
        return not (self.slow and target.name == LITELLM)


def plain(connections: int, size: int = 0) -> Callable[[Target, int, Path], Row]:
    """Calls over so many connections, with a body of about so many bytes."""

    def measure(target: Target, seconds: int, folder: Path) -> Row:
        body = HELLO if not size else HELLO.replace("Hello", "a" * (size - len(HELLO)))
        row = wrk(target, connections, body, seconds, folder)
        if size:
            row["MB_s"] = row["rate"] * len(body) / 1e6
        return row

    return measure


def wrk(target: Target, connections: int, body: str, seconds: int, folder: Path) -> Row:
    """One run of wrk: requests/s, latency in ms, server CPU in microseconds a request, errors."""
    held, script = folder / "request", folder / "post.lua"
    held.write_text(body)
    headers = {"Content-Type": "application/json", **target.headers}
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    script.write_text("\n".join(['wrk.method = "POST"', f'wrk.body = io.open("{held}"):read("*a")', *lines]))
    before = target.cpu_seconds()
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
               "--timeout", "30s", "-s", str(script), target.url]  # fmt: skip
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = target.cpu_seconds() - before
    total = int(found(r"(\d+) requests in", text) or 0)
    errors = re.findall(r"Non-2xx or 3xx responses: (\d+)|(?:connect|read|write|timeout) (\d+)", text)
    return {
        "rate": float(found(r"Requests/sec:\s+([\d.]+)", text) or 0),
        "latency_ms": percentile(50, text),
        "p99_ms": percentile(99, text),
        "cpu_us": used / max(total, 1) * 1e6,
        "errors": sum(int(count) for pair in errors for count in pair if count),
        "requests": total,
    }


def found(pattern: str, text: str) -> str | None:
    """The first group, if the text has it."""
    match = re.search(pattern, text)
    return match[1] if match else None


def percentile(which: int, text: str) -> float:
    """A line of wrk's latency distribution, in ms."""
    match = re.search(rf"{which}%\s+([\d.]+)(us|ms|s|m)", text)
    return float(match[1]) * UNITS[match[2]] if match else 0.0


def streams(count: int, gap: int) -> Callable[[Target, int, Path], Row]:
    """So many streams at once, with so many ms between two chunks."""

    def measure(target: Target, _: int, __: Path) -> Row:
        before = target.cpu_seconds()
        headers = [f"{name}: {value}" for name, value in target.headers.items()]
        command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "bench.gateway.streams", target.url,
                   str(count), str(gap), *headers]  # fmt: skip
        row: Row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        row["cpu_us"] = (target.cpu_seconds() - before) / count * 1e6
        return row

    return measure


def after_many(target: Target, seconds: int, folder: Path) -> Row:
    """Memory before and after so many requests, over 32 connections."""
    if target.name == ENGINE:
        return {}
    before, done = target.memory(), 0
    wanted = FEWER if target.name == LITELLM else MANY
    while done < wanted:
        done += int(wrk(target, 32, HELLO, max(seconds, 3), folder)["requests"])
    time.sleep(2)  # what waits is written
    return {"before_MB": before, "after_MB": target.memory(), "requests": done}


def slow_reader(target: Target, _: int, __: Path) -> Row:
    """How much more memory a caller costs that reads 400 MB slowly, at most."""
    if target.name == ENGINE:
        return {}
    parts = urlsplit(target.url)
    body = HELLO.replace('"model"', '"metadata":{"flood":"1"},"model"').encode()
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json",
             *(f"{name}: {value}" for name, value in target.headers.items()),
             f"Content-Length: {len(body)}", "", ""]  # fmt: skip
    before = most = target.memory()
    read = 0
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as raw:
        raw.settimeout(10)
        raw.sendall("\r\n".join(lines).encode() + body)
        end = time.monotonic() + SLOW_SECONDS
        while time.monotonic() < end:
            read += len(raw.recv(64_000))
            most = max(most, target.memory())
            time.sleep(SLOW_STEP)
    return {"more_MB": most - before, "read_MB": read / 1e6}


CASES = (
    Case("plain, 1 connection", plain(1)),
    Case("plain, 32 connections", plain(32)),
    Case("plain, 256 connections", plain(256)),
    Case("bodies of 1 kB, 32 connections", plain(32, 1000)),
    Case("bodies of 100 kB, 32 connections", plain(32, 100_000)),
    Case("bodies of 10 MB, 4 connections", plain(4, 10_000_000), slow=True),
    Case("64-chunk streams, 50 at once", streams(50, 5)),
    Case("64-chunk streams, 200 at once", streams(200, 20), slow=True),
    Case("64-chunk streams, 1000 at once", streams(1000, 100), slow=True),
    Case("memory with a slow reader of 400 MB", slow_reader, slow=True, once=True),
    Case("memory after many requests", after_many, once=True),
)
