"""The API of usage: records of single calls, and sums. What is asked for as CSV is sent as it is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from django.db.models import Q, QuerySet
from django.http.response import HttpResponseBase
from django.utils import timezone
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, viewsets
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.deployments.usage import reports
from apps.deployments.usage.filters import CaptureFilter, RecordFilter, account_of, indexed, moment
from apps.deployments.usage.models import Capture, UsageRecord
from apps.deployments.usage.serializers import CaptureSerializer, UsageRecordSerializer, UsageSummarySerializer
from apps.deployments.usage.sheets import sheet
from modelyard.api.errors import ProblemSerializer
from modelyard.problems import Problem

SEE, SEE_CAPTURES = "deployments.view_usagerecord", "deployments.view_capture"
REFUSED = {400: OpenApiResponse(ProblemSerializer, description="What is wrong, and what to do next.")}
AS = OpenApiParameter("as", str, enum=["json", "csv"], description="csv: everything, for a sheet.")
LINES = 10_000  # of a summary as JSON
COLUMNS = UsageRecordSerializer.Meta.fields


class RecordPages(CursorPagination):
    """`?page_size=100&cursor=…`, newest first. Nothing is counted: there may be ten million."""

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        """By what an index is in the order of."""
        return ordering(request)


def ordering(request: Request) -> tuple[str, ...]:
    """Calls of one key or deployment by time, all of them by ID, which is about the same."""
    return ("-at", "-id") if indexed(request.query_params) else ("-id",)


@extend_schema_view(
    list=extend_schema(
        summary="List calls",
        parameters=[AS],
        responses={
            (200, "application/json"): UsageRecordSerializer(many=True),
            (200, "text/csv"): OpenApiTypes.STR,
            **REFUSED,
        },
    )
)
class UsageRecordViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[UsageRecord]):
    """The ledger: every call that had a valid key, answered or refused, newest first."""

    queryset = UsageRecord.objects.all()
    serializer_class = UsageRecordSerializer
    pagination_class = RecordPages
    filterset_class = RecordFilter
    filter_backends = [DjangoFilterBackend]
    verb_permissions = {"list": SEE}

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """A page of them; as CSV all."""
        if request.query_params.get("as") != "csv":
            return super().list(request, *args, **kwargs)
        rows = self.filter_queryset(self.get_queryset()).order_by(*ordering(request))
        return sheet("usage-records", COLUMNS, records(rows))


class CapturePages(CursorPagination):
    """`?page_size=25&cursor=…`, newest first: each of them may have 128 KiB."""

    page_size = 25
    page_size_query_param = "page_size"
    max_page_size = 100
    ordering = "-id"


@extend_schema_view(list=extend_schema(summary="List inputs and outputs that were kept"))
class CaptureViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Capture]):
    """What was kept of calls, redacted, where a deployment asks for that."""

    queryset = Capture.objects.all()
    serializer_class = CaptureSerializer
    pagination_class = CapturePages
    filterset_class = CaptureFilter
    filter_backends = [DjangoFilterBackend]
    verb_permissions = {"list": SEE_CAPTURES}


def records(rows: QuerySet[UsageRecord], at_once: int = 2000) -> Iterator[Sequence[Any]]:
    """All rows of a query in the order of `ordering`, by short queries: a long one would hold up the database."""
    by_time = rows.query.order_by[0] == "-at"
    place = {name: COLUMNS.index(name) for name in ("id", "at")}
    some = list(rows.values_list(*COLUMNS)[:at_once])
    while some:
        yield from some
        last, at = some[-1][place["id"]], some[-1][place["at"]]
        rest = rows.filter(at__lte=at).exclude(Q(at=at) & Q(id__gte=last)) if by_time else rows.filter(id__lt=last)
        some = list(rest.values_list(*COLUMNS)[:at_once])


@dataclass(frozen=True, slots=True)
class Question:
    """What a summary is asked for; `start` and `end` are dates, for hours times."""

    by: reports.By
    every: reports.Every
    start: date | datetime
    end: date | datetime
    account: str | None
    deployment: str

    @classmethod
    def of(cls, request: Request) -> "Question":
        """From the address; a Problem for what can't be answered."""
        given = request.query_params
        by, every = given.get("by", "key"), given.get("every", "")
        if by not in {"key", "deployment", "model"} or every not in {"", "hour", "day", "month"}:
            step = "`by` is key, deployment or model; `every` is hour, day, month or left out."
            raise Problem("invalid_summary", "There is no such summary.", step, status=400)
        now = timezone.localtime()
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        start = moment(given["from"], "from") if given.get("from") else first
        end = moment(given["to"], "to") if given.get("to") else now
        whole = _hours if every == "hour" else _days
        account = account_of(given["key"]) if given.get("key") else None
        return cls(by, every, *whole(start, end), account, given.get("deployment", ""))  # type: ignore[arg-type]

    def lines(self) -> Iterator[reports.Line]:
        """The answer."""
        return reports.table(
            self.by, self.every, self.start, self.end, account=self.account, deployment=self.deployment
        )


def _hours(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Whole hours that have both in them, as they are summed: in UTC."""
    first = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    last = end.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return first, last if last == end else last + timedelta(hours=1)


def _days(start: datetime, end: datetime) -> tuple[date, date]:
    """Whole days that have both in them."""
    last = timezone.localtime(end)
    midnight = not (last.hour or last.minute or last.second or last.microsecond)
    return timezone.localdate(start), last.date() if midnight else last.date() + timedelta(days=1)


class UsageSummaryView(APIView):
    """What keys, deployments or models used."""

    verb_permissions = {"get": SEE}

    @extend_schema(
        summary="Sum up usage",
        responses={(200, "application/json"): UsageSummarySerializer, (200, "text/csv"): OpenApiTypes.STR, **REFUSED},
        parameters=[
            OpenApiParameter("by", str, enum=["key", "deployment", "model"], description="key unless told."),
            OpenApiParameter("every", str, enum=["hour", "day", "month"], description="Left out: one line for each."),
            OpenApiParameter("from", str, description="A date or time; left out: the first of this month."),
            OpenApiParameter("to", str, description="The first moment after; left out: now. Begun hours and days count "
                                                    "as a whole."),
            OpenApiParameter("key", str, description="ID of a key: of it and of those it was rotated to or from."),
            OpenApiParameter("deployment", str, description="ID of a deployment."),
            AS,
        ],
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponseBase:
        """Sums of hours (UTC) for `every=hour`, else of days in the installation's time zone."""
        asked = Question.of(request)
        if request.query_params.get("as") == "csv":
            return sheet(f"usage-by-{asked.by}", reports.HEADS, map(reports.cells, asked.lines()))
        found = list(islice(asked.lines(), LINES + 1))
        if len(found) > LINES:
            step = "Ask for a shorter stretch of time, for one key or deployment, or with `as=csv`."
            raise Problem("too_many_lines", f"These are more than {LINES} lines.", step, status=400)
        body = {"by": asked.by, "every": asked.every, "from": asked.start.isoformat(), "to": asked.end.isoformat()}
        results = [dict(zip(reports.HEADS, reports.cells(line), strict=True)) for line in found]
        return Response(body | {"results": results})
