"""History: v1, v2 … with who, when, how long, outcome and reason, how each ended, and what it changed."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from apps.deployments import runtimes
from apps.deployments.models import Deployment, Event, Version
from apps.deployments.statuses import Outcome
from apps.deployments.tabs.frame import find, offers, page
from modelyard import console

SHOWN = 25  # versions of a page
RUNS = 500  # starts of its versions that a page shows
TONES = {
    Outcome.PENDING: "calm", Outcome.OPTIMIZING: "busy", Outcome.UNDECIDED: "warn", Outcome.REJECTED: "calm",
    Outcome.DEPLOYING: "busy", Outcome.SUCCEEDED: "good", Outcome.FAILED: "bad", Outcome.CANCELLED: "calm",
}  # fmt: skip
ENDS, UNDEPLOY = ("stopped", "deployed"), "undeploy_asked"
STARTS = ("deploy_asked", "retrigger_asked", "redeploy_asked")


@dataclass(frozen=True)
class Change:
    """One thing that a version has otherwise than the one before; None: it isn't there."""

    what: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Undeployed:
    """How a version came to its end: asked for by a person, or brought about by the system."""

    at: datetime | None
    by: User | None
    why: str
    asked_at: datetime | None = None


@dataclass
class Entry:
    """One version as the page shows it."""

    version: Version
    badge: SafeString
    live: bool
    took: timedelta | None
    changes: list[Change]
    settings: list[tuple[str, Any]]
    undeployed: Undeployed | None
    runs: list[Event] = field(default_factory=list)


def history(request: HttpRequest, pk: str) -> HttpResponse:
    """The page, newest first."""
    deployment = find(request, pk)
    rows = deployment.versions.select_related("created_by", "deployment")
    before = request.GET.get("before", "")
    if before.isascii() and before.isdecimal() and len(before) < 10:
        rows = rows.filter(number__lt=int(before))
    found = list(rows[: SHOWN + 1])
    context = {
        "entries": list(_entries(deployment, found)),
        "older": found[SHOWN - 1].number if len(found) > SHOWN else None,
        "may_redeploy": offers(request, deployment)["redeploy"],
        "newest": deployment.target_version_id,
    }
    return page(request, deployment, "history", "history.html", context, live=True)


def _entries(deployment: Deployment, rows: Sequence[Version]) -> Iterator[Entry]:
    shown = rows[:SHOWN]
    ends = _ends(deployment, shown)
    starts = deployment.events.filter(code__in=STARTS, detail__version__in=[version.number for version in shown])
    runs = list(starts.select_related("by")[:RUNS])
    for place, version in enumerate(shown):
        previous = rows[place + 1] if place + 1 < len(rows) else None
        live = version.pk == deployment.live_version_id
        yield Entry(
            version=version,
            badge=console.badge(str(Outcome(version.outcome).label), TONES[Outcome(version.outcome)]),
            live=live,
            took=version.ready_at - version.started_at if version.ready_at and version.started_at else None,
            changes=changes(previous, version) if previous else [],
            settings=list(_settings(version).items()),
            undeployed=None if live else _undeployed(version, *ends.get(version.pk, ("", None))),
            runs=[event for event in runs if event.detail.get("version") == version.number][::-1],
        )


def changes(before: Version, after: Version) -> list[Change]:
    """What one version has otherwise than another."""
    old, new = _settings(before), _settings(after)
    names = [*new, *(name for name in old if name not in new)]
    return [Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _settings(version: Version) -> dict[str, Any]:
    """Everything that a version sets, by the name that people read."""
    found: dict[str, Any] = {
        _("Replicas"): version.replicas_wanted,
        _("Revision of the model"): version.model_revision,
        _("Optimization"): version.recipe or None,
        _("Start limit (s)"): version.ready_seconds,
    }
    if version.recipe:
        found[_("Least agreement")] = version.threshold
        found[_("Own samples")] = _samples(version.samples)
    titles = _titles(version.deployment.runtime)
    found |= {titles.get(name, name): value for name, value in version.options.items()}
    return {name: value for name, value in found.items() if value is not None}


def _samples(text: str) -> str:
    """Too long to be shown; by its sum one can tell it from another."""
    if not text:
        return _("no")
    return _("yes (SHA-256 %(sum)s…)") % {"sum": hashlib.sha256(text.encode()).hexdigest()[:12]}


def _titles(runtime: str) -> dict[str, str]:
    """What the runtime's form calls its options."""
    entry = runtimes.registry().get(runtime)
    if entry is None or entry.runtime is None:
        return {}
    return {name: field.title or name for name, field in entry.runtime.options.model_fields.items()}


def _ends(deployment: Deployment, versions: Sequence[Version]) -> dict[int, tuple[str, Event | None]]:
    """Of each version that ended the code of the event that did it, and the undeploy that was asked for before."""
    left = sorted(((each.ended_at, each.pk) for each in versions if each.ended_at), reverse=True)
    found: dict[int, tuple[str, int]] = {}
    asked = 0
    events = deployment.events.filter(code__in=(UNDEPLOY, *ENDS)).order_by("id").values_list("pk", "code", "at")
    for pk, code, at in events.iterator():
        if code == UNDEPLOY:
            asked = pk
            continue
        # Written in one transaction with the end of the version, just after the pass that brought it about began.
        while left and left[-1][0] <= at:
            found[left.pop()[1]] = code, asked
        if not left:
            break
    known = Event.objects.select_related("by").in_bulk({pk for _code, pk in found.values()})
    return {version: (code, known.get(pk)) for version, (code, pk) in found.items()}


def _undeployed(version: Version, ended: str, asked: Event | None) -> Undeployed | None:
    """By whom and when a version was taken out of service; None if it never was in it, or still is."""
    if version.ended_at is None or version.ready_at is None:
        return None
    if version.outcome == Outcome.SUCCEEDED and version.reason:
        return Undeployed(version.ended_at, None, version.reason)
    if ended != "stopped":
        return Undeployed(version.ended_at, None, _("A newer version took its place."))
    return Undeployed(version.ended_at, asked.by if asked else None, "", asked.at if asked else None)
