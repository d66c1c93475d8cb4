"""Calls that pass, and the answers to those that don't."""

import socket
import time
from datetime import timedelta

import httpx
import openai
import psutil
import pytest
from django.utils import timezone

from apps.apikeys import operations as apikeys
from apps.apikeys.models import ApiKey
from apps.deployments.models import Replica
from apps.deployments.reconciler.engines import engine_secret
from apps.deployments.statuses import Desired, ReplicaState, Status
from tests.gateway.conftest import Make, Yard, eventually
from tests.gateway.upstream import Engine

pytestmark = pytest.mark.system


def code(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]
    return answer.status_code, error["code"]


def raw_post(yard: Yard, rest: bytes, path: str = "/v1/chat/completions") -> bytes:
    """What comes back for a request written by hand, up to the end of the connection."""
    host, _, port = yard.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.settimeout(10)
        raw.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {yard.key}\r\n".encode() + rest)
        return b"".join(iter(lambda: raw.recv(65536), b""))


def test_a_call_reaches_the_engine_and_comes_back(yard: Yard) -> None:
    answer = yard.post(json={"messages": [{"role": "user", "content": "hi"}]})
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert b'"hi"' in yard.engine.seen[0].body


def test_the_key_alone_names_the_deployment(yard: Yard) -> None:
    assert yard.post(url=f"{yard.address}/v1/chat/completions").status_code == 200


def test_the_engine_sees_its_own_secret_and_nothing_of_the_caller(yard: Yard) -> None:
    yard.post(headers={"Cookie": "session=1", "X-Forwarded-For": "1.2.3.4", "X-Kept": "yes", "Connection": "x-gone",
                       "X-Gone": "1", "x-request-id": "mine-1"})  # fmt: skip
    sent = yard.engine.seen[0].headers
    assert sent["authorization"] == f"Bearer {engine_secret(Replica.objects.get())}"
    assert (sent["x-kept"], sent["x-request-id"]) == ("yes", "mine-1")
    assert not {"cookie", "x-forwarded-for", "x-gone", "connection"} & set(sent)


def test_the_caller_sees_nothing_of_the_engines_hop(yard: Yard) -> None:
    answer = yard.post()
    assert answer.headers["x-own"] == "kept"
    assert "set-cookie" not in answer.headers
    assert "engine" not in answer.headers.get("server", "")
    assert not {"x-hop", "keep-alive"} & set(yard.post("headers").headers)


def test_the_openai_client_streams_unbuffered(yard: Yard) -> None:
    yard.engine.step.clear()
    with httpx.stream("POST", yard.url, headers=yard.headers(x_behave="stepwise"), json={}, timeout=10) as answer:
        parts = answer.iter_raw()
        for number in range(3):
            # The engine sends the next one only after this one has arrived here.
            assert next(parts) == b"data: %d\n\n" % number
            yard.engine.step.set()
        assert list(parts) == []


def test_the_openai_client_works_unchanged(yard: Yard) -> None:
    client = openai.OpenAI(base_url=f"{yard.address}/d/{yard.deployment.pk}/v1", api_key=yard.key + "x", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model="chat", messages=[])
    assert caught.value.code == "malformed_api_key"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "missing_api_key"),
        ("Basic abc", "missing_api_key"),
        ("Bearer sk-12345", "malformed_api_key"),
        ("Bearer myk_" + "0" * 12 + "_" + "0" * 59, "malformed_api_key"),
        ("Bearer \xff\xfe", "malformed_api_key"),
    ],
)
def test_without_a_key_nothing_is_told(yard: Yard, header: str | None, expected: str) -> None:
    headers = {"Authorization": header.encode("latin-1")} if header else {}
    for path in ("/v1/chat/completions", f"/d/{yard.deployment.pk}/v1/chat/completions", "/d/dep_none/v1/models"):
        answer = httpx.post(yard.address + path, headers=headers)
        assert code(answer) == (401, expected)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_unknown_wrong_and_expired_keys_are_told_the_same(yard: Yard) -> None:
    gone, gone_text = apikeys.create(deployment=yard.deployment, name="gone", by=None)
    gone.delete()
    old, old_text = apikeys.create(deployment=yard.deployment, name="old", by=None)
    ApiKey.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    answers = []
    for text in (gone_text, old_text):
        yard.key = text
        answers.append((*code(yard.post()), yard.post().json()["error"]["message"]))
    assert answers[0] == answers[1]
    assert answers[0][:2] == (401, "invalid_api_key")


