"""Usage in the admin: of everything, of one deployment, and what is kept of its calls."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from urllib.parse import urlencode

from django.contrib.admin.sites import AdminSite
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _
from django.views import View

from apps.deployments.models import Deployment
from apps.deployments.tabs.frame import find, page
from apps.deployments.usage import reports
from apps.deployments.usage.models import Capture, Gap, UsageDay, UsageRecord
from apps.deployments.usage.sheets import sheet
from modelyard import console

SEE, SEE_CAPTURES = "deployments.view_usagerecord", "deployments.view_capture"
PERIODS = {"month": _("This month"), "last": _("Last month"), "today": _("Today"), "30": _("30 days")}
LINES, RECORDS, CAPTURES = 100, 100, 25  # shown at once
CHART_HEIGHT = 100


@dataclass(frozen=True, slots=True)
class Period:
    """What a page is about: calendar days of the installation's zone, `end` is the first after."""

    name: str
    start: date
    end: date

    @classmethod
    def of(cls, request: HttpRequest) -> "Period":
        """What the address asks for; this month unless it says."""
        name = request.GET.get("period", "")
        today = reports.today()
        first, tomorrow = today.replace(day=1), today + timedelta(days=1)
        if name == "last":
            return cls(name, (first - timedelta(days=1)).replace(day=1), first)
        if name == "today":
            return cls(name, today, tomorrow)
        if name == "30":
            return cls(name, today - timedelta(days=29), tomorrow)
        return cls("month", first, reports.following(first))

    @property
    def every(self) -> Literal["hour", "day"]:
        """What a bar of the chart is."""
        return "hour" if self.name == "today" else "day"

    def series(self, deployment: str) -> list[tuple[Any, reports.Totals]]:
        """What the chart shows."""
        if self.every == "day":
            return reports.series("day", self.start, self.end, deployment=deployment)
        begin, end = (timezone.make_aware(datetime.combine(day, time())).astimezone(UTC) for day in
                      (self.start, self.end))  # fmt: skip
        # Hours are summed in UTC: where the zone is off by half an hour, the first began before midnight.
        return reports.series("hour", begin.replace(minute=0), end, deployment=deployment)


def may_see(request: HttpRequest) -> bool:
    """For the sidebar."""
    return console.may(request, SEE)


class UsagePage(View):
    """What all deployments used."""

    admin_site: AdminSite = None  # type: ignore[assignment]

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The page, or its table as a sheet."""
        if not self.admin_site.has_permission(request):
            return redirect("admin:login")
        console.require(request, SEE)
        period = Period.of(request)
        by = request.GET.get("by", "key")
        if by in {"key", "deployment", "model"} and request.GET.get("as") == "csv":
            lines = reports.table(by, "", period.start, period.end)  # type: ignore[arg-type]
            return sheet(f"usage-by-{by}", reports.HEADS, map(reports.cells, lines))
        deployments = reports.by_deployment(period.start, period.end)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Usage"),
            **_report(period, ""),
            "deployments": _with_links(deployments),
            "missing": _missing(period),
            "nothing_yet": not deployments and not UsageDay.objects.exists(),
        }
        return TemplateResponse(request, "deployments/admin/usage.html", context)


def of_deployment(request: HttpRequest, pk: str) -> HttpResponseBase:
    """Usage: what each key of a deployment used, and its latest calls."""
    deployment = find(request, pk)
    console.require(request, SEE)
    period = Period.of(request)
    if request.GET.get("as") == "csv":
        lines = reports.table("key", "", period.start, period.end, deployment=deployment.pk)
        return sheet(f"usage-{deployment.pk}", reports.HEADS, map(reports.cells, lines))
    kept = deployment.captures and console.may(request, SEE_CAPTURES)

    def context() -> dict[str, Any]:
        return {**_report(period, deployment.pk), **_calls(period, deployment.pk), "kept": kept}

    return page(request, deployment, "usage", "usage_tab.html", context)


def _calls(period: Period, deployment: str) -> dict[str, Any]:
    """The latest calls, and where all of the period's are."""
    records = UsageRecord.objects.filter(deployment_id=deployment).order_by("-at", "-id")[:RECORDS]
    asked = {"deployment": deployment, "from": period.start, "to": period.end, "as": "csv"}
    return {
        "records": [(record, console.badge(str(record.status), _tone(record))) for record in records],
        "records_sheet": f"{reverse('usagerecord-list')}?{urlencode(asked)}",
    }


