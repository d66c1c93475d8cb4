"""Sums as people ask for them."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from apps.deployments.models import Deployment
from apps.deployments.usage import reports
from apps.deployments.usage.models import UsageRecord
from tests.usage.conftest import row, write

JANUARY, FEBRUARY, MARCH = date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)


def at(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


@pytest.mark.django_db
def test_a_month_begins_and_ends_where_the_zone_says(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Vienna"
    vienna = ZoneInfo("Europe/Vienna")
    edges = [datetime(2026, 3, 1, tzinfo=vienna), datetime(2026, 4, 1, tzinfo=vienna)]  # an hour shorter: summer time
    for edge in edges:
        write(row(edge - timedelta(minutes=10)), row(edge), row(edge + timedelta(minutes=10)))
    assert [reports.month("acc1", 2026, number).requests for number in (2, 3, 4)] == [1, 3, 2]


@pytest.mark.django_db
def test_a_month_is_one_query_whatever_the_ledger_holds() -> None:
    write(*[row(at(1, 1 + n % 28), account=f"acc{n % 3}") for n in range(300)])
    with CaptureQueriesContext(connection) as asked:
        assert reports.month("acc1", 2026, 1).requests == 100
    assert len(asked) == 1
    assert UsageRecord._meta.db_table not in asked.captured_queries[0]["sql"]


@pytest.mark.django_db
def test_a_renamed_key_is_one_line_under_its_latest_name() -> None:
    write(row(at(1, 1), key_name="zebra"), row(at(1, 2), account="", key_name="", user_name="anna"))
    write(row(at(1, 3), key_name="apple"), row(at(1, 3), key_name="apple", deployment_name="find"))
    lines = reports.by_key(JANUARY, FEBRUARY)
    found = [(line.id, line.name, line.deployment_name, line.totals.requests) for line in lines]
    assert found == [("acc1", "apple", "find", 3), ("", "", "search", 1)]


@pytest.mark.django_db
def test_deployments_are_summed_over_their_keys_the_largest_first() -> None:
    write(row(at(1, 1), deployment_id="dep_2", deployment_name="other", prompt_tokens=1))
    write(row(at(1, 1)), row(at(1, 1), account="acc2"), row(at(2, 1)))
    lines = reports.by_deployment(JANUARY, FEBRUARY)
    assert [(line.id, line.totals.requests, line.totals.tokens) for line in lines] == [
        ("dep_1", 2, 30),
        ("dep_2", 1, 6),
    ]


@pytest.mark.django_db
def test_models_are_those_of_the_deployments_and_of_deleted_ones(deployment: Deployment) -> None:
    write(row(at(1, 1), deployment_id=deployment.pk), row(at(1, 1)), row(at(1, 2), model_id="mdl_1", model_name="old"))
    lines = list(reports.table("model", "", JANUARY, FEBRUARY))
    found = {(line.id, line.name, line.totals.requests) for line in lines}
    assert found == {(deployment.model_id, "tiny", 1), ("mdl_1", "old", 2)}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("every", "starts"),
    [("month", [JANUARY, FEBRUARY]), ("day", [JANUARY, date(2026, 1, 2), FEBRUARY]),
     ("hour", [at(1, 1, 9), at(1, 1, 12), at(1, 2), at(2, 1)])],
)  # fmt: skip
def test_lines_come_by_time(every: reports.Every, starts: list[date]) -> None:
    write(row(at(1, 1)), row(at(1, 1, 9)), row(at(1, 2)), row(at(2, 1)), row(at(3, 1)))
    start, end = (at(1, 1, 0), at(3, 1, 0)) if every == "hour" else (JANUARY, MARCH)
    assert [line.start for line in reports.table("key", every, start, end)] == starts


@pytest.mark.django_db
def test_a_series_has_days_without_a_call_too() -> None:
    write(row(at(1, 1)), row(at(1, 3)), row(at(1, 3), deployment_id="dep_2"))
    line = reports.series("day", JANUARY, date(2026, 1, 5), deployment="dep_1")
    assert [totals.requests for _, totals in line] == [1, 0, 1, 0]
    assert reports.total(JANUARY, date(2026, 1, 5)).requests == 3
