"""HTTP as it should be: heads, bodies, connections and clients of every kind."""

import contextlib
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from apps.apikeys import tokens
from apps.apikeys.models import ApiKey
from tests.gateway.conftest import Make, Yard, eventually, start_web
from tests.gateway.upstream import Engine

pytestmark = pytest.mark.system
PATH = "/v1/chat/completions"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextlib.contextmanager
def connected(yard: Yard) -> Iterator[socket.socket]:
    host, _, port = yard.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.settimeout(10)
        yield raw


def head(yard: Yard, *lines: str, method: str = "POST", path: str = PATH, behave: str = "json") -> bytes:
    own = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {yard.key}", f"X-Behave: {behave}", *lines]
    return "\r\n".join(own).encode() + b"\r\n\r\n"


def until(raw: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
    """All that comes, until it is enough or the connection's end."""
    data = b""
    while not enough(data) and (more := raw.recv(65536)):
        data += more
    return data


def everything(raw: socket.socket) -> bytes:
    return until(raw, lambda _: False)


@pytest.fixture(scope="module")
def open_web(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """A web process that lets one site's pages call it."""
    with django_db_blocker.unblock():
        process, address = start_web(MODELYARD_CORS_ORIGINS="https://app.example")
    yield address
    process.terminate()
    process.wait(20)


# --- pages of other sites -------------------------------------------------------------------------------------------


def test_a_page_of_an_allowed_site_may_call(make: Make, open_web: str) -> None:
    yard = make(address=open_web)
    origin = {"Origin": "https://app.example"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-stainless-os"}
    allowed = httpx.options(yard.url, headers=asked)  # browsers send no key with it
    assert (allowed.status_code, allowed.content) == (204, b"")
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-stainless-os" in allowed.headers["access-control-allow-headers"]
    for answer in (yard.post(headers=origin), httpx.post(yard.url, headers=origin, json={})):
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "origin"


def test_a_page_of_another_site_may_not(make: Make, open_web: str) -> None:
    yard = make(address=open_web)
    origin = {"Origin": "https://evil.example"}
    assert httpx.options(yard.url, headers=origin).status_code == 405
    assert "access-control-allow-origin" not in yard.post(headers=origin).headers


def test_no_site_may_unless_it_is_set(yard: Yard) -> None:
    answer = httpx.options(yard.url, headers={"Origin": "https://app.example"})
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (405, False)


# --- methods, heads and bodies ---------------------------------------------------------------------------------------


def test_head_has_a_head_only(yard: Yard) -> None:
    with connected(yard) as raw:
        raw.sendall(head(yard, method="HEAD", path="/v1/models") + head(yard, "Connection: close", method="HEAD"))
        found = everything(raw)
    assert [line.split()[1] for line in found.split(b"\r\n") if line.startswith(b"HTTP/")] == [b"200", b"405"]
    assert b"{" not in found


def test_a_head_that_is_too_large_is_refused(yard: Yard) -> None:
    with connected(yard) as raw:
        raw.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode())
        with contextlib.suppress(OSError):
            for number in range(100):
                raw.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1000))
        assert b"431" in until(raw, lambda data: b"headers_too_large" in data).split(b"\r\n")[0]
    assert yard.engine.seen == []


def test_a_large_head_is_refused_also_where_it_comes_at_once(yard: Yard) -> None:
    with connected(yard) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        raw.sendall(head(yard, *(f"X-{number}: {'a' * 1000}" for number in range(90)), "Content-Length: 2") + b"{}")
        assert everything(raw).startswith(b"HTTP/1.1 431 ")
    assert yard.engine.seen == []


