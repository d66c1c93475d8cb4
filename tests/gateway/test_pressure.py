"""Callers and engines that don't take what they are sent, or never stop sending: nothing piles up in between."""

import contextlib
import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.gateway.conftest import Make, Yard, eventually, start_web
from tests.gateway.test_http import connected, everything, head, until

pytestmark = pytest.mark.system


def asked(size: int) -> bytes:
    return json.dumps({"size": size}).encode().ljust(40)


def pushed(raw: socket.socket, data: bytes, seconds: float, enough: int = 100_000_000) -> int:
    """How many bytes of endless `data` are taken within so many seconds."""
    raw.settimeout(0.5)
    sent, end = 0, time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while sent < enough and time.monotonic() < end:
            sent += raw.send(data)
    return sent


def test_an_engine_whose_caller_was_slow_answers_the_next_one(make: Make) -> None:
    """A caller that doesn't read holds the engine's connection back; the next call over it isn't held back."""
    process, address = start_web()  # more patient than the one that others share: many threads of the engine are busy
    try:
        yard = make(address=address)
        with contextlib.ExitStack() as stack:
            for size in range(100_000, 6_000_000, 150_000):
                raw = stack.enter_context(connected(yard))
                raw.sendall(head(yard, "Content-Length: 40", behave="large") + asked(size))
            time.sleep(1)
            with ThreadPoolExecutor(50) as pool:
                found = list(pool.map(lambda _: yard.post().status_code, range(50)))
        assert found == [200] * 50
    finally:
        process.terminate()
        process.wait(20)


def test_a_caller_that_reads_nothing_gets_no_second_answer(yard: Yard) -> None:
    """What the engine of a later request would send is not taken from it."""
    with connected(yard) as raw:
        raw.sendall(head(yard, "Content-Length: 40", behave="large") + asked(8_000_000))
        time.sleep(0.5)
        raw.sendall(head(yard, "Content-Length: 2", behave="flood") + b"{}")
        time.sleep(2)
        assert yard.engine.sent < 20_000_000


@pytest.mark.parametrize("path", ["/v1/nothing", "/healthz"])
def test_who_asks_without_end_and_reads_nothing_is_not_heard_without_end(make: Make, path: str) -> None:
    process, address = start_web()
    try:
        yard = make(address=address)
        request = head(yard, "Content-Length: 0", path=path, method="GET").replace(b"Host: x", b"Host: localhost")
        before = psutil.Process(process.pid).memory_info().rss
        with connected(yard) as raw:
            assert pushed(raw, request * 500, 6) < 20_000_000
            assert psutil.Process(process.pid).memory_info().rss - before < 100_000_000
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/models", "/healthz"])
def test_hundreds_of_requests_in_one_go_are_all_answered(yard: Yard, path: str) -> None:
    request = head(yard, method="GET", path=path).replace(b"Host: x", b"Host: localhost")
    with connected(yard) as raw, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(raw.sendall, request * 600)
        found = until(raw, lambda data: data.count(b"HTTP/1.1 ") >= 600)
        sent.result()
    assert found.count(b"HTTP/1.1 ") == 600


def test_a_head_that_ends_a_read_of_many_requests_is_no_large_head(yard: Yard) -> None:
    """What came before it in the same read is none of it, and a refusal without a body ends no connection."""
    request = head(yard, method="GET", path="/v1/nothing")
    many, cut = request * 480, len(request) // 2  # 73 kB, which the socket takes while nobody reads
    with connected(yard) as raw:
        raw.sendall(head(yard, "Content-Length: 2", behave="slow") + b"{}" + request)
        time.sleep(0.2)  # the second one waits, and reading with it
        raw.sendall(many + request[:cut])
        found = until(raw, lambda data: data.count(b"HTTP/1.1 ") >= 482)
        raw.sendall(request[cut:])
        found += until(raw, lambda data: b"HTTP/1.1 404" in data)
    assert found.count(b"HTTP/1.1 ") == 483


def test_who_never_takes_the_end_of_an_answer_is_hung_up_on(yard: Yard) -> None:
    with connected(yard) as raw:
        raw.sendall(head(yard, "Content-Length: 40", behave="large") + asked(20_000_000))
        eventually(lambda: callers(yard) == 1, 30)
        eventually(lambda: callers(yard) == 0, 100)


def callers(yard: Yard) -> int:
    """Open connections of callers, but for the one that asks."""
    told = httpx.get(f"{yard.address}/metrics").text
    numbers = re.findall(r"^modelyard_gateway_client_connections{.*} ([0-9.]+)$", told, re.M)
    return sum(int(float(number)) for number in numbers) - 1


def test_an_engine_that_takes_nothing_holds_its_caller_back(make: Make) -> None:
    process, address = start_web(MODELYARD_MAX_REQUEST_BYTES="1000000000")
    try:
        yard = make(address=address)
        with connected(yard) as raw:
            raw.sendall(head(yard, "Content-Length: 900000000", behave="deaf"))
            assert pushed(raw, b"x" * 100_000, 5) < 30_000_000
        yard.engine.step.set()
    finally:
        process.terminate()
        process.wait(20)


def test_a_large_body_that_stops_coming_is_cut_off(yard: Yard) -> None:
    """Also where its beginning went on to the engine already."""
    yard.put(idle_timeout=1)
    with connected(yard) as raw:
        raw.sendall(head(yard, "Content-Length: 2500000") + b"x" * 2_000_000)
        assert everything(raw).startswith(b"HTTP/1.1 408 ")
