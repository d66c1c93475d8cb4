"""Deletes what was kept long enough, a few thousand rows a transaction. Sums by day and a deployment's history stay."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from apps.deployments.models import Deployment, Event
from apps.deployments.usage.models import Batch, Capture, UsageHour, UsageRecord
from apps.deployments.usage.querysets import first_id

AT_ONCE = 5000  # rows of a transaction
CAPTURES_AT_ONCE = 200  # each up to 128 KiB
PAUSE = 0.02  # seconds between two transactions, in which the gateway writes
BATCHES_KEPT = timedelta(days=1)
ORPHANS_KEPT = timedelta(days=7)  # captures of a deleted deployment
# What people do without a change of status: it stays even when they are deleted, and with them their name.
BY_PEOPLE = ("accepted", "edited", "rejected", "undeploy_asked")


def sweep(seconds: float = 20) -> bool:
    """Delete what is due, for so long at most; False if something is left for another run."""
    until = time.monotonic() + seconds
    for _ in _deletions(timezone.now()):
        if time.monotonic() >= until:
            return False
        time.sleep(PAUSE)
    return True


def _deletions(now: datetime) -> Iterator[int]:
    """Every transaction's number of deleted rows."""
    yield from _older(UsageRecord.objects.all(), "at", now - timedelta(days=settings.USAGE_DAYS))
    yield from _older(UsageHour.objects.all(), "start", now - timedelta(days=settings.USAGE_HOURS_DAYS))
    passing = Event.objects.filter(status="", by=None).exclude(code__in=BY_PEOPLE)
    yield from _older(passing, "at", now - timedelta(days=settings.EVENT_DAYS))
    yield from _all(Batch.objects.filter(at__lt=now - BATCHES_KEPT), AT_ONCE)
    kept = dict(Deployment.objects.values_list("pk", "capture_days"))
    for deployment_id in Capture.objects.order_by("deployment_id").values_list("deployment_id", flat=True).distinct():
        age = timedelta(days=kept[deployment_id]) if deployment_id in kept else ORPHANS_KEPT
        yield from _all(Capture.objects.filter(deployment_id=deployment_id, at__lt=now - age), CAPTURES_AT_ONCE)


def _older(rows: QuerySet[Any], field: str, moment: datetime) -> Iterator[int]:
    """By ranges of IDs: there is no index on the time alone."""
    end = first_id(rows, field, moment)
    start = 0
    while start < end:
        ids = rows.filter(pk__gte=start, pk__lt=end).order_by("pk").values_list("pk", flat=True)
        stop = next(iter(ids[AT_ONCE : AT_ONCE + 1]), end)
        yield rows.filter(pk__gte=start, pk__lt=stop, **{f"{field}__lt": moment}).delete()[0]
        start = stop


def _all(rows: QuerySet[Any], at_once: int) -> Iterator[int]:
    while ids := list(rows.order_by("pk").values_list("pk", flat=True)[:at_once]):
        yield rows.model._default_manager.filter(pk__in=ids).delete()[0]