def test_an_old_client_is_not_told_to_continue(yard: Yard) -> None:
    with connected(yard) as raw:
        old = head(yard, "Content-Length: 2", "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
        raw.sendall(old)
        time.sleep(0.3)
        raw.sendall(b"{}")
        assert everything(raw).startswith(b"HTTP/1.1 200 ")


def test_bodies_of_pipelined_requests_stay_with_them(yard: Yard) -> None:
    """In order, also where one is Django's; the engine sees two, each with its own body."""
    first, last = b'{"n":1}', b'{"n":22}'
    with connected(yard) as raw:
        raw.sendall(
            head(yard, "Content-Length: 7", behave="usage")
            + first
            + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            + head(yard, "Content-Length: 8", "Connection: close")
            + last
        )
        found = everything(raw)
    assert found.count(b"HTTP/1.1 200 OK") == 3
    assert (
        found.index(b'"usage"') < found.index(b"alive" if b"alive" in found else b"ok") < found.index(b'{"ok": true}')
    )
    assert [seen.body for seen in yard.engine.seen] == [first, last]


def test_a_pipelined_request_is_read_byte_by_byte(yard: Yard) -> None:
    whole = (head(yard, "Content-Length: 2") + b"{}") * 2 + head(yard, "Content-Length: 2", "Connection: close") + b"{}"
    with connected(yard) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(whole)):
            raw.sendall(whole[at : at + 1])
        assert everything(raw).count(b"HTTP/1.1 200 OK") == 3
    assert [seen.body for seen in yard.engine.seen] == [b"{}"] * 3


