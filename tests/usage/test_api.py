"""Usage through the API, as a script that bills from it uses it."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from knox.models import AuthToken
from pytest_django import DjangoAssertNumQueries

from apps.apikeys import operations as apikeys
from apps.apikeys.models import ApiKey
from apps.deployments.models import Deployment
from apps.deployments.usage import capture
from tests.usage.conftest import row, write

RECORDS, SUMMARY = "/api/v1/usage/records/", "/api/v1/usage/summary/"
pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # the test client isn't async
AT = datetime(2026, 1, 15, 12, tzinfo=UTC)


def caller(*permissions: str) -> Client:
    user = User.objects.create(username="script")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return Client(headers={"Authorization": f"Bearer {AuthToken.objects.create(user=user)[1]}"})


@pytest.fixture
def client(db: None) -> Client:
    return caller("view_usagerecord")


def listed(client: Client, **asked: Any) -> list[str]:
    answer = client.get(RECORDS, asked)
    assert answer.status_code == 200, answer.json()
    return [each["request_id"] for each in answer.json()["results"]]


def sheet(client: Client, address: str, **asked: Any) -> list[dict[str, str]]:
    answer = client.get(address, asked | {"as": "csv"})
    assert answer["Content-Type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(b"".join(answer).decode())))


@pytest.mark.django_db
@pytest.mark.parametrize("address", [RECORDS, SUMMARY])
def test_usage_needs_its_own_permission(address: str) -> None:
    assert Client().get(address).status_code == 401
    assert caller("view_deployment").get(address).status_code == 403


def test_inputs_and_outputs_need_a_permission_of_their_own(db: None) -> None:
    for number, deployment in enumerate(["dep_1", "dep_1", "dep_2"]):
        capture.write([(0.0, f"req-{number}", deployment, "acc1", "/v1/x", 200, b"hello a@example.com", b"{}", False)])
    address = "/api/v1/usage/captures/"
    assert Client().get(address).status_code == 401
    script = caller("view_capture")
    found = script.get(address, {"deployment": "dep_1"}).json()["results"]
    assert [(each["request_id"], each["request"]) for each in found] == [
        ("req-1", "hello [email]"), ("req-0", "hello [email]"),
    ]  # fmt: skip
    assert len(script.get(address, {"request_id": "req-2"}).json()["results"]) == 1
    User.objects.all().delete()
    assert caller("view_usagerecord", "view_deployment").get(address).status_code == 403


def test_calls_are_listed_newest_first_and_paged_without_a_count(client: Client) -> None:
    write(*[row(AT + timedelta(seconds=n // 3), request_id=str(n)) for n in range(25)])
    for asked in ({}, {"deployment": "dep_1"}):
        address, found = f"{RECORDS}?page_size=10", []
        while address:
            with CaptureQueriesContext(connection) as queries:
                page = client.get(address, asked if not found else {}).json()
            assert not [query for query in queries.captured_queries if "COUNT(" in query["sql"]]
            found += [each["request_id"] for each in page["results"]]
            address = page["next"]
        assert found == [str(n) for n in reversed(range(25))]


def test_calls_are_found_by_what_they_were(client: Client) -> None:
    write(row(AT, request_id="ok"), row(AT, request_id="limit", status=429, error="rate_limited"))
    write(row(AT, request_id="down", status=502, deployment_id="dep_2"), row(AT, request_id="b", account="acc2"))
    assert listed(client, status="429") == ["limit"]
    assert listed(client, status="5xx") == ["down"]
    assert listed(client, error="rate_limited") == ["limit"]
    assert listed(client, deployment="dep_2") == ["down"]
    assert listed(client, key="acc2") == ["b"]


def test_a_stretch_of_time_has_its_beginning_and_not_its_end(client: Client) -> None:
    write(*[row(AT + timedelta(hours=n), request_id=str(n)) for n in range(4)])
    assert listed(client, **{"from": "2026-01-15T13:00:00Z", "to": "2026-01-15T16:00:00+01:00"}) == ["2", "1"]
    assert listed(client, **{"from": "2026-01-15", "to": "2026-01-16"}) == ["3", "2", "1", "0"]
    assert listed(client, **{"from": "2026-01-16"}) == []


@pytest.mark.parametrize(
    "asked", [{"from": "soon"}, {"to": "0001-01-01"}, {"from": "2026-02-30"}, {"status": "abc"}, {"status": "٤٢٩"}]
)
def test_what_is_no_time_or_status_is_a_problem(client: Client, asked: dict[str, str]) -> None:
    answer = client.get(RECORDS, asked)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")


def test_a_rotated_key_is_found_by_any_of_its_ids(client: Client, deployment: Deployment) -> None:
    key, _ = apikeys.create(deployment=deployment, name="app", by=None)
    ApiKey.objects.filter(pk=key.pk).update(account="first")
    write(row(AT, request_id="r", account="first", key_id="first"))
    assert listed(client, key=key.pk) == listed(client, key="first") == ["r"]


def test_every_record_is_in_the_sheet(client: Client) -> None:
    write(*[row(AT + timedelta(seconds=n // 7), request_id=str(n)) for n in range(4500)])
    for asked in ({}, {"key": "acc1"}, {"from": "2026-01-15"}):
        assert [each["request_id"] for each in sheet(client, RECORDS, **asked)] == [str(n) for n in range(4499, -1, -1)]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@cmd", "\t=1", '=HYPERLINK("x","y")'])
def test_no_name_is_a_formula_in_a_sheet(client: Client, name: str) -> None:
    write(row(AT, key_name=name))
    assert [each["key_name"] for each in sheet(client, RECORDS)] == [f"'{name}"]
    assert [each["name"] for each in sheet(client, SUMMARY, **{"from": "2026-01-01"})] == [f"'{name}"]


def test_a_summary_is_this_month_by_key_unless_told(client: Client) -> None:
    now = timezone.now()
    write(row(now), row(now, account="acc2", status=500), row(now - timedelta(days=40)))
    body = client.get(SUMMARY).json()
    assert (body["by"], body["every"]) == ("key", "")
    assert {(each["id"], each["requests"], each["errors"]) for each in body["results"]} == {
        ("acc1", 1, 0),
        ("acc2", 1, 1),
    }


def test_a_summary_is_by_deployment_and_day_of_one_key(client: Client) -> None:
    write(row(AT), row(AT), row(AT + timedelta(days=1)), row(AT, account="acc2"))
    asked = {"by": "deployment", "every": "day", "from": "2026-01-01", "to": "2026-02-01", "key": "acc1"}
    results = client.get(SUMMARY, asked).json()["results"]
    assert [(each["start"], each["name"], each["requests"]) for each in results] == [
        ("2026-01-15", "search", 2), ("2026-01-16", "search", 1)]  # fmt: skip
    assert [each["requests"] for each in sheet(client, SUMMARY, **asked)] == ["2", "1"]


def test_a_summary_takes_no_more_queries_for_more_keys(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    write(*[row(AT, account=f"acc{n}", deployment_id=f"dep_{n % 4}") for n in range(100)])
    with django_assert_max_num_queries(6):
        assert len(client.get(SUMMARY, {"from": "2026-01-01"}).json()["results"]) == 100


@pytest.mark.parametrize("asked", [{"by": "person"}, {"every": "year"}, {"from": "x"}])
def test_a_summary_that_there_is_not_is_a_problem(client: Client, asked: dict[str, str]) -> None:
    assert client.get(SUMMARY, asked).status_code == 400


def test_a_summary_of_too_many_lines_asks_for_less(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.deployments.usage.api.LINES", 3)
    write(*[row(AT, account=f"acc{n}") for n in range(4)])
    assert client.get(SUMMARY, {"from": "2026-01-01"}).json()["code"] == "too_many_lines"
