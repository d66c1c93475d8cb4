"""Calls by people and user tokens through the API: the gateway's limits, ledger and answers without an API key."""

import time

import httpx
import openai
import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from knox.models import AuthToken

from apps.deployments import operations
from apps.deployments.models import Event
from apps.deployments.statuses import Status
from apps.deployments.usage.models import Capture, UsageRecord
from tests.gateway.conftest import Make, Yard, eventually

pytestmark = pytest.mark.system


@pytest.fixture
def person(transactional_db: None) -> User:
    user = User.objects.create_user("anna", password="look-at-it-1", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="invoke_deployment"))
    return user


@pytest.fixture
def token(person: User) -> str:
    return str(AuthToken.objects.create(person)[1])


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
    assert invoke(yard, token).json()["error"]["code"] == "not_deployed"


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