def captures(request: HttpRequest, pk: str) -> HttpResponse:
    """What was kept of a deployment's calls, redacted: the latest, or one call's."""
    deployment = find(request, pk)
    console.require(request, SEE_CAPTURES)
    return page(request, deployment, "usage", "usage_captures.html", lambda: _captures(request, deployment))


def _captures(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    rows = Capture.objects.filter(deployment_id=deployment.pk)
    if call := request.GET.get("request"):
        rows = rows.filter(request_id=call)
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    found = list(rows[: CAPTURES + 1])
    shown = found[:CAPTURES]
    return {"captures": shown, "older": shown[-1].pk if len(found) > CAPTURES else None, "call": call}


def _report(period: Period, deployment: str) -> dict[str, Any]:
    """What both pages show."""
    lines = reports.by_key(period.start, period.end, deployment=deployment)
    totals = reports.Totals()
    for line in lines:
        totals.add(line.totals)
    return {
        "period": period,
        "periods": [(f"?period={name}", title, name == period.name) for name, title in PERIODS.items()],
        "totals": totals,
        "chart": _chart(period, deployment) if totals.requests else None,
        "keys": _with_links(lines[:LINES]),
        "more_keys": max(len(lines) - LINES, 0),
    }


def _chart(period: Period, deployment: str) -> dict[str, Any]:
    """Bars of tokens, prompts below and completions above; of requests where there are no tokens."""
    line = period.series(deployment)
    of_tokens = any(totals.tokens for _, totals in line)
    pairs = [(t.prompt_tokens, t.completion_tokens) if of_tokens else (t.requests, 0) for _, t in line]
    most = max(map(sum, pairs)) or 1
    bars = []
    for place, ((start, totals), (lower, upper)) in enumerate(zip(line, pairs, strict=True)):
        below, above = lower / most * CHART_HEIGHT, upper / most * CHART_HEIGHT
        bars.append({
            "x": place * 10 + 1, "lower_y": CHART_HEIGHT - below, "lower": below,
            "upper_y": CHART_HEIGHT - below - above, "upper": above, "when": _when(start), "totals": totals,
        })  # fmt: skip
    return {
        "bars": bars, "width": len(bars) * 10, "height": CHART_HEIGHT, "most": most, "of_tokens": of_tokens,
        "first": bars[0]["when"], "last": bars[-1]["when"], "every": period.every,
    }  # fmt: skip


def _when(start: date | datetime) -> str:
    if isinstance(start, datetime):
        return date_format(timezone.localtime(start), "H:i")
    return date_format(start, "MONTH_DAY_FORMAT")


def _with_links(lines: list[reports.Line]) -> list[tuple[reports.Line, bool]]:
    """Each line, and whether its deployment is still there."""
    ids = {line.deployment_id or line.id for line in lines}
    there = set(Deployment.objects.filter(pk__in=ids).values_list("pk", flat=True))
    return [(line, (line.deployment_id or line.id) in there) for line in lines]


def _missing(period: Period) -> int:
    """Calls that the ledger lacks, and therefore the sums."""
    begin, end = (timezone.make_aware(datetime.combine(day, time())) for day in (period.start, period.end))
    return Gap.objects.filter(at__gte=begin, at__lt=end).aggregate(lost=Sum("lost"))["lost"] or 0


def _tone(record: UsageRecord) -> str:
    if record.status == 499:
        return "calm"
    return "good" if record.status < 400 else "bad" if record.status >= 500 else "warn"
