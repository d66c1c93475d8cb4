"""Events: the timeline with stage, cause, next step and the log's lines; filtered, and kept up to date."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from apps.deployments.models import Event
from apps.deployments.statuses import Status
from apps.deployments.tabs.frame import find, page

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
GOOD, BAD = frozenset({Status.DEPLOYED}), frozenset({Status.FAILED})


def events(request: HttpRequest, pk: str) -> HttpResponse:
    """The page, newest first."""
    deployment = find(request, pk)
    kind, word = request.GET.get("kind", ""), request.GET.get("q", "").strip()[:200]
    kind = kind if kind in KINDS else ""
    rows = deployment.events.filter(KINDS[kind][1]).select_related("by")
    if word:
        rows = rows.filter(Q(message__icontains=word) | Q(code__icontains=word) | Q(next_step__icontains=word))
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


def _tone(event: Event) -> str:
    if event.status in BAD or event.code in {"engine_died", "engine_hung", "engine_given_up", "rolled_back"}:
        return "bad"
    return "good" if event.status in GOOD or event.code == "engine_ready" else ""


def _detail(event: Event) -> dict[str, Any]:
    """What of an event's detail people read."""
    detail = event.detail
    return {"cause": detail.get("cause"), "exit_code": detail.get("exit_code"), "replica": detail.get("replica"),
            "log": detail.get("log") or []}  # fmt: skip
