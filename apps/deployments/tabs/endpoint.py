"""Model Endpoint: where it answers, how its replicas are, how to call it, and the test console."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from apps.deployments import operations
from apps.deployments.models import Deployment, Replica
from apps.deployments.statuses import ReplicaState, Role, Status
from apps.deployments.tabs import snippets
from apps.deployments.tabs.frame import find, page
from modelyard import console
from modelyard.problems import Problem
from modelyard.runtimes import Route
from modelyard.serving import base_url

INVOKE = "deployments.invoke_deployment"
ENDED = 5  # replicas that are shown beside those that haven't
DEATHS = 200  # events that are looked at for the reason of an end
TONES = {
    ReplicaState.READY: "good", ReplicaState.STARTING: "busy", ReplicaState.WAITING: "busy",
    ReplicaState.UNHEALTHY: "bad", ReplicaState.DRAINING: "busy", ReplicaState.ENDED: "calm",
}  # fmt: skip
ADDRESSES = (
    ("chat", "/v1/chat/completions"), ("embed", "/v1/embeddings"), ("rerank", "/v1/rerank"),
    ("classify", "/v1/classify"), ("classify", "/classify"),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One replica of the table."""

    row: Replica
    badge: SafeString
    since: Any
    reason: str


def endpoint(request: HttpRequest, pk: str) -> HttpResponse:
    """The page."""
    deployment = find(request, pk)
    routes = list(operations.routes(deployment))
    code, no_code = snippets.offered(deployment, base_url(request))
    in_v1 = any(route.path.startswith("/v1/") for route in routes)
    context = {
        "lines": replica_lines(deployment),
        "memory": deployment.live_version or deployment.target_version,
        "base": f"{base_url(request)}/d/{deployment.pk}{'/v1' if in_v1 else ''}",
        "in_v1": in_v1,
        "snippets": code,
        "streams": any(snippet.streamed for snippet in code),
        "no_snippets": no_code,
        **_console(request, deployment, routes),
    }
    return page(request, deployment, "detail", "endpoint.html", context, live=True)


def replica_lines(deployment: Deployment) -> list[Line]:
    """All replicas that run or are about to, then those that ended last."""
    ends = Q(code__in=["engine_died", "engine_given_up", "engine_hung", "rolled_back"]) | Q(status=Status.FAILED)
    reasons: dict[str, str] = {}
    for replica, message in deployment.events.filter(ends).values_list("detail__replica", "message")[:DEATHS]:
        reasons.setdefault(str(replica), message)
    rows = operations.known_replicas(deployment, ended=ENDED)
    return [Line(row, _badge(row), _since(row), reasons.get(row.pk, "")) for row in rows]


def _badge(row: Replica) -> SafeString:
    state = ReplicaState(row.state)
    return console.badge(str(state.label) if row.role == Role.SERVING else str(Role(row.role).label), TONES[state])


def _since(row: Replica) -> Any:
    """Since when it is in its state."""
    times = {
        ReplicaState.READY: row.ready_at, ReplicaState.STARTING: row.launched_at, ReplicaState.WAITING: row.created_at,
        ReplicaState.UNHEALTHY: row.probed_at, ReplicaState.DRAINING: row.draining_at, ReplicaState.ENDED: row.ended_at,
    }  # fmt: skip
    return times[ReplicaState(row.state)]


def _console(request: HttpRequest, deployment: Deployment, routes: list[Route]) -> dict[str, Any]:
    """What the test console can do here, or why nothing."""
    paths = {route.path for route in routes if route.method == "POST"}
    modes: dict[str, str] = {}
    for mode, path in ADDRESSES:
        if path in paths:
            modes.setdefault(mode, path)
    return {
        "may_invoke": console.may(request, INVOKE),
        "serves": deployment.status == Status.DEPLOYED or deployment.live_version_id is not None,
        "modes": modes,
        "mode_tabs": [(mode, _mode_title(mode)) for mode in [*modes, "raw"]],
        "routes": _requests(deployment, routes),
        "sample": _sample(deployment),
        "invoke_url": reverse("invoke", args=[deployment.pk, "-"]).removesuffix("-"),
        "gateway": f"{base_url(request)}/d/{deployment.pk}",
    }


def _requests(deployment: Deployment, routes: list[Route]) -> list[tuple[str, str, str]]:
    """Method, path and summary of what can be sent; not what has a segment that only the engine knows."""
    name = quote(deployment.name, safe="")
    found = [(route.method, route.path.replace("{name}", name), route.summary) for route in routes]
    return sorted((each for each in found if "{" not in each[1]), key=lambda each: (each[0] != "POST", each[1]))


def _mode_title(mode: str) -> str:
    return {
        "chat": _("Chat"), "embed": _("Embeddings"), "rerank": _("Rerank"), "classify": _("Classify"),
    }.get(mode, _("Any request"))  # fmt: skip


def _sample(deployment: Deployment) -> dict[str, Any]:
    try:
        found = operations.sample_of(deployment)
    except Problem:
        return {"path": "", "method": "POST", "text": "{}"}
    return {
        "path": found.path,
        "method": found.method,
        "text": json.dumps(dict(found.body), ensure_ascii=False, indent=2),
    }