def test_who_expects_to_continue_is_told_to(yard: Yard) -> None:
    with connected(yard) as raw:
        raw.sendall(head(yard, "Content-Length: 2", "Expect: 100-continue"))
        assert until(raw, lambda data: data.endswith(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(b"{}")
        assert b"200 OK" in until(raw, lambda data: b"true" in data)
    assert "expect" not in yard.engine.seen[0].headers


@pytest.mark.parametrize(("key", "status"), [("wrong", b"401"), ("right", b"413")])
def test_who_expects_to_continue_in_vain_keeps_the_body(yard: Yard, key: str, status: bytes) -> None:
    if key == "wrong":
        yard.key = "myk_nothing"
    with connected(yard) as raw:
        raw.sendall(head(yard, "Content-Length: 999999999", "Expect: 100-continue"))
        found = everything(raw)
    assert found.split(b" ")[1] == status
    assert b"connection: close" in found


def test_a_compressed_body_is_refused(yard: Yard) -> None:
    answer = yard.post(content=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "compressed_body")
    assert answer.headers["accept-encoding"] == "identity"
    assert yard.engine.seen == []


def test_a_body_that_is_packed_on_its_way_is_refused_too(yard: Yard) -> None:
    with connected(yard) as raw:
        raw.sendall(head(yard, "Transfer-Encoding: gzip, chunked") + b"2\r\n{}\r\n0\r\n\r\n")
        assert everything(raw).split(b" ")[1] in {b"400", b"415"}
    assert yard.engine.seen == []


@pytest.mark.parametrize("line", ["X-A: 1\r\nHost: other", None])
def test_one_host_is_named(yard: Yard, line: str | None) -> None:
    lines = head(yard, *([line] if line else []), "Content-Length: 2") + b"{}"
    with connected(yard) as raw:
        raw.sendall(lines if line else lines.replace(b"Host: x\r\n", b""))
        assert everything(raw).startswith(b"HTTP/1.1 400 ")
    assert yard.engine.seen == []


def test_trailers_are_dropped(yard: Yard) -> None:
    with connected(yard) as raw:
        raw.sendall(head(yard, "Transfer-Encoding: chunked", "Trailer: X-T", "Connection: close"))
        raw.sendall(b"2\r\n{}\r\n0\r\nX-T: 1\r\nAuthorization: Bearer other\r\n")
        raw.sendall(b"Traceparent: %b\r\nConnection: x-behave\r\n\r\n" % TRACE.encode())
        assert b'{"ok": true}' in everything(raw)
    seen = yard.engine.seen[0]
    assert (seen.body, seen.headers["content-length"]) == (b"{}", "2")
    assert {"trailer", "x-t", "transfer-encoding", "traceparent"}.isdisjoint(seen.headers)
    assert "x-behave" in seen.headers


@pytest.mark.parametrize("behave", ["json", "events"])
def test_another_protocol_is_not_offered(yard: Yard, behave: str) -> None:
    """What a Java client sends first; the connection goes on as HTTP/1.1."""
    offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]
    with connected(yard) as raw:
        raw.sendall(head(yard, *offer, "Content-Length: 15", behave=behave) + b'{"stream":true}')
        end = b"\r\n0\r\n\r\n" if behave == "events" else b"true}"
        assert until(raw, lambda data: data.endswith(end)).startswith(b"HTTP/1.1 200 OK")
        raw.sendall(head(yard, "Content-Length: 2") + b"{}")
        assert until(raw, lambda data: data.endswith(b"true}")).startswith(b"HTTP/1.1 200 OK")
    assert {"upgrade", "http2-settings", "connection"}.isdisjoint(yard.engine.seen[0].headers)


def test_an_old_client_gets_a_body_without_chunks(yard: Yard) -> None:
    with connected(yard) as raw:
        raw.sendall(head(yard, "Content-Length: 2", behave="events").replace(b"HTTP/1.1", b"HTTP/1.0") + b"{}")
        found = everything(raw)
    assert b"transfer-encoding" not in found.lower()
    assert found.endswith(b"data: [DONE]\n\n")


def test_a_trace_goes_on_and_nonsense_does_not(yard: Yard) -> None:
    yard.post(headers={"traceparent": TRACE, "tracestate": "a=b", "x-request-id": "mine-1"})
    yard.post(headers={"traceparent": "00-zz", "x-request-id": "no good"})
    first, second = (seen.headers for seen in yard.engine.seen)
    assert (first["traceparent"], first["tracestate"], first["x-request-id"]) == (TRACE, "a=b", "mine-1")
    assert "traceparent" not in second
    assert second["x-request-id"].startswith("req_")


# --- usage of streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 2_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_usage_is_asked_for_and_hidden(yard: Yard, size: int, *, chunked: bool) -> None:
    """Also where the body goes on before it is whole."""
    body = json.dumps({"messages": ["a" * size], "stream": True}).encode()
    content = iter([body[at : at + 70_000] for at in range(0, len(body), 70_000)]) if chunked else body
    answer = yard.post("events", content=content)
    assert answer.text.count("data:") == 4
    assert "usage" not in answer.text
    sent = json.loads(yard.engine.seen[0].body)
    assert sent == {"messages": ["a" * size], "stream": True, "stream_options": {"include_usage": True}}


def test_usage_is_shown_to_who_asks(yard: Yard) -> None:
    answer = yard.post("events", json={"stream": True, "stream_options": {"include_usage": True}})
    assert answer.text.count("data:") == 5
    assert '"total_tokens": 30' in answer.text


# --- engines that are slow, or gone ----------------------------------------------------------------------------------


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_deployment_has_its_own_timeouts(yard: Yard) -> None:
    yard.put(first_byte_timeout=1)
    began = time.monotonic()
    assert refusal(yard.post("silent")) == (504, "engine_timeout")
    assert 1 <= time.monotonic() - began < 1.9  # the web process' own is 2
    assert yard.engine.cancelled.wait(5)


@pytest.mark.parametrize(("limits", "behave"), [({"idle_timeout": 1}, "stepwise"), ({"total_timeout": 1}, "endless")])
def test_a_stream_that_takes_too_long_is_cut(yard: Yard, limits: dict[str, float], behave: str) -> None:
    yard.put(**limits)
    with pytest.raises(httpx.RemoteProtocolError):
        yard.post(behave)


def test_an_engine_that_accepts_nobody_is_left_alone(make: Make) -> None:
    """After a failure the other one gets all; a while later it is tried again."""
    yard = make(engines=2)
    one, other = yard.engines
    one.server.shutdown()
    one.server.server_close()
    assert [yard.post().status_code for _ in range(6)] == [200] * 6
    assert len(other.seen) == 6
    returned = revive(one)
    eventually(lambda: yard.post().status_code == 200 and bool(returned.seen), 15)


def revive(engine: Engine) -> Engine:
    """Another engine at the same address."""
    from tests.gateway import upstream

    fresh = Engine(port=engine.port)
    server = upstream.Server(("127.0.0.1", engine.port), upstream.Handler)
    server.engine = fresh  # type: ignore[attr-defined]
    fresh.server = engine.server = server
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return fresh


def test_a_request_that_breaks_engines_breaks_two_at_most(make: Make) -> None:
    yard = make(engines=4)
    assert refusal(yard.post("close")) == (502, "engine_unreachable")
    assert sorted(len(engine.seen) for engine in yard.engines) == [0, 0, 1, 1]


def test_a_request_that_ends_engines_ends_two_at_most(make: Make) -> None:
    """Also over kept connections, where an end looks as if the connection had gone stale."""
    yard = make(engines=4)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: yard.post("slow").status_code, range(8))) == {200}
    assert all(engine.seen for engine in yard.engines)
    assert refusal(yard.post("die")) == (502, "engine_unreachable")
    ended = [engine for engine in yard.engines if engine.seen[-1].headers["x-behave"] == "die"]
    assert len(ended) == 2