def test_a_key_that_expires_while_it_is_known_stops_working(yard: Yard) -> None:
    _, yard.key = apikeys.create(
        deployment=yard.deployment, name="soon", by=None, expires_at=timezone.now() + timedelta(seconds=1)
    )
    assert yard.post().status_code == 200
    eventually(lambda: yard.post().status_code == 401, limit=5)


def test_a_revoked_key_stops_working(yard: Yard) -> None:
    assert yard.post().status_code == 200
    apikeys.revoke(ApiKey.objects.get(), by=None)
    eventually(lambda: yard.post().status_code == 401, limit=1)


def test_a_key_of_another_deployment_is_refused(make: Make) -> None:
    mine, other = make(), make(name="other")
    mine.key = other.key
    assert code(mine.post()) == (403, "wrong_deployment")
    assert not mine.engine.seen


@pytest.mark.parametrize(
    "path",
    [
        "/v1/embeddings", "/metrics", "/v1/chat/completions/", "/v1/%2e%2e/metrics", "/v1/../metrics",
        "/v1//chat/completions", "/v1/chat%2fcompletions", "/", "/v1/chat/completions%00"],
)  # fmt: skip
def test_what_the_runtime_does_not_list_is_not_there(yard: Yard, path: str) -> None:
    answer = raw_post(yard, b"Content-Length: 0\r\nConnection: close\r\n\r\n", f"/d/{yard.deployment.pk}{path}")
    assert b" 404 " in answer.split(b"\r\n")[0]
    assert not yard.engine.seen


def test_a_wrong_method_names_the_right_one(yard: Yard) -> None:
    answer = httpx.get(yard.url, headers=yard.headers())
    assert code(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("status", [Status.READY_TO_DEPLOY, Status.FAILED, Status.STOPPED])
def test_what_is_not_deployed_says_so(yard: Yard, status: Status) -> None:
    yard.put(status=status, desired=Desired.STOPPED, live_version=None)
    eventually(lambda: yard.post().status_code == 409, limit=2)
    answer = yard.post()
    assert code(answer) == (409, "not_deployed")
    assert str(status.label) in answer.json()["error"]["message"]


def test_what_is_being_undeployed_refuses_at_once(yard: Yard) -> None:
    yard.put(desired=Desired.STOPPED)
    eventually(lambda: yard.post().status_code == 409, limit=2)
    assert code(yard.post()) == (409, "undeploying")


def test_what_is_starting_says_when_to_come_back(yard: Yard) -> None:
    Replica.objects.update(state=ReplicaState.STARTING)
    yard.put(status=Status.DEPLOYING)
    eventually(lambda: yard.post().status_code == 503, limit=2)
    answer = yard.post()
    assert code(answer) == (503, "starting")
    assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    ("behave", "expected"),
    [
        ("crash", (502, "engine_error")),
        ("unauthorized", (502, "engine_error")),
        ("busy", (503, "engine_unavailable")),
        ("close", (502, "engine_unreachable")),
        ("garbage", (502, "engine_unreachable")),
        ("silent", (504, "engine_timeout")),
    ],
)  # fmt: skip
def test_an_engines_failure_is_told_without_its_words(yard: Yard, behave: str, expected: tuple[int, str]) -> None:
    answer = yard.post(behave)
    assert code(answer) == expected
    assert b"Traceback" not in answer.content
    assert b"/opt" not in answer.content
    assert b"127.0.0.1" not in answer.content


@pytest.mark.parametrize(("behave", "status"), [("refused", 400), ("full", 429)])
def test_what_the_engine_says_to_the_caller_passes(yard: Yard, behave: str, status: int) -> None:
    answer = yard.post(behave)
    assert answer.status_code == status
    assert "error" in answer.json()


@pytest.mark.parametrize("behave", ["until_close", "early_hints", "no_content"])
def test_unusual_but_right_responses_pass(yard: Yard, behave: str) -> None:
    assert yard.post(behave).status_code in {200, 204}


