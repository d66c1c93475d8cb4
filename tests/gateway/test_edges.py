"""What only somebody careless, broken or hostile sends, and how a process ends that is still answering."""

import contextlib
import select
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from django.utils import timezone

from apps.apikeys.models import ApiKey
from apps.deployments.gateway import counting
from apps.deployments.usage.models import Gap, UsageRecord
from tests.gateway.conftest import Make, Yard, eventually, start_web
from tests.gateway.test_http import PATH, connected, everything, head, until
from tests.gateway.test_limits import limit

pytestmark = pytest.mark.system


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [b"}", b"GARBAGE\r\n\r\n", b"POST / HTTP/1.1\r\nx: " + b"y" * 400_000], ids=len)
def test_what_is_wrong_behind_a_request_takes_nothing_from_it(yard: Yard, behind: bytes) -> None:
    """It is answered, and then the connection ends: what came behind it is no request."""
    with connected(yard) as raw:
        raw.sendall(head(yard, "Content-Length: 2", behave="slow") + b"{}" + behind)
        answer = everything(raw)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"ok": true}')
    eventually(UsageRecord.objects.exists)
    assert UsageRecord.objects.get().status == 200


@pytest.mark.parametrize("known", [True, False])
def test_trailers_end_somewhere(yard: Yard, known: bool) -> None:
    """They are collected by the parser before anybody sees them."""
    sent = head(yard, "Transfer-Encoding: chunked")
    if not known:
        sent = sent.replace(yard.key.encode(), b"nobody")
    with connected(yard) as raw:
        raw.sendall(sent + b"2\r\n{}\r\n0\r\nx-trailer: ")
        answer = b"" if known else until(raw, lambda data: b"malformed_api_key" in data)
        end = time.monotonic() + 60
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                answer = one_more(raw, answer)
        assert time.monotonic() < end
    assert (b"HTTP/1.1 431 " if known else b"HTTP/1.1 401 ") in answer


def one_more(raw: socket.socket, answer: bytes) -> bytes:
    """Send more of the trailer; what came meanwhile is added to the answer."""
    raw.sendall(b"a" * 10_000)
    time.sleep(0.001)
    if select.select([raw], [], [], 0)[0]:
        answer += raw.recv(65536)
    return answer


def test_a_head_that_never_ends_is_cut_off(yard: Yard) -> None:
    """A drop every second keeps no connection: the whole head has twenty seconds."""
    began = time.monotonic()
    with connected(yard) as raw:
        raw.settimeout(40)
        raw.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode())

        def drip() -> None:
            with contextlib.suppress(OSError):
                while time.monotonic() - began < 35:
                    raw.sendall(b"X-A: 1\r\n")
                    time.sleep(1)

        threading.Thread(target=drip, daemon=True).start()
        found = until(raw, lambda data: b"request_timeout" in data)
    assert found.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began > 19


def test_a_body_that_never_ends_is_cut_off(yard: Yard) -> None:
    yard.put(idle_timeout=1)
    with connected(yard) as raw:
        raw.sendall(head(yard, "Content-Length: 100") + b"{")
        assert everything(raw).startswith(b"HTTP/1.1 408 ")
    assert yard.engine.seen == []


def test_many_offers_of_another_protocol_in_one_read(yard: Yard) -> None:
    one = head(yard, "Connection: upgrade", "Upgrade: other", method="GET", path="/v1/models")
    with connected(yard) as raw:
        raw.sendall(one * 600)
        answers = until(raw, lambda data: data.count(b"HTTP/1.1 200 ") >= 600)
    assert answers.count(b"HTTP/1.1 200 ") == 600


@pytest.mark.parametrize("target", ["CONNECT example.com:443", "GET http://x:99999/"])
def test_a_target_that_is_none_is_the_callers_fault(yard: Yard, target: str) -> None:
    with connected(yard) as raw:
        raw.sendall(f"{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert everything(raw).startswith(b"HTTP/1.1 400 ")


def test_an_engines_wait_is_told_every_time(yard: Yard) -> None:
    """Also where its answer is the same as the last one of its connection, and isn't parsed."""
    assert [yard.post("busy").headers["retry-after"] for _ in range(4)] == ["7"] * 4


def test_an_answer_that_is_nested_too_deeply_tells_no_usage() -> None:
    assert counting.parsed(b"[" * 50_000) is None


# --- limits and keys --------------------------------------------------------------------------------------------------


def test_waiting_is_not_advised_where_it_cannot_help(yard: Yard) -> None:
    limit(yard, tokens_per_minute=1000)
    refused = yard.post("usage", json={"max_tokens": 2000})
    assert refused.status_code == 429
    assert "retry-after" not in refused.headers
    assert refused.headers["x-should-retry"] == "false"
    assert "max_tokens" in refused.json()["error"]["message"]
    assert yard.post("usage", json={"max_tokens": 200}).status_code == 200


def test_a_revocation_that_was_never_announced_acts_by_itself(yard: Yard) -> None:
    """Its writer may have been killed before it could say so; the key wasn't used for a while."""
    assert yard.post().status_code == 200
    ApiKey.objects.update(revoked_at=timezone.now())
    time.sleep(5.5)
    assert yard.post().status_code == 401


def test_behind_a_proxy_wrong_keys_are_counted_by_who_sent_them(make: Make) -> None:
    process, address = start_web(MODELYARD_BEHIND_TLS_PROXY="true")
    try:
        yard = make(address=address)

        def guess(who: str) -> float:
            headers = {"Authorization": "Bearer myk_wrong", "X-Forwarded-For": who, "X-Forwarded-Proto": "https"}
            began = time.monotonic()
            assert httpx.post(yard.url, headers=headers, json={}, timeout=20).status_code in {401, 429}
            return time.monotonic() - began

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(guess, ["192.0.2.1"] * 40))
        assert guess("198.51.100.7") < guess("192.0.2.1")
    finally:
        process.terminate()
        process.wait(20)


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hurried", [True, False])
def test_a_call_that_outlasts_its_process_is_in_the_ledger(make: Make, hurried: bool) -> None:
    """The process was given so long to end, or was told twice; what it still answered is cut, and charged."""
    process, address = start_web(MODELYARD_SHUTDOWN_SECONDS="3600" if hurried else "1")
    yard = make(address=address)
    with httpx.stream("POST", yard.url, headers=yard.headers(x_behave="endless"), json={"stream": True}) as answer:
        parts = answer.iter_raw()
        next(parts)
        process.terminate()
        if hurried:
            eventually(lambda: closed(address))
            process.send_signal(signal.SIGINT)
        with pytest.raises(httpx.HTTPError):
            for _ in parts:
                pass
    process.wait(20)
    record = UsageRecord.objects.get()
    assert (record.status, record.error, record.estimated) == (200, "gateway_unavailable", True)
    assert record.bytes_out > 0
    assert not Gap.objects.exists()


def closed(address: str) -> bool:
    parts = urlsplit(address)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname, parts.port)) != 0