# --- who tries keys --------------------------------------------------------------------------------------------------


def test_who_tries_keys_is_slowed_and_a_right_key_is_not(make: Make) -> None:
    process, address = start_web()  # its own: what an address failed is remembered for a minute
    try:
        yard = make(address=address)
        wrong = [f"{yard.key[:-8]}{number:08d}" for number in range(13)]
        times = [timed(yard, key) for key in wrong]
        slowed = min(times[11:])
        assert slowed > 0.2
        assert min(times[:8]) < slowed
        assert min(yard.post().elapsed.total_seconds() for _ in range(5)) < slowed
    finally:
        process.terminate()
        process.wait(20)


def timed(yard: Yard, key: str) -> float:
    answer = httpx.post(yard.url, headers={"Authorization": f"Bearer {key}"}, json={}, timeout=15)
    assert answer.status_code == 401
    return answer.elapsed.total_seconds()


def test_how_a_key_is_wrong_does_not_show_in_the_time(make: Make) -> None:
    """Unknown, malformed, wrong and revoked: refusals leave on one grid, whatever was looked up."""
    process, address = start_web()
    try:
        yard = make(address=address)
        _, unknown = tokens.make()
        token = tokens.read(yard.key)
        assert token
        body = f"myk_{token.id}_{tokens.make()[0].secret}"
        wrong = body + tokens._checksum(body)
        for key in (unknown, wrong, "myk_x", yard.key[:-1]):
            steps = [timed(yard, key) / 0.025 for _ in range(2)]
            assert min(steps) > 0.9, steps  # whatever the look-up took is within the first step
    finally:
        process.terminate()
        process.wait(20)


def test_a_key_is_held_to_its_paths_and_networks(yard: Yard) -> None:
    def changed(**fields: Any) -> httpx.Response:
        from modelyard import changes

        ApiKey.objects.update(**fields)
        changes.announce("key", ApiKey.objects.get().pk)
        time.sleep(0.3)
        return yard.post()

    assert refusal(changed(scopes=["embeddings"])) == (403, "out_of_scope")
    assert changed(scopes=["chat"]).status_code == 200
    assert refusal(changed(networks=["10.0.0.0/8", "2001:db8::/32"])) == (403, "address_not_allowed")
    assert changed(networks=["127.0.0.0/8"]).status_code == 200
    eventually(lambda: ApiKey.objects.get().last_used_from == "127.0.0.1", 15)
