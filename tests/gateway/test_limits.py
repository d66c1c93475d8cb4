"""Limits: what passes, what doesn't, and what is told, over real processes and a real Valkey."""

import concurrent.futures
import json
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import openai
import pytest

from apps.apikeys import operations as apikeys
from apps.apikeys.models import ApiKey
from apps.deployments.models import Deployment
from modelyard import changes
from tests.gateway.conftest import Make, Yard, eventually, start_web

pytestmark = pytest.mark.system


@pytest.fixture
def second_web(transactional_db: None) -> Iterator[str]:
    process, address = start_web()
    yield address
    process.terminate()
    process.wait(20)


def limit(yard: Yard, **limits: int | None) -> None:
    """Give the key limits, and wait until the web processes know."""
    key = ApiKey.objects.get(deployment=yard.deployment)
    ApiKey.objects.filter(pk=key.pk).update(**limits)
    changes.announce("key", key.pk)
    time.sleep(0.5)


def away_from_the_end_of_a_minute(seconds: float = 15) -> None:
    """Windows are calendar minutes: a test that counts shall lie in one."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left + 0.2)


def test_requests_a_minute_pass_up_to_the_limit_and_the_rest_are_told_when(yard: Yard) -> None:
    away_from_the_end_of_a_minute()
    limit(yard, requests_per_minute=5)
    answers = [yard.post() for _ in range(8)]
    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 3}
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers[:5]] == ["4", "3", "2", "1", "0"]
    refused = answers[-1]
    assert refused.json()["error"]["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-limit-requests"] == "5"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")


def test_the_sum_over_processes_is_the_limit(yard: Yard, second_web: str) -> None:
    away_from_the_end_of_a_minute(25)
    limit(yard, requests_per_minute=200)
    urls = [f"{address}/v1/chat/completions" for address in (yard.address, second_web)] * 150
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        found = Counter(threads.map(lambda url: yard.post(url=url).status_code, urls))
    assert found[200] <= 200
    # What a process leased and didn't use isn't lost: it goes back within half a second.
    eventually(lambda: yard.post(url=urls[0]).status_code == 429 and yard.post(url=urls[1]).status_code == 429, 8)
    assert len([seen for seen in yard.engine.seen]) == 200


@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_day", "concurrent_requests"])
def test_zero_is_a_limit(yard: Yard, name: str) -> None:
    limit(yard, **{name: 0})
    answer = yard.post()
    assert answer.status_code == 429
    assert "retry-after" not in answer.headers
    assert answer.headers["x-should-retry"] == "false"
    assert not yard.engine.seen


def test_no_limit_says_nothing_of_limits(yard: Yard) -> None:
    assert not [name for name in yard.post().headers if name.startswith("x-ratelimit")]


def test_tokens_are_settled_with_what_the_engine_says(yard: Yard) -> None:
    limit(yard, tokens_per_day=10_000)
    for _ in range(3):
        assert yard.post("usage", json={"max_tokens": 100}).status_code == 200
    time.sleep(0.6)
    answer = yard.post("usage", json={"max_tokens": 100})
    # Three answers of 30 tokens each, and what this one has reserved.
    assert 9_700 <= int(answer.headers["x-ratelimit-remaining-tokens"]) <= 9_910


def test_a_request_that_asks_for_more_than_is_left_is_refused(yard: Yard) -> None:
    limit(yard, tokens_per_month=500)
    answer = yard.post("usage", json={"max_tokens": 501})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")
    assert answer.headers["x-should-retry"] == "false"
    assert yard.post("usage", json={"max_tokens": 100}).status_code == 200


def test_places_are_counted_over_processes_and_freed_at_once(yard: Yard, second_web: str) -> None:
    limit(yard, concurrent_requests=1)
    with httpx.stream("POST", yard.url, headers=yard.headers(x_behave="endless"), json={}, timeout=10) as answer:
        parts = answer.iter_raw()  # held: when it goes, so does the connection
        next(parts)
        refused = [yard.post(url=f"{address}/v1/chat/completions") for address in (yard.address, second_web)]
        assert [each.json()["error"]["code"] for each in refused] == ["concurrency_limited"] * 2
        assert refused[0].headers["retry-after"] == "1"
    eventually(lambda: yard.post(url=f"{second_web}/v1/chat/completions").status_code == 200, 3)
    for number in range(6):  # in turns: no process keeps a place that it doesn't use
        address = (yard.address, second_web)[number % 2]
        eventually(lambda at=address: yard.post(url=f"{at}/v1/chat/completions").status_code == 200, 1)


def test_a_killed_process_frees_its_places_within_seconds(make: Make) -> None:
    process, address = start_web()
    yard = make()
    limit(yard, concurrent_requests=1)
    with httpx.stream(
        "POST", f"{address}/v1/chat/completions", headers=yard.headers(x_behave="endless"), json={}, timeout=10
    ) as answer:
        parts = answer.iter_raw()  # held: when it goes, so does the connection
        next(parts)
        assert yard.post().status_code == 429
        process.kill()
        process.wait()
    eventually(lambda: yard.post().status_code == 200, 8)


def test_rotation_keeps_counters(yard: Yard) -> None:
    away_from_the_end_of_a_minute()
    limit(yard, requests_per_minute=3)
    assert [yard.post().status_code for _ in range(3)] == [200] * 3
    _, yard.key = apikeys.rotate(ApiKey.objects.get(deployment=yard.deployment), by=None)
    assert yard.post().status_code == 429


def test_a_deployments_limit_holds_over_its_keys(yard: Yard) -> None:
    away_from_the_end_of_a_minute()
    Deployment.objects.filter(pk=yard.deployment.pk).update(requests_per_minute=3)
    yard.put()
    time.sleep(0.5)
    keys = [yard.key, apikeys.create(deployment=yard.deployment, name="second", by=None)[1]]
    found = []
    for number in range(6):
        yard.key = keys[number % 2]
        found.append(yard.post().status_code)
    assert Counter(found) == {200: 3, 429: 3}


def test_a_limit_that_is_raised_lets_pass_within_a_second(yard: Yard) -> None:
    limit(yard, requests_per_minute=0)
    assert yard.post().status_code == 429
    limit(yard, requests_per_minute=None)
    assert yard.post().status_code == 200


def test_openais_client_waits_as_it_is_told(yard: Yard) -> None:
    limit(yard, requests_per_minute=0)
    client = openai.OpenAI(base_url=f"{yard.address}/v1", api_key=yard.key, max_retries=5)
    began = time.monotonic()
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="chat", messages=[])
    assert time.monotonic() - began < 3  # told not to try again, it didn't
    assert json.loads(caught.value.response.content)["error"]["code"] == "rate_limited"
