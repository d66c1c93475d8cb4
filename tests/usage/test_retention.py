"""What is kept how long."""

import os
import subprocess
import sys
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from apps.deployments.models import Deployment, Event
from apps.deployments.statuses import Status
from apps.deployments.tasks import forget_usage
from apps.deployments.transitions import record
from apps.deployments.usage import ledger, retention
from apps.deployments.usage.models import Batch, Capture, UsageDay, UsageHour, UsageRecord
from apps.deployments.usage.querysets import between, first_id
from tests.usage.conftest import row, write

NOW = timezone.now()


def aged(**age: float) -> ledger.Row:
    return row(NOW - timedelta(**age), request_id=str(age))


def kept(deployment_id: str, days: float) -> Capture:
    at = NOW - timedelta(days=days)
    return Capture.objects.create(at=at, request_id="r", deployment_id=deployment_id, path="/v1/x", status=200)


@pytest.mark.django_db
def test_records_and_hours_go_and_days_stay() -> None:
    write(aged(days=500), aged(days=100), aged(days=89), aged(days=0))
    assert retention.sweep()
    assert (UsageRecord.objects.count(), UsageHour.objects.count(), UsageDay.objects.count()) == (2, 3, 4)


@pytest.mark.django_db
def test_a_late_and_a_wrong_time_do_not_hold_the_others(settings: Settings) -> None:
    settings.USAGE_DAYS = 10
    write(aged(days=-400), *[aged(days=20 - n / 100) for n in range(500)], aged(days=30), *[aged(days=1)] * 500)
    retention.sweep()
    left = UsageRecord.objects.filter(at__lt=NOW - timedelta(days=10)).count()
    assert (left, UsageRecord.objects.count()) in {(0, 501), (1, 502)}


@pytest.mark.django_db
def test_rows_go_in_short_transactions(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 100)
    write(*[aged(days=100)] * 950, *[aged(days=1)] * 10)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert retention.sweep()
    deletes = [query for query in asked.captured_queries if "usagerecord" in query["sql"] and "DELETE" in query["sql"]]
    assert (len(deletes), UsageRecord.objects.count()) == (10, 10)


@pytest.mark.django_db
def test_a_long_sweep_goes_on_in_another_task(monkeypatch: pytest.MonkeyPatch) -> None:
    write(*[aged(days=100)] * 10)
    again: list[Any] = []
    monkeypatch.setattr(forget_usage, "apply_async", lambda **how: again.append(how))
    monkeypatch.setattr(retention, "sweep", lambda: False)
    forget_usage()
    assert len(again) == 1


@pytest.mark.django_db
def test_batches_are_remembered_for_a_day() -> None:
    assert ledger.write("old", [row()])
    Batch.objects.update(at=NOW - timedelta(hours=25))
    write(row())
    retention.sweep()
    assert Batch.objects.exclude(pk="old").count() == 1 == Batch.objects.count()


@pytest.mark.django_db
def test_captures_go_when_their_deployment_says(deployment: Deployment) -> None:
    Deployment.objects.update(capture_days=2)
    stays = [kept(deployment.pk, 1), kept("dep_deleted", 6)]
    for deployment_id, days in ((deployment.pk, 3), ("dep_deleted", 8)):
        kept(deployment_id, days)
    retention.sweep()
    assert set(Capture.objects.all()) == set(stays)


@pytest.mark.django_db
def test_a_time_is_found_among_ids_with_holes() -> None:
    write(*[row(NOW - timedelta(hours=100 - n), request_id=str(n), account=uuid.uuid4().hex[:8]) for n in range(100)])
    UsageRecord.objects.filter(request_id__in=[str(n) for n in range(100) if n % 3]).delete()
    rows = UsageRecord.objects.all()
    for n in (-5, 0, 3, 50, 99, 200):
        moment = NOW - timedelta(hours=100 - n)
        assert rows.filter(pk__lt=first_id(rows, "at", moment)).count() == rows.filter(at__lt=moment).count()
        assert between(rows, moment, None).count() == rows.filter(at__gte=moment).count()
        assert between(rows, None, moment).count() == rows.filter(at__lt=moment).count()


def aged_event(deployment: Deployment, days: float, code: str = "engine_died", **fields: Any) -> int:
    made = record(deployment, code, "It ended.", **fields)
    Event.objects.filter(pk=made.pk).update(at=NOW - timedelta(days=days))
    return made.pk


@pytest.mark.django_db
def test_events_go_but_for_what_people_did_and_changes_of_status(deployment: Deployment, settings: Settings) -> None:
    settings.EVENT_DAYS = 30
    anna = User.objects.create(username="anna")
    Event.objects.all().delete()
    stays = [
        aged_event(deployment, 60, status=Status.FAILED),
        aged_event(deployment, 60, "undeploy_asked", by=anna),
        aged_event(deployment, 29),
    ]
    anna.delete()
    for days in (90, 31):
        aged_event(deployment, days)
    stays.append(aged_event(deployment, 1))
    retention.sweep()
    assert list(Event.objects.order_by("pk").values_list("pk", flat=True)) == stays


@pytest.mark.parametrize("name", ["EVENT_DAYS", "USAGE_DAYS", "USAGE_HOURS_DAYS"])
@pytest.mark.parametrize("days", ["0", "-1", "36501"])
def test_a_number_of_days_that_would_delete_everything_or_nothing_is_refused(name: str, days: str) -> None:
    env = os.environ | {f"MODELYARD_{name}": days}
    command = [sys.executable, "-c", "import modelyard.settings"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode
    assert f"MODELYARD_{name} must be at least 1 and at most 36500, not {days}: unset it" in done.stderr
