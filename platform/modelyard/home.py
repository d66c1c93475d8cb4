"""The home page: what runs and what doesn't, what traffic there was, what the machine has left, what happened last."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.contrib.admin.sites import AdminSite
from django.core.cache import cache
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views import View

from apps.deployments.listing import WORDS, progress_of, status_of
from apps.deployments.models import Deployment, Event, Replica
from apps.deployments.monitoring import snapshots, troubles
from apps.deployments.statuses import WORKING, ReplicaState, Status
from apps.deployments.usage import reports
from apps.deployments.usage.latencies import percentile, sampled
from apps.deployments.usage.pages import may_see as may_see_usage
from apps.models.models import Model
from modelyard import console, health
from modelyard.launchers.host import this_host

EVENTS, SHOWN, TAKERS = 12, 8, 5  # events, deployments of one kind, and engines that take most
PERIODS = {"24h": _("24 hours"), "7d": _("7 days"), "30d": _("30 days")}
KEPT = 20  # seconds that the traffic's figures are shown before they are asked for again
VIEW = "deployments.view_deployment"
PRIMARY, CALM, BAD, WARN = "var(--color-primary-600)", "var(--color-base-400)", "#dc2626", "#ca8a04"
CHARTS = {"requests": (PRIMARY, BAD, WARN), "tokens": (PRIMARY, CALM), "latency": (PRIMARY, CALM)}
"""The charts, and the colour of each of their series."""


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the home page shows at first; its script asks for the rest, and for what changes."""
    if not console.may(request, VIEW):
        return context
    return context | {
        **_now(request),
        "shown": True,
        "may_see_usage": may_see_usage(request),
        "periods": PERIODS,
        "charts": {name: _empty_chart(colours) for name, colours in CHARTS.items()},
        "may_import": console.may(request, "models.import_model"),
        "may_add": console.may(request, "deployments.add_deployment"),
    }


def _empty_chart(colours: Sequence[str]) -> str:
    """As unfold's charts take it; the page's script fills it."""
    series = [{"data": [], "backgroundColor": each, "borderColor": each, "displayYAxis": True} for each in colours]
    return json.dumps({"labels": [], "datasets": series})


def _now(request: HttpRequest) -> dict[str, Any]:
    counted = dict(Deployment.objects.order_by().values_list("status").annotate(count=Count("*")))
    rows = Deployment.objects.select_related("target_version").order_by("-status_at")
    working = list(rows.filter(status__in=WORKING)[:SHOWN]) if any(counted.get(each) for each in WORKING) else []
    failing = list(rows.filter(status=Status.FAILED)[:SHOWN]) if counted.get(Status.FAILED) else []
    progress = progress_of(working)
    return {
        "tiles": [(words, counted.get(status, 0), status.value) for status, words in WORDS.items()],
        "failing": failing,
        "more_failing": counted.get(Status.FAILED, 0) - len(failing),
        "working": [(row, status_of(row, progress.get(row.pk))) for row in working],
        "events": Event.objects.select_related("deployment", "by")[:EVENTS] if counted else [],
        "no_deployments": not counted,
        "no_models": not counted and not Model.objects.exists(),
        "may_retrigger": console.may(request, "deployments.deploy_deployment"),
        "machine": _machine(),
        "parts": _parts(),
        "troubles": troubles.troubles(),
    }


# --- The machine ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """How much of something is taken."""

    name: str
    taken: int
    total: int

    @property
    def high(self) -> bool:
        """Whether it is about to run out."""
        return self.taken > self.total * 0.9


def _machine() -> dict[str, Any]:
    host = this_host()
    disk = shutil.disk_usage(settings.MODELS_DIR)
    memory, free = host.memory_total, host.memory_available
    shares = [Share(gettext("Memory"), memory - free, memory), Share(gettext("Disk"), disk.used, disk.total)]
    shares += [Share(gpu.name, gpu.memory_total - gpu.memory_free, gpu.memory_total) for gpu in host.gpus]
    running = Replica.objects.exclude(state=ReplicaState.ENDED)
    rows = list(running.values_list("deployment_id", "deployment__name", "memory").order_by("pk"))
    takers: dict[tuple[str, str], int] = {}
    for pk, name, taken in rows:
        takers[pk, name] = takers.get((pk, name), 0) + (taken or 0)
    most = sorted(takers.items(), key=lambda item: -item[1])
    return {"shares": shares, "cpus": host.cpus, "engines": len(rows), "engines_take": sum(takers.values()),
            "takers": most[:TAKERS], "no_gpus": not host.gpus}  # fmt: skip


