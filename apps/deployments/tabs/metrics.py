"""Metrics: traffic, latency, first token, tokens, errors and restarts over time; memory and load as they are."""

import json
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from apps.deployments.gateway import inflight
from apps.deployments.models import Deployment, Replica
from apps.deployments.statuses import ReplicaState
from apps.deployments.tabs.endpoint import replica_lines
from apps.deployments.tabs.frame import SEE_USAGE, find, page
from apps.deployments.usage.timeline import WINDOWS, Step, Timeline, timeline
from modelyard import console

COLOURS = ("var(--color-primary-600)", "var(--color-primary-300)", "#dc2626")


@dataclass(frozen=True)
class Chart:
    """One chart and, for who can't see it, its table."""

    title: str
    kind: str
    data: str
    options: str
    heads: list[str]
    rows: list[tuple[str, list[str]]]
    summary: str
    empty: bool


def metrics(request: HttpRequest, pk: str) -> HttpResponse:
    """The page."""
    deployment = find(request, pk)
    console.require(request, SEE_USAGE)
    asked = request.GET.get("window", "")
    window = WINDOWS.get(asked, WINDOWS["1h"])
    now = timezone.now()
    found = timeline(deployment, window, now) if "X-Modelyard-Parts" not in request.headers else None
    context = {
        "windows": [(f"?window={name}", _window_title(name), name == window.name) for name in WINDOWS],
        "charts": _charts(found) if found else [],
        "found": found,
        "as_of": now,
        "again": f"?window={window.name}",
        "now": _now(deployment),
    }
    return page(request, deployment, "metrics", "metrics.html", context, live=True)


def _window_title(name: str) -> str:
    return {"1h": _("1 hour"), "24h": _("24 hours"), "7d": _("7 days"), "30d": _("30 days")}[name]


def _now(deployment: Deployment) -> dict[str, Any]:
    """What is so at this moment; None where it isn't known."""
    live = [line for line in replica_lines(deployment) if line.row.state != ReplicaState.ENDED]
    flights = [(line, _in_flight(line.row)) for line in live]
    known = [count for _line, count in flights if count is not None]
    memory = [line.row.memory for line in live if line.row.memory]
    peaks = [line.row.peak_memory for line in live if line.row.peak_memory]
    return {
        "lines": flights,
        "in_flight": sum(known) if known or not live else None,
        "memory": sum(memory) or None,
        "peak": max(peaks, default=None),
        "restarts": sum(line.row.restarts for line in live),
        "ready": sum(line.row.state == ReplicaState.READY for line in live),
        "replicas": len(live),
    }


def _in_flight(row: Replica) -> int | None:
    return inflight.total(row.pk)


def _charts(found: Timeline) -> list[Chart]:
    return [
        _chart(found, "bar", _("Requests"), [(_("answered"), _answered), (_("refused by a limit"), _of("limited")),
                                             (_("errors"), _of("errors"))], stacked=True),
        _chart(found, "line", _("Latency (ms)"), [("p50", _of("latency_50")), ("p95", _of("latency_95"))]),
        _chart(found, "line", _("Time to first byte of streams (ms)"),
               [("p50", _of("ttft_50")), ("p95", _of("ttft_95"))]),
        _chart(found, "bar", _("Tokens"), [(_("prompt"), _of("prompt_tokens")),
                                           (_("completion"), _of("completion_tokens"))], stacked=True),
        _chart(found, "bar", _("Restarts of engines"), [(_("restarts"), _of("restarts"))]),
    ]  # fmt: skip


def _of(name: str) -> Any:
    return lambda step: getattr(step, name)


def _answered(step: Step) -> int | None:
    if step.requests is None:
        return None
    return step.requests - (step.errors or 0) - (step.limited or 0)


def _chart(found: Timeline, kind: str, title: str, series: list[tuple[str, Any]], *, stacked: bool = False) -> Chart:
    labels = [_when(step, found) for step in found.steps]
    values = [[_rounded(value(step)) for step in found.steps] for _name, value in series]
    drawn = 2 if kind == "line" else 0
    datasets = [
        {"label": name, "data": line, "backgroundColor": colour, "borderColor": colour, "borderWidth": drawn,
         "pointRadius": drawn, "spanGaps": False}
        for (name, _value), line, colour in zip(series, values, COLOURS, strict=False)
    ]  # fmt: skip
    rows = [
        (label, ["—" if value is None else f"{value:,}" for value in line])
        for label, *line in zip(labels, *values, strict=True)
        if any(line)
    ]
    known = [value for line in values for value in line if value]
    most = f"{max(known):,}" if known else ""
    summary = _("%(title)s: %(first)s to %(last)s, %(most)s at most in one step.") % {
        "title": title, "first": labels[0], "last": labels[-1], "most": most,
    } if known else _("%(title)s: nothing in this time.") % {"title": title}  # fmt: skip
    return Chart(title, kind, json.dumps({"labels": labels, "datasets": datasets}), _options(stacked=stacked),
                 [name for name, _value in series], rows, summary, not known)  # fmt: skip


def _options(*, stacked: bool) -> str:
    axis = {"ticks": {"color": "#9ca3af", "maxRotation": 0, "autoSkip": True}, "grid": {"display": False}}
    return json.dumps({
        "animation": False, "maintainAspectRatio": False, "responsive": True,
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {"legend": {"display": True, "position": "bottom", "labels": {"color": "#9ca3af", "boxWidth": 12}}},
        "scales": {"x": {**axis, "stacked": stacked},
                   "y": {"beginAtZero": True, "stacked": stacked, "ticks": {"color": "#9ca3af", "precision": 0},
                         "grid": {"tickWidth": 0}}},
    })  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return round(value, 1) if isinstance(value, float) else value


def _when(step: Step, found: Timeline) -> str:
    local = timezone.localtime(step.start)
    return date_format(local, "H:i" if found.window.name in {"1h", "24h"} else "j M H:i")
