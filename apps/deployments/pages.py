"""The pages of one deployment in the admin: thin callers of the operations."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.apikeys import operations as apikeys
from apps.deployments import operations
from apps.deployments.configuration import FIELD_OF, LABELS, TRAFFIC, said
from apps.deployments.forms import ConfigurationForm
from apps.deployments.listing import live_state, status_of
from apps.deployments.models import Deployment
from apps.deployments.statuses import IDLE, RETRIGGERABLE, WORKING, ReplicaState, Status
from modelyard import console
from modelyard.problems import Problem
from modelyard.serving import base_url

VIEW = "deployments.view_deployment"
DEPLOY = "deployments.deploy_deployment"
TABS = (("detail", "Model Endpoint"), ("keys", "API Keys"), ("configuration", "Configurations"),
        ("optimization", "Optimization"), ("events", "Events"), ("usage", "Usage"))  # fmt: skip
EVENTS_SHOWN, LOG_LINES = 200, 200
KEY_DAYS = 30  # that a key made for a copied cURL lives
REPLICA_TONES = {
    ReplicaState.READY: "good", ReplicaState.STARTING: "busy", ReplicaState.WAITING: "busy",
    ReplicaState.UNHEALTHY: "bad", ReplicaState.DRAINING: "busy", ReplicaState.ENDED: "calm",
}  # fmt: skip
VERBS: dict[str, tuple[str, Callable[..., Any], str]] = {
    "deploy": (DEPLOY, operations.deploy, "{} is being deployed."),
    "retrigger": (DEPLOY, operations.retrigger, "{} is being deployed again."),
    "undeploy": ("deployments.undeploy_deployment", operations.undeploy, "{} is being undeployed."),
    "delete": ("deployments.delete_deployment", operations.delete, "{} was deleted."),
}


def endpoint(request: HttpRequest, pk: str) -> HttpResponse:
    """Model Endpoint: where it answers, how it is, how to call it, its versions, re-deploy."""
    deployment = find(request, pk)
    rows = deployment.replicas.select_related("version").order_by("-created_at")[:10]
    replicas = [
        (row, console.badge(ReplicaState(row.state).label, REPLICA_TONES[ReplicaState(row.state)])) for row in rows
    ]
    context = {
        "replicas": replicas,
        "versions": deployment.versions.select_related("created_by")[:20],
        "memory": deployment.live_version or deployment.target_version,
        "curl": curl_line(deployment, "$MODELYARD_API_KEY", request),
        "base": f"{base_url(request)}/d/{deployment.pk}/v1",
        "may_redeploy": deployment.status not in WORKING and console.may(request, DEPLOY),
        "in_v1": any(route.path.startswith("/v1/") for route in _routes(deployment)),
        "in_chat": any(route.path == "/v1/chat/completions" for route in _routes(deployment)),
    }
    return page(request, deployment, "detail", "endpoint.html", context)


def configuration(request: HttpRequest, pk: str) -> HttpResponse:
    """Configurations: description and tags, limits, timeouts and capture; undeploy; delete."""
    deployment = find(request, pk)
    may = console.person(request).has_perm
    form = ConfigurationForm(request.POST or None, deployment)
    if request.method == "POST":
        console.require(request, "deployments.change_deployment")
        if form.is_valid() and _edit(request, deployment, form):
            return redirect("admin:deployments_deployment_configuration", pk)
    context = {
        "form": form,
        "may_change": may("deployments.change_deployment"),
        "set": [(LABELS[name].capitalize(), said(name, getattr(deployment, name))) for name in TRAFFIC],
        "may_undeploy": may("deployments.undeploy_deployment"),
        "may_delete": may("deployments.delete_deployment"),
        "deletable": deployment.status in IDLE and not operations.live_replicas(deployment),
        "undeployable": deployment.status in WORKING or deployment.status == Status.DEPLOYED,
    }
    return page(request, deployment, "configuration", "configuration.html", context)


def _edit(request: HttpRequest, deployment: Deployment, form: ConfigurationForm) -> bool:
    try:
        operations.edit(deployment, by=console.person(request), **form.edits())
    except Problem as problem:
        form.add_error(FIELD_OF.get(problem.code), str(problem))
        return False
    messages.success(request, "Saved." if form.has_changed() else "Nothing was changed.")
    return True


def events(request: HttpRequest, pk: str) -> HttpResponse:
    """Events: the timeline, and the log's last lines."""
    deployment = find(request, pk)
    rows = deployment.events.select_related("by")[:EVENTS_SHOWN]
    context = {"events": rows, "lines": operations.log_tail(deployment, LOG_LINES)}
    return page(request, deployment, "events", "events.html", context)


