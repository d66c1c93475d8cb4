"""Finds a time in tables that have no index on it: their rows are written in about the order of their times."""

from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from apps.deployments.usage.models import UsageRecord

LATE = timedelta(days=1)  # that a row may have waited for the database


def first_id(rows: QuerySet[Any], field: str, moment: datetime | date) -> int:
    """The ID before which rows are older than the moment, found by halving: some 25 look-ups of one row each."""
    # Two questions: SQLite answers for both ends at once by reading everything.
    ids = rows.order_by("pk").values_list("pk", flat=True)
    low, last = ids.first(), ids.last()
    if low is None or last is None:
        return 0
    high = last + 1
    while low < high:
        middle = (low + high) // 2
        found = rows.filter(pk__gte=middle).order_by("pk").values_list("pk", field).first()
        if found is None or found[1] >= moment:
            high = middle
        else:
            low = found[0] + 1
    return int(low)


def between(rows: QuerySet[UsageRecord], start: datetime | None, end: datetime | None) -> QuerySet[UsageRecord]:
    """Records that began from `start` on and before `end`, looked for where they can be."""
    everything = UsageRecord.objects.all()
    if start:
        rows = rows.filter(at__gte=start, pk__gte=first_id(everything, "at", start - LATE))
    if end:
        rows = rows.filter(at__lt=end, pk__lt=first_id(everything, "at", end + LATE))
    return rows