@pytest.mark.parametrize("behave", ["cut", "short"])
def test_a_response_that_is_cut_looks_cut(yard: Yard, behave: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        yard.post(behave)


def test_a_hundred_megabytes_are_refused_before_they_are_read(yard: Yard) -> None:
    answer = raw_post(yard, b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"request_too_large" in answer
    assert not yard.engine.seen


def test_a_chunked_body_is_counted_while_it_comes(yard: Yard) -> None:
    try:
        answer = yard.post(content=iter([b"x" * 100_000] * 40))
    except (httpx.WriteError, httpx.ReadError):
        return  # the answer was lost behind the part of the body that nobody read: as good as a 413
    assert code(answer) == (413, "request_too_large")


@pytest.mark.parametrize("size", [0, 1, 100_000, 1_500_000])
def test_bodies_of_every_size_arrive_whole(yard: Yard, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    assert yard.post(content=body[:size]).status_code == 200
    assert yard.engine.seen[0].body.rstrip(b" ") == body[:size]  # room for a question that it didn't need


def test_a_chunked_body_arrives_whole(yard: Yard) -> None:
    assert yard.post(content=iter([b"ab" * 400_000, b"cd", b"ef" * 500_000])).status_code == 200
    assert yard.engine.seen[0].body.rstrip(b" ") == b"ab" * 400_000 + b"cd" + b"ef" * 500_000


@pytest.mark.parametrize("behave", ["endless", "silent"])
def test_a_caller_that_leaves_ends_the_engines_work(yard: Yard, behave: str) -> None:
    host, _, port = yard.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as raw:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {yard.key}\r\n"
        raw.sendall(head.encode() + f"x-behave: {behave}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        eventually(lambda: bool(yard.engine.seen))
        time.sleep(0.2)
    assert yard.engine.cancelled.wait(2)


def stands_still(engine: Engine) -> bool:
    sent = engine.sent
    time.sleep(0.5)
    return engine.sent == sent


def test_a_slow_reader_holds_the_engine_back(yard: Yard) -> None:
    web = [p for p in psutil.Process().children() if "modelyard.cli" in p.cmdline()][0]  # noqa: RUF015
    before = web.memory_info().rss
    with httpx.stream("POST", yard.url, headers=yard.headers(x_behave="flood"), json={}, timeout=10) as answer:
        parts = answer.iter_raw(1000)  # held: when it goes, so does the connection
        next(parts)
        # The kernel's buffers take what they take; then the engine waits, and the web process has kept next to nothing.
        eventually(lambda: stands_still(yard.engine))
        assert yard.engine.sent < 400_000_000
        assert web.memory_info().rss - before < 30_000_000
    assert yard.engine.cancelled.wait(5)


def test_connections_to_the_engine_are_kept(yard: Yard) -> None:
    for _ in range(5):
        yard.post()
    assert yard.engine.connections == 1


def test_a_connection_gone_stale_is_replaced_unseen(yard: Yard) -> None:
    assert [yard.post("close_reused").status_code for _ in range(4)] == [200] * 4


def test_a_dead_replica_is_left_for_another(make: Make) -> None:
    yard = make(engines=2)
    yard.engines[0].server.shutdown()
    yard.engines[0].server.server_close()
    assert [yard.post().status_code for _ in range(6)] == [200] * 6


def test_calls_go_to_the_replica_with_the_fewest(make: Make) -> None:
    yard = make(engines=2)
    with httpx.stream("POST", yard.url, headers=yard.headers(x_behave="endless"), json={}, timeout=10) as answer:
        parts = answer.iter_raw()  # held: when it goes, so does the connection
        next(parts)
        for _ in range(4):
            yard.post()
    assert sorted(len(engine.seen) for engine in yard.engines) == [1, 4]


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        b"Content-Length: +5\r\n\r\nhello",
        b"X-A: 1\r\n folded: 2\r\nContent-Length : 5\r\n\r\nhello",
    ],
)
def test_a_smuggled_request_never_reaches_the_engine(yard: Yard, smuggled: bytes) -> None:
    answer = raw_post(yard, smuggled)
    assert answer.split(b"\r\n")[0].split(b" ")[1] in {b"400", b"413"}
    assert all(seen.line.startswith("POST /v1/chat/completions") and not seen.body for seen in yard.engine.seen)


def test_the_last_use_of_a_key_is_noted(yard: Yard) -> None:
    yard.post()
    eventually(lambda: ApiKey.objects.get().last_used_at is not None, limit=15)


def test_requests_in_flight_are_known_to_the_reconciler(yard: Yard) -> None:
    from apps.deployments.gateway import inflight

    replica = Replica.objects.get().pk
    with httpx.stream("POST", yard.url, headers=yard.headers(x_behave="endless"), json={}, timeout=10):
        eventually(lambda: inflight.total(replica) == 1)
    eventually(lambda: inflight.total(replica) == 0)