def log(request: HttpRequest, pk: str) -> HttpResponse:
    """The log's last lines as text, for the page that follows them."""
    deployment = find(request, pk)
    text = "\n".join(operations.log_tail(deployment, LOG_LINES))
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"})


@require_POST
def do(request: HttpRequest, pk: str, verb: str) -> HttpResponse:
    """Deploy, re-trigger, undeploy or delete."""
    deployment = find(request, pk)
    if verb not in VERBS:
        return HttpResponse(status=404)
    permission, operation, done = VERBS[verb]
    console.require(request, permission)
    name = deployment.name
    worked = console.attempt(request, lambda: operation(deployment, by=console.person(request)), done.format(name))
    listed = reverse("admin:deployments_deployment_changelist")
    if verb == "delete" and worked:
        return redirect(listed)
    return console.back(request, reverse("admin:deployments_deployment_detail", args=[pk]))


@require_http_methods(["GET", "POST"])
@never_cache
def curl(request: HttpRequest, pk: str) -> JsonResponse:
    """A cURL: with a placeholder for the key, or (POST) with a fresh key that is shown this once."""
    deployment = find(request, pk)
    if request.method == "GET":
        return JsonResponse({"curl": curl_line(deployment, "$MODELYARD_API_KEY", request)})
    if not console.may(request, "apikeys.add_apikey"):
        return JsonResponse({"error": "You may not create keys: copy it with $MODELYARD_API_KEY."}, status=403)
    expires_at = timezone.now() + timedelta(days=KEY_DAYS)
    try:
        _, key = apikeys.create(
            deployment=deployment, name=f"cURL of {request.user}", by=console.person(request), expires_at=expires_at
        )
        line = operations.curl(deployment, key, base_url(request))
    except Problem as problem:
        return JsonResponse({"error": str(problem)}, status=problem.status)
    return JsonResponse({"curl": line, "days": KEY_DAYS})


def find(request: HttpRequest, pk: str) -> Deployment:
    """The deployment of a page that this person may see."""
    console.require(request, VIEW)
    rows = Deployment.objects.select_related("model", "added_by", "target_version", "live_version")
    found: Deployment = get_object_or_404(rows, pk=pk)
    return found


def _routes(deployment: Deployment) -> list[Any]:
    return list(operations.routes(deployment))


def curl_line(deployment: Deployment, key: str, request: HttpRequest) -> str:
    """A request that answers, or why there is none."""
    try:
        return operations.curl(deployment, key, base_url(request))
    except Problem as problem:
        return f"# {problem}"


def page(
    request: HttpRequest, deployment: Deployment, tab: str, template: str, context: dict[str, Any]
) -> TemplateResponse:
    """One tab of a deployment, with what all of them show."""
    may = console.person(request).has_perm
    status = deployment.status
    everything = {
        **admin.site.each_context(request),
        "title": deployment.name,
        "opts": Deployment._meta,
        "deployment": deployment,
        "status": status_of(deployment),
        "moving": live_state(deployment, request)["moving"],
        "undecided": deployment.undecided(),
        "live_url": reverse("admin:deployments_deployment_live"),
        "tabs": [(reverse(f"admin:deployments_deployment_{n}", args=[deployment.pk]), t, n == tab) for n, t in TABS],
        "offer": {
            "deploy": status == Status.READY_TO_DEPLOY and not deployment.waits_for_decision and may(DEPLOY),
            "retrigger": status in RETRIGGERABLE and may(DEPLOY),
            "undeploy": (status in WORKING or status == Status.DEPLOYED) and may("deployments.undeploy_deployment"),
        },
        **context,
    }
    return TemplateResponse(request, f"deployments/admin/{template}", everything)
