"""Events: the timeline with stage, cause, next step and the log's lines; filtered, and kept up to date."""

import json
from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _

from apps.deployments.models import Event
from apps.deployments.statuses import Status
from apps.deployments.tabs.frame import find, page
from apps.deployments.usage.sheets import sheet

SHOWN = 100
KINDS: Mapping[str, tuple[Any, Q]] = {
    "": (_("All"), Q()),
    "trouble": (
        _("Troubles"),
        Q(status=Status.FAILED) | Q(code__in=["engine_died", "engine_hung", "engine_unhealthy", "engine_given_up",
                                              "rolled_back", "recovering", "stalled"]),
    ),
    "people": (_("By people"), Q(by__isnull=False)),
    "status": (_("Changes of status"), ~Q(status="")),
    "engine": (_("Engines"), Q(code__startswith="engine_")),
}  # fmt: skip
HEADS = ("at", "by", "code", "status", "stage", "message", "next_step", "detail")
GOOD, BAD = frozenset({Status.DEPLOYED}), frozenset({Status.FAILED})


def events(request: HttpRequest, pk: str) -> HttpResponseBase:
    """The page, newest first; or all that it would show, as a table for a spreadsheet."""
    deployment = find(request, pk)
    kind, word = request.GET.get("kind", ""), request.GET.get("q", "").strip()[:200]
    kind = kind if kind in KINDS else ""
    rows = deployment.events.filter(KINDS[kind][1]).select_related("by")
    if word:
        rows = rows.filter(Q(message__icontains=word) | Q(code__icontains=word) | Q(next_step__icontains=word))
    if request.GET.get("as") == "csv":
        return sheet(f"events-{deployment.pk}", HEADS, map(_cells, rows.iterator(chunk_size=500)))
    before = request.GET.get("before", "")
    if before.isascii() and before.isdecimal() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    found = list(rows[: SHOWN + 1])
    context = {
        "events": [(event, _tone(event), _detail(event)) for event in found[:SHOWN]],
        "older": found[SHOWN - 1].pk if len(found) > SHOWN else None,
        "kinds": [(name, title, name == kind) for name, (title, _query) in KINDS.items()],
        "kind": kind,
        "word": word,
        "filtered": bool(kind or word or before),
    }
    return page(request, deployment, "events", "events.html", context, live=not before)


def _cells(event: Event) -> list[Any]:
    by = event.by.get_username() if event.by else ""
    detail = json.dumps(event.detail, ensure_ascii=False) if event.detail else ""
    return [event.at, by, event.code, event.status, event.stage, event.message, event.next_step, detail]


def _tone(event: Event) -> str:
    if event.status in BAD or event.code in {"engine_died", "engine_hung", "engine_given_up", "rolled_back"}:
        return "bad"
    return "good" if event.status in GOOD or event.code == "engine_ready" else ""


def _detail(event: Event) -> dict[str, Any]:
    """What of an event's detail people read."""
    detail = event.detail
    return {"cause": detail.get("cause"), "exit_code": detail.get("exit_code"), "replica": detail.get("replica"),
            "log": detail.get("log") or []}  # fmt: skip
