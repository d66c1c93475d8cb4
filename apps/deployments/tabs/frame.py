"""What every tab of a deployment shares: who may see it, its head, its failure, and how it is kept up to date."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext_lazy as _

from apps.deployments import operations
from apps.deployments.listing import status_of
from apps.deployments.models import Deployment
from apps.deployments.statuses import RETRIGGERABLE, WORKING, Desired, Status
from apps.deployments.tabs import failures
from modelyard import console
from modelyard.problems import Problem
from modelyard.serving import base_url

VIEW = "deployments.view_deployment"
DEPLOY = "deployments.deploy_deployment"
SEE_USAGE = "deployments.view_usagerecord"
PARTS = "X-Modelyard-Parts"
"""A page that is open asks with this header for what may have changed."""


@dataclass(frozen=True)
class Tab:
    """One tab: the name of its address, its title, and who may see it."""

    name: str
    title: Any
    permission: str = VIEW


TABS = (
    Tab("detail", _("Model Endpoint")),
    Tab("keys", _("API Keys"), "apikeys.view_apikey"),
    Tab("configuration", _("Configurations")),
    Tab("optimization", _("Optimization")),
    Tab("history", _("History")),
    Tab("logs", _("Logs")),
    Tab("metrics", _("Metrics"), SEE_USAGE),
    Tab("usage", _("Usage"), SEE_USAGE),
    Tab("events", _("Events")),
)


def find(request: HttpRequest, pk: str) -> Deployment:
    """The deployment of a page that this person may see."""
    console.require(request, VIEW)
    rows = Deployment.objects.select_related("model", "added_by", "target_version", "live_version")
    found: Deployment = get_object_or_404(rows, pk=pk)
    return found


def page(
    request: HttpRequest, deployment: Deployment, tab: str, template: str,
    context: Mapping[str, Any] | Callable[[], Mapping[str, Any]], *, live: bool = False,
) -> HttpResponse:  # fmt: skip
    """One tab of a deployment, with what all of them show; `live` tabs have parts of their own that change.

    A context that costs much is a function: an open page whose tab isn't live asks for the head alone.
    """
    if callable(context):
        context = {} if PARTS in request.headers and not live else context()
    everything = {**_head(request, deployment, tab), **context}
    if PARTS in request.headers:
        return _parts(request, template, {**everything, "with_tab": live})
    site = {**admin.site.each_context(request), "opts": Deployment._meta, "base_template": "admin/base_site.html"}
    return TemplateResponse(request, f"deployments/admin/{template}", {**site, **everything, "with_tab": True})


def _parts(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """The page without the site around it, or 304 if it is as the page that asks has it."""
    # A token would be another one each time; the forms of the open page keep theirs.
    bare = {**context, "base_template": "deployments/admin/parts.html", "csrf_token": "-"}
    text = render_to_string(f"deployments/admin/{template}", bare, request=request)
    tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    same = request.headers.get("If-None-Match") == tag
    response = HttpResponse("" if same else text, status=304 if same else 200, headers={"ETag": tag})
    patch_cache_control(response, private=True, no_cache=True)
    return response


def _head(request: HttpRequest, deployment: Deployment, tab: str) -> dict[str, Any]:
    may = console.person(request).has_perm
    address = reverse(f"admin:deployments_deployment_{tab}", args=[deployment.pk])
    return {
        "title": deployment.name,
        "deployment": deployment,
        "status": status_of(deployment, cause=False),
        "moving": is_moving(deployment),
        "undecided": deployment.undecided(),
        "trouble": failures.card(request, deployment),
        "parts_url": request.get_full_path() if request.method == "GET" else address,
        "tabs": [
            (reverse(f"admin:deployments_deployment_{each.name}", args=[deployment.pk]), each.title, each.name == tab)
            for each in TABS
            if may(each.permission)
        ],
        "offer": offers(request, deployment),
    }


def is_moving(deployment: Deployment) -> bool:
    """Whether something is being done that a page should look at often."""
    return deployment.status in WORKING or bool(deployment.stage)


def offers(request: HttpRequest, deployment: Deployment) -> dict[str, bool]:
    """What may be done with it now, by this person."""
    may, status = console.person(request).has_perm, deployment.status
    running = status in WORKING or status == Status.DEPLOYED
    leaving = running and deployment.desired == Desired.STOPPED
    return {
        "deploy": status == Status.READY_TO_DEPLOY and not deployment.waits_for_decision and may(DEPLOY),
        "retrigger": status in RETRIGGERABLE and may(DEPLOY),
        "redeploy": status not in WORKING and not leaving and deployment.target_version_id is not None and may(DEPLOY),
        "undeploy": running and not leaving and may("deployments.undeploy_deployment"),
    }


def curl_line(deployment: Deployment, key: str, request: HttpRequest, *, stream: bool = False) -> str:
    """A request that answers, or why there is none."""
    try:
        return operations.curl(deployment, key, base_url(request), stream=stream)
    except Problem as problem:
        return f"# {problem}"
