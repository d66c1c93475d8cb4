"""What every page of the site keeps: its Content-Security-Policy, its language, its session; Home and the search."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.apikeys import operations as apikeys
from apps.deployments import operations
from apps.deployments.models import Deployment, UsageHour, UsageRecord
from apps.deployments.statuses import Status
from apps.deployments.usage.latencies import percentile
from modelyard.home import traffic
from tests.admin.test_pages import LIST, deployment, model, page, person, put  # noqa: F401 (fixtures)

PAGES = ("/admin/", LIST, "/admin/models/model/", "/admin/models/model/import/", "/admin/runtimes/", "/admin/tokens/",
         "/admin/usage/", "/admin/auth/user/", "/admin/apikeys/apikey/", f"{LIST}add/")  # fmt: skip
INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=\"|<script(?![^>]*\bsrc=)")


@pytest.mark.parametrize("address", PAGES)
def test_a_page_has_nothing_that_its_policy_refuses(deployment: Deployment, address: str) -> None:  # noqa: F811
    answer = person().get(address)
    policy = answer["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-eval';" in policy
    assert "style-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert not INLINE.findall(answer.content.decode())


@pytest.mark.parametrize("name", ["detail", "keys", "configuration", "events", "usage", "optimization"])
def test_a_deployments_page_has_nothing_inline(deployment: Deployment, name: str) -> None:  # noqa: F811
    assert not INLINE.findall(person().get(page(deployment, name)).content.decode())


def test_the_log_in_page_has_nothing_inline(db: None) -> None:
    assert not INLINE.findall(Client().get("/admin/login/").content.decode())


def test_the_api_documentation_alone_may_have_inline_styles_and_none_may_have_inline_scripts(db: None) -> None:
    answer = Client().get("/api/docs/")
    assert "style-src 'self' 'unsafe-inline'" in answer["Content-Security-Policy"]
    assert "script-src 'self';" in answer["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)", answer.content.decode())


def test_people_see_their_language_and_programs_english(deployment: Deployment) -> None:  # noqa: F811
    german = {"Accept-Language": "de"}
    assert '<html lang="de"' in person().get("/admin/", headers=german).content.decode()
    refused = Client().get("/api/v1/deployments/", headers=german)
    assert refused["Content-Language"] == "en"


def test_a_page_can_ask_whether_its_session_is_still_there(db: None) -> None:
    assert Client().get("/admin/session/").status_code == 302
    assert person().get("/admin/session/").json()["csrf"]


def test_home_shows_a_failure_with_its_cause_and_the_button(deployment: Deployment) -> None:  # noqa: F811
    put(deployment, Status.FAILED)
    Deployment.objects.update(failure="It ran out of memory.", next_step="Choose a smaller context.")
    for address in ("/admin/", "/admin/home/now/"):
        html = person_once().get(address).content.decode()
        assert "It ran out of memory." in html
        assert "Choose a smaller context." in html
        assert page(deployment, "do", "retrigger") in html


def test_home_offers_three_ways_to_a_first_model(db: None) -> None:
    html = person().get("/admin/").content.decode()
    assert "Three ways to a first model" in html
    for address in (
        "/admin/models/model/import/",
        "/admin/models/model/import/hugging-face/",
        "/admin/models/model/catalogue/",
    ):
        assert f'class="my-way" href="{address}"' in html


def test_home_asks_little_however_much_there_is(
    deployment: Deployment,  # noqa: F811
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        each = operations.create(model=deployment.model, name=f"d{number}", runtime="echo", by=None)
        put(each, Status.FAILED if number % 2 else Status.DEPLOYING)
    client = person()
    client.get("/admin/")
    with django_assert_max_num_queries(10):
        client.get("/admin/")


def record(milliseconds: float, *, streamed: bool = False) -> UsageRecord:
    return UsageRecord(at=timezone.now(), account="a", deployment_id="d", status=200, path="/", streamed=streamed,
                       duration_ms=milliseconds, first_byte_ms=milliseconds / 2)  # fmt: skip


def test_traffic_is_what_the_ledger_says(db: None) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    UsageHour.objects.create(account="a", deployment_id="d", start=hour, requests=5, errors=1, prompt_tokens=7)
    UsageHour.objects.create(account="a", deployment_id="d", start=hour - timedelta(days=2), requests=99)
    UsageRecord.objects.bulk_create([record(float(n)) for n in range(1, 101)] + [record(10, streamed=True)])
    found = traffic("24h")
    assert (found["totals"]["requests"], found["totals"]["errors"], found["totals"]["tokens"]) == (5, 1, 7)
    assert found["totals"]["p95"] == 95
    assert found["totals"]["ttft"] == 5
    assert len(found["starts"]) == len(found["charts"]["latency"][0]) == 24


def test_days_of_traffic_are_dates_of_the_installation(db: None) -> None:
    with timezone.override("Pacific/Kiritimati"):
        days = traffic("7d")["starts"]
        assert days == [(timezone.localdate() - timedelta(days=n)).isoformat() for n in range(6, -1, -1)]


def test_traffic_of_very_many_calls_is_an_even_sample(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.deployments.usage.latencies.SAMPLE", 100)
    UsageRecord.objects.bulk_create(record(float(n % 100)) for n in range(1000))
    found = traffic("7d")
    assert 90 <= found["sampled"] <= 120
    assert found["totals"]["p95"]


def test_a_percentile_is_the_value_that_few_exceed() -> None:
    assert percentile([]) is None
    assert percentile([3.0]) == 3
    assert percentile(range(1, 101), 0.5) == 50


def test_the_search_finds_pages_deployments_models_and_keys(deployment: Deployment) -> None:  # noqa: F811
    apikeys.create(deployment=deployment, name="search app", by=None)
    html = person().get("/admin/search/?s=search").content.decode()
    assert page(deployment) in html
    assert "search app" in html
    assert page(deployment) in person_once().get(f"/admin/search/?s={deployment.pk}").content.decode()
    Deployment.objects.filter(pk=deployment.pk).update(name="Übersetzer")
    assert page(deployment) in person_once().get("/admin/search/", {"s": "Übersetzer"}).content.decode()
    assert "/admin/runtimes/" in person_once().get("/admin/search/?s=runtim").content.decode()


def test_the_search_finds_what_is_there_now(deployment: Deployment) -> None:  # noqa: F811
    client, address = person(), "/admin/search/?s=sear"
    assert "Ready to Deploy" in client.get(address).content.decode()
    put(deployment, Status.FAILED)
    made = operations.create(model=deployment.model, name="search 2", runtime="echo", by=None)
    html = client.get(address).content.decode()
    assert "Failed" in html
    assert page(made) in html
    assert "Fehlgeschlagen" in client.get(address, headers={"Accept-Language": "de"}).content.decode()
    operations.delete(made, by=None)
    assert page(made) not in client.get(address).content.decode()
    assert client.get(f"{address}&page=x").status_code == 200


def test_the_search_shows_nobody_what_they_may_not_see(deployment: Deployment) -> None:  # noqa: F811
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.create(username="new", is_staff=True))
    assert page(deployment) not in client.get("/admin/search/?s=sear").content.decode()


def person_once() -> Client:
    """The superuser, whether or not it is there yet."""
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)[0])
    return client