# --- The parts of the service -----------------------------------------------------------------------------------------


def _parts() -> list[tuple[str, str, str]]:
    """Each part, a tone, and what is to be said of it. The database isn't asked: this page came from it."""
    redis = health.redis()
    workers = str(health.UNKNOWN) if redis else health.workers()
    alive = [each for each in snapshots.read(settings.RUN_DIR) if each.alive]
    ledgers = [each.content["ledger"] for each in alive]
    dropped, waiting = (sum(each[name] for each in ledgers) for name in ("dropped", "waiting"))
    written = gettext("%(waiting)s calls wait to be written, none was dropped") % {"waiting": waiting}
    lost = gettext("%(dropped)s calls were dropped, %(waiting)s wait") % {"dropped": dropped, "waiting": waiting}
    answering = ngettext("%(count)s process answers calls", "%(count)s processes answer calls", len(alive))
    web = answering % {"count": len(alive)}
    return [
        (gettext("Gateway"), "good" if alive else "bad", web),
        (gettext("Workers and schedule"), "bad" if workers else "good", workers or gettext("heard of lately")),
        ("Redis", "bad" if redis else "good", redis or gettext("answers")),
        (gettext("Usage ledger"), "warn" if dropped else "good", lost if dropped else written),
    ]


# --- Traffic ----------------------------------------------------------------------------------------------------------


def _stretches(period: str) -> tuple[list[datetime], timedelta, list[tuple[Any, reports.Totals]]]:
    """The moments at which its hours or days begin, how long they are, and what calls came to in each."""
    if period == "24h":
        this_hour = timezone.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        begin, end = this_hour - timedelta(hours=23), this_hour + timedelta(hours=1)
        line = reports.series("hour", begin, end)
        return [moment for moment, _ in line if isinstance(moment, datetime)], timedelta(hours=1), line
    today = reports.today()
    begin_day = today - timedelta(days=6 if period == "7d" else 29)
    line = reports.series("day", begin_day, today + timedelta(days=1))
    starts = [timezone.make_aware(datetime.combine(day, time())) for day, _ in line]
    return starts, timedelta(days=1), line


def traffic(period: str) -> dict[str, Any]:
    """What the charts and figures of a period show."""
    starts, step, line = _stretches(period)
    times = sampled(starts, step)
    totals = reports.Totals()
    for _start, each in line:
        totals.add(each)

    def of(name: str) -> list[int]:
        return [getattr(each, name) for _, each in line]

    def p95(values: Sequence[Sequence[float]]) -> list[float | None]:
        return [_rounded(percentile(each)) for each in values]

    return {
        "starts": [moment.isoformat() for moment, _ in line],  # days as dates: they are the installation's
        "hours": period == "24h",
        "totals": {"requests": totals.requests, "tokens": totals.tokens, "errors": totals.errors,
                   "limited": totals.limited, "p95": _rounded(percentile(times.whole.duration)),
                   "ttft": _rounded(percentile(times.whole.first_token))},
        "requests": of("requests"),
        "charts": {
            "requests": [[each.requests - each.errors - each.limited for _, each in line], of("errors"), of("limited")],
            "tokens": [of("prompt_tokens"), of("completion_tokens")],
            "latency": [p95([each.duration for each in times.line]), p95([each.first_token for each in times.line])],
        },
        "sampled": times.looked_at if times.every > 1 else 0,
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


class NowPage(View):
    """What the home page shows of this moment, as the part of it that its script puts in."""

    admin_site: AdminSite = None  # type: ignore[assignment]

    def get(self, request: HttpRequest) -> HttpResponse:
        """The part."""
        console.require(request, VIEW)
        return TemplateResponse(request, "modelyard/home_now.html", _now(request))


class TrafficFigures(View):
    """The figures of the home page's charts."""

    admin_site: AdminSite = None  # type: ignore[assignment]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Of one period."""
        console.require(request, "deployments.view_usagerecord")
        period = request.GET.get("period", "24h")
        if period not in PERIODS:
            return HttpResponse(status=404)
        return JsonResponse(cache.get_or_set(f"home:traffic:{period}", lambda: traffic(period), KEPT))
