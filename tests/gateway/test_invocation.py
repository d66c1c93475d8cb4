"""Calls by people and user tokens through the API: the gateway's limits, ledger and answers without an API key."""

import http.client
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from knox.models import AuthToken

from apps.deployments import operations
from apps.deployments.models import Event
from apps.deployments.statuses import Status
from apps.deployments.usage.models import Capture, UsageRecord
from tests.gateway.conftest import Make, Yard, eventually, start_web
from tests.gateway.test_limits import away_from_the_end_of_a_minute

pytestmark = pytest.mark.system


@pytest.fixture
def person(transactional_db: None) -> User:
    user = User.objects.create_user("anna", password="look-at-it-1", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="invoke_deployment"))
    return user


@pytest.fixture
def token(person: User) -> str:
    return str(AuthToken.objects.create(person)[1])


@pytest.fixture
def second_web(transactional_db: None) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    process, address = start_web()
    yield process, address
    process.terminate()
    process.wait(20)


def invoke(
    yard: Yard, token: str, behave: str = "usage", path: str = "v1/chat/completions", **more: object
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", "x-behave": behave}
    url = f"{yard.address}/api/v1/deployments/{yard.deployment.pk}/invoke/{path}"
    return httpx.post(url, headers=headers, json=more or {"messages": []}, timeout=15)


def test_a_call_without_a_key_is_counted_for_the_person(yard: Yard, token: str) -> None:
    answer = invoke(yard, token)
    assert (answer.status_code, answer.json()["usage"]["total_tokens"]) == (200, 30)
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["cache-control"] == "no-store"
    (seen,) = yard.engine.seen
    assert token not in str(seen.headers)
    rows = UsageRecord.objects.filter(deployment_id=yard.deployment.pk)
    eventually(rows.exists)
    row = rows.get()
    assert (row.user_name, row.key_id, row.completion_tokens, row.client) == ("anna", "", 20, "127.0.0.1")


def test_openais_client_calls_with_a_user_token(yard: Yard, token: str) -> None:
    base = f"{yard.address}/api/v1/deployments/{yard.deployment.pk}/invoke/v1"
    client = openai.OpenAI(base_url=base, api_key=token, default_headers={"x-behave": "events"})
    words = [
        part.choices[0].delta.content for part in client.chat.completions.create(model="chat", messages=[], stream=True)
    ]
    assert words == ["one", "two", "three"]


def test_a_stream_comes_as_it_is_made(yard: Yard, token: str) -> None:
    url = f"{yard.address}/api/v1/deployments/{yard.deployment.pk}/invoke/v1/chat/completions"
    headers = {"Authorization": f"Bearer {token}", "x-behave": "stepwise"}
    with httpx.stream("POST", url, headers=headers, json={}, timeout=10) as answer:
        assert answer.headers["x-accel-buffering"] == "no"
        parts = answer.iter_raw()
        for number in range(3):
            assert next(parts) == b"data: %d\n\n" % number
            yard.engine.step.set()
        assert list(parts) == []


@pytest.mark.parametrize("behave", ["endless", "silent"])
def test_who_leaves_ends_the_engines_work(yard: Yard, token: str, behave: str) -> None:
    url = f"{yard.address}/api/v1/deployments/{yard.deployment.pk}/invoke/v1/chat/completions"
    headers = {"Authorization": f"Bearer {token}", "x-behave": behave}
    try:
        with httpx.stream("POST", url, headers=headers, json={}, timeout=1) as answer:
            next(answer.iter_raw())
    except httpx.ReadTimeout:
        pass
    assert yard.engine.cancelled.wait(3)


def test_only_who_may(yard: Yard, token: str, person: User) -> None:
    person.user_permissions.clear()
    answer = invoke(yard, token)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert invoke(yard, "myt_nothing").status_code == 401
    assert yard.engine.seen == []


def test_a_session_needs_the_csrf_token(yard: Yard, person: User) -> None:
    django = Client()
    assert django.login(username="anna", password="look-at-it-1")
    url = f"{yard.address}/api/v1/deployments/{yard.deployment.pk}/invoke/v1/chat/completions"
    cookies = {"sessionid": django.cookies["sessionid"].value}
    assert httpx.post(url, cookies=cookies, json={}).status_code == 403
    secret = "a" * 32
    headers = {"X-CSRFToken": secret, "x-behave": "usage"}
    assert httpx.post(url, cookies={**cookies, "csrftoken": secret}, headers=headers, json={}).status_code == 200


def test_a_limit_is_one_for_keys_and_people(yard: Yard, token: str) -> None:
    away_from_the_end_of_a_minute()
    operations.edit(yard.deployment, by=None, requests_per_minute=3)
    time.sleep(1)
    assert [answer.status_code for answer in (yard.post(), invoke(yard, token), yard.post())] == [200] * 3
    refused = invoke(yard, token)
    assert (refused.status_code, refused.headers["x-ratelimit-remaining-requests"]) == (429, "0")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert yard.post().status_code == 429


@pytest.mark.parametrize("path", ["../../metrics", "../other/v1/models", "v1/../../../metrics", "v1//models"])
def test_no_path_leads_out_of_the_deployment(yard: Yard, token: str, path: str) -> None:
    # A client that sends the path as it is written.
    caller = http.client.HTTPConnection(urlsplit(yard.address).netloc, timeout=10)
    caller.request("GET", f"/api/v1/deployments/{yard.deployment.pk}/invoke/{path}",
                   headers={"Authorization": f"Bearer {token}"})  # fmt: skip
    answer = caller.getresponse()
    assert (answer.status, b"path_not_found" in answer.read()) == (404, True)
    caller.close()


def test_what_an_engine_says_does_not_run_as_a_page_of_the_site(yard: Yard, token: str) -> None:
    headers = invoke(yard, token).headers
    assert headers["content-security-policy"].startswith("sandbox;")
    assert headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in invoke(yard, token, "json").headers


def test_a_large_body_comes_whole_and_a_larger_one_is_refused(yard: Yard, token: str) -> None:
    assert invoke(yard, token, "json", text="x" * 2_900_000).status_code == 200
    assert len(yard.engine.seen[0].body) > 2_900_000
    refused = invoke(yard, token, "json", text="x" * 3_000_000)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert len(yard.engine.seen) == 1


@pytest.mark.skipif(connection.vendor != "sqlite", reason="looks at the open files of the process")
def test_streams_keep_no_connection_to_the_database(
    make: Make, token: str, second_web: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, address = second_web
    yard = make(address=address)
    database = os.path.realpath(str(connection.settings_dict["NAME"]))

    def opened() -> int:
        return sum(os.path.realpath(each) == database for each in Path(f"/proc/{process.pid}/fd").iterdir())

    assert invoke(yard, token).status_code == 200
    before = opened()
    url = f"{address}/api/v1/deployments/{yard.deployment.pk}/invoke/v1/chat/completions"
    headers = {"Authorization": f"Bearer {token}", "x-behave": "endless"}
    with ExitStack() as held:
        for _ in range(5):
            answer = held.enter_context(httpx.stream("POST", url, headers=headers, json={}, timeout=10))
            next(answer.iter_raw(), None)
        assert opened() <= before


@pytest.mark.django_db
def test_without_a_gateway_it_is_said_so(person: User) -> None:
    django = Client()  # no web process of ours
    django.force_login(person)
    answer = django.post("/api/v1/deployments/dep_x/invoke/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "gateway_unreachable")
    assert answer.headers["retry-after"] == "5"


def test_the_gateways_answers_come_back_as_they_are(yard: Yard, token: str) -> None:
    operations.edit(yard.deployment, by=None, requests_per_minute=0)
    time.sleep(1)
    limited = invoke(yard, token)
    assert (limited.status_code, limited.json()["error"]["code"]) == (429, "rate_limited")
    assert limited.headers["x-should-retry"] == "false"
    nowhere = invoke(yard, token, path="v1/secret/../x")
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "path_not_found")
    yard.put(status=Status.STOPPED, desired="stopped")
    time.sleep(1)
    stopped = invoke(yard, token)
    assert (stopped.status_code, stopped.json()["error"]["code"]) == (409, "not_deployed")
    assert "Stopped" in stopped.json()["error"]["message"]


def test_what_is_patched_in_one_process_acts_in_all_within_a_second(
    yard: Yard, person: User, token: str, second_web: tuple[subprocess.Popen[bytes], str]
) -> None:
    person.user_permissions.set(Permission.objects.filter(codename__in=["change_deployment", "view_capture"]))
    api = httpx.Client(base_url=f"{yard.address}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    one = f"/deployments/{yard.deployment.pk}/"
    urls = [yard.url, yard.url.replace(yard.address, second_web[1])]

    def within_a_second(status: int, **given: object) -> None:
        assert api.patch(one, json=given).status_code == 200
        end = time.monotonic() + 1
        for url in urls:
            began = time.monotonic()
            while yard.post("usage", url=url).status_code != status:
                assert began < end, f"{given} did not act on a call that began a second after"
                began = time.monotonic()

    within_a_second(200, captures=True)
    within_a_second(429, requests_per_minute=0)
    within_a_second(200, requests_per_minute=None)
    within_a_second(429, concurrent_requests=0)
    within_a_second(200, concurrent_requests=5)
    asked = {"deployment": yard.deployment.pk}

    def kept() -> bool:
        rows = api.get("/usage/captures/", params=asked).json()["results"]
        return any('"messages"' in row["request"] and '"total_tokens": 30' in row["response"] for row in rows)

    eventually(kept)


def test_what_is_set_acts_within_a_second(make: Make) -> None:
    yard = make()
    assert yard.post("usage").status_code == 200
    operations.edit(
        yard.deployment, by=None, tokens_per_day=0, first_byte_timeout=1, captures=True, description="Changed"
    )
    time.sleep(1)
    assert yard.post("usage").json()["error"]["code"] == "quota_exceeded"
    said = Event.objects.filter(code="edited").get().message
    assert "tokens a day from unlimited to 0" in said
    assert "first byte timeout (s) from the installation's to 1" in said
    assert "keep inputs and outputs from off to on" in said
    operations.edit(yard.deployment, by=None, tokens_per_day=None)
    time.sleep(1)
    assert yard.post("silent").json()["error"]["code"] == "engine_timeout"
    assert yard.post("usage", json={"messages": [{"content": "write to anna@example.com"}]}).status_code == 200
    eventually(lambda: Capture.objects.filter(status=200).exists())
    kept = Capture.objects.filter(status=200).latest("pk")
    assert "write to" in kept.request
    assert "anna@example.com" not in kept.request
