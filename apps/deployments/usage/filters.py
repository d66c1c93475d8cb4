"""What the API's usage is asked for."""

from collections.abc import Mapping
from datetime import datetime, time
from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from apps.apikeys.models import ApiKey
from apps.deployments.usage.models import Capture, UsageRecord
from apps.deployments.usage.querysets import between
from modelyard.problems import Problem

YEARS = range(1970, 9999)


def moment(text: str, name: str) -> datetime:
    """A date or a time of a query, in the installation's zone where it names none; a Problem for anything else."""
    try:
        day = parse_date(text)
        # A plus that wasn't encoded arrives as a space.
        found = datetime.combine(day, time()) if day else parse_datetime(text) or parse_datetime(text.replace(" ", "+"))
    except ValueError:
        found = None
    if found is None or found.year not in YEARS:
        step = "Write it like 2026-01-31 or 2026-01-31T12:00:00Z."
        raise Problem("invalid_time", f"`{name}` is no time: {text[:40]!r}.", step, status=400)
    return timezone.make_aware(found) if timezone.is_naive(found) else found


def account_of(key: str) -> str:
    """What usage of a key hangs on; of a key that is gone, its own ID."""
    known = ApiKey.objects.filter(pk=key).values_list("account", flat=True).first()
    return known or key


def indexed(asked: Mapping[str, Any]) -> bool:
    """Whether an index has the calls that are asked for in the order of their times: those of a key or deployment."""
    return bool(asked.get("key") or asked.get("deployment"))


class RecordFilter(django_filters.FilterSet):
    """`?key=…&deployment=dep_…&from=2026-01-01&to=2026-02-01&status=429&error=rate_limited`."""

    key = django_filters.CharFilter(method="of_key", label="ID of a key: of it and of those it was rotated to or from.")
    deployment = django_filters.CharFilter(field_name="deployment_id")
    status = django_filters.CharFilter(method="having_status", label="429, or 5xx for all of 500 to 599.")
    error = django_filters.CharFilter()

    class Meta:
        model = UsageRecord
        fields = ["key", "deployment", "status", "error"]

    def of_key(self, queryset: QuerySet[UsageRecord], name: str, value: str) -> Any:
        """Calls with that key."""
        return queryset.filter(account=account_of(value))

    def having_status(self, queryset: QuerySet[UsageRecord], name: str, value: str) -> Any:
        """Calls that ended so."""
        digit, rest = value[:1], value[1:].lower()
        if digit in set("12345") and rest == "xx":
            return queryset.filter(status__gte=int(digit) * 100, status__lt=int(digit) * 100 + 100)
        if value.isascii() and value.isdigit() and len(value) == 3:
            return queryset.filter(status=int(value))
        raise Problem("invalid_status", f"No status: {value[:20]!r}.", "Write it like 429 or 5xx.", status=400)

    def since(self, queryset: QuerySet[UsageRecord], name: str, value: str) -> Any:
        """Calls that began then or later."""
        start = moment(value, name)
        return queryset.filter(at__gte=start) if indexed(self.data) else between(queryset, start, None)

    def until(self, queryset: QuerySet[UsageRecord], name: str, value: str) -> Any:
        """Calls that began before then."""
        end = moment(value, name)
        return queryset.filter(at__lt=end) if indexed(self.data) else between(queryset, None, end)


class CaptureFilter(django_filters.FilterSet):
    """`?deployment=dep_…&request_id=req_…`."""

    deployment = django_filters.CharFilter(field_name="deployment_id")
    request_id = django_filters.CharFilter(label="Of a call, as `x-request-id` and its record name it.")

    class Meta:
        model = Capture
        fields = ["deployment", "request_id"]


# Here, because `from` is a word of Python.
RecordFilter.base_filters["from"] = django_filters.CharFilter(method="since", label="Began then or later.")
RecordFilter.base_filters["to"] = django_filters.CharFilter(method="until", label="Began before then.")
