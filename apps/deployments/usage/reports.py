"""What was used, from the sums only: ten million records in the ledger don't make an answer slower."""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, Literal

from django.db.models import Max, QuerySet, Sum
from django.db.models.functions import TruncMonth
from django.utils import timezone

from apps.deployments.models import Deployment
from apps.deployments.usage.models import UsageDay, UsageHour, UsageRecord

By = Literal["key", "deployment", "model"]
Every = Literal["", "hour", "day", "month"]
Moment = date | datetime


@dataclass(slots=True)
class Totals:
    """What calls came to. Milliseconds and bytes are sums over them."""

    requests: int = 0
    errors: int = 0
    limited: int = 0
    estimated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    duration_ms: float = 0
    first_byte_ms: float = 0

    @property
    def tokens(self) -> int:
        """Of prompts and completions."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def mean_ms(self) -> float | None:
        """What a request took on average."""
        return self.duration_ms / self.requests if self.requests else None

    def add(self, other: "Totals | Mapping[str, Any]") -> None:
        """Add others, or a row of sums."""
        for name in SUMMED:
            more = other[name] if isinstance(other, Mapping) else getattr(other, name)
            setattr(self, name, getattr(self, name) + (more or 0))


SUMMED = tuple(each.name for each in fields(Totals))
SUMS = {name: Sum(name) for name in SUMMED}


@dataclass(slots=True)
class Line:
    """What one key, deployment or model used in one stretch of time; `start` is empty for the whole of it."""

    start: Moment | None
    id: str
    name: str
    deployment_id: str
    deployment_name: str
    totals: Totals = field(default_factory=Totals)


HEADS = ("start", "id", "name", "deployment_id", "deployment_name", *SUMMED)
"""What a line has, in a sheet and in the API."""


def cells(line: Line) -> tuple[Any, ...]:
    """A line in the order of HEADS."""
    start = line.start.isoformat() if line.start else None
    return (start, line.id, line.name, line.deployment_id, line.deployment_name, *astuple(line.totals))


def table(
    by: By, every: Every, start: Moment, end: Moment, *, account: str | None = None, deployment: str = ""
) -> Iterator[Line]:
    """Lines from `start` on and before `end`, by time, the largest first; an account of "" is people without a key."""
    rows = _rows(every, start, end, account, deployment)
    stretch = {"stretch": TruncMonth("start")} if every == "month" else {}
    groups = {"key": ("account", "key_name", "deployment_id", "deployment_name")}.get(
        by, ("deployment_id", "deployment_name")
    )
    when = {"": (), "month": ("stretch",)}.get(every, ("start",))
    found = rows.values(*groups, *(() if every == "month" else when), **stretch)
    summed = found.annotate(latest=Max("start"), **SUMS).order_by(*when, "latest")
    models = _models(rows) if by == "model" else {}
    for moment, group in groupby(summed.iterator(), lambda row: row[when[0]] if when else None):
        lines: dict[tuple[str, str], Line] = {}
        for row in group:
            line = _line(by, moment, row, models)
            known = lines.setdefault((line.id, line.deployment_id), line)
            known.name, known.deployment_name = line.name, line.deployment_name  # later names come later
            known.totals.add(row)
        yield from sorted(lines.values(), key=lambda line: (-line.totals.tokens, -line.totals.requests, line.name))


def by_key(start: Moment, end: Moment, *, deployment: str = "") -> list[Line]:
    """A line for each key, rotated ones together, and for people without a key."""
    return list(table("key", "", start, end, deployment=deployment))


def by_deployment(start: Moment, end: Moment) -> list[Line]:
    """A line for each deployment, deleted ones too."""
    return list(table("deployment", "", start, end))


def month(account: str, year: int, number: int) -> Totals:
    """What a key used in a calendar month of the installation's time zone."""
    first = date(year, number, 1)
    return total(first, following(first), account=account)


def total(start: Moment, end: Moment, *, account: str | None = None, deployment: str = "") -> Totals:
    """Everything from `start` on and before `end`."""
    found = Totals()
    found.add(_rows("", start, end, account, deployment).aggregate(**SUMS))
    return found


def series(
    every: Literal["hour", "day"], start: Moment, end: Moment, *, account: str | None = None, deployment: str = ""
) -> list[tuple[Moment, Totals]]:
    """Totals of each hour or day, also of those without a call."""
    rows = _rows(every, start, end, account, deployment).values("start").annotate(**SUMS).order_by("start")
    found = {row["start"]: row for row in rows}
    line: list[tuple[Moment, Totals]] = []
    moment, step = start, timedelta(hours=1) if every == "hour" else timedelta(days=1)
    while moment < end:
        totals = Totals()
        totals.add(found.get(moment, {name: 0 for name in SUMMED}))
        line.append((moment, totals))
        moment += step
    return line


def following(first: date) -> date:
    """The first day of the month after that of `first`."""
    return (first.replace(day=1) + timedelta(days=32)).replace(day=1)


def today() -> date:
    """The calendar day in the installation's time zone."""
    return timezone.localdate()


def _rows(every: Every, start: Moment, end: Moment, account: str | None, deployment: str) -> QuerySet[Any]:
    table_: type[UsageHour | UsageDay] = UsageHour if every == "hour" else UsageDay
    rows: QuerySet[Any] = table_._default_manager.filter(start__gte=start, start__lt=end)
    if account is not None:
        rows = rows.filter(account=account)
    return rows.filter(deployment_id=deployment) if deployment else rows


def _line(by: By, moment: Moment | None, row: Mapping[str, Any], models: Mapping[str, tuple[str, str]]) -> Line:
    deployment = (row["deployment_id"], row["deployment_name"])
    if by == "key":
        return Line(moment, row["account"], row["key_name"], *deployment)
    if by == "deployment":
        return Line(moment, *deployment, "", "")
    return Line(moment, *models.get(deployment[0], ("", "")), "", "")


def _models(rows: QuerySet[Any]) -> dict[str, tuple[str, str]]:
    """The model of each deployment; of a deleted one what its last call in the ledger says, if it is still there."""
    ids = set(rows.order_by().values_list("deployment_id", flat=True).distinct())
    known = Deployment.objects.filter(pk__in=ids).values_list("pk", "model_id", "model__name")
    models = {pk: (model_id, name) for pk, model_id, name in known}
    for pk in ids - models.keys():
        last = UsageRecord.objects.filter(deployment_id=pk).exclude(model_id="").order_by("-at").first()
        models[pk] = (last.model_id, last.model_name) if last else ("", "")
    return models
