"""Configurations: description and tags, limits, timeouts and capture; undeploy; delete."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from apps.deployments import operations
from apps.deployments.configuration import FIELD_OF, TRAFFIC, said
from apps.deployments.forms import ConfigurationForm
from apps.deployments.models import Deployment
from apps.deployments.statuses import IDLE, WORKING, Status
from apps.deployments.tabs.frame import find, page
from modelyard import console
from modelyard.problems import Problem

CHANGE = "deployments.change_deployment"


def configuration(request: HttpRequest, pk: str) -> HttpResponse:
    """The page; two people who change the same thing are told, and nothing of either is lost."""
    deployment = find(request, pk)
    may = console.person(request).has_perm
    form, conflicts = ConfigurationForm(request.POST or None, deployment), []
    if request.method == "POST":
        console.require(request, CHANGE)
        if form.is_valid():
            conflicts = form.conflicts(deployment)
            if conflicts:
                form = _asked_again(request, deployment, conflicts)
            elif _edit(request, deployment, form):
                return redirect("admin:deployments_deployment_configuration", pk)
    context = {
        "form": form,
        "conflicts": [_told(deployment, form, name) for name in conflicts],
        "may_change": may(CHANGE),
        "set": [(form.fields[name].label, said(name, getattr(deployment, name))) for name in TRAFFIC],
        "may_undeploy": may("deployments.undeploy_deployment"),
        "may_delete": may("deployments.delete_deployment"),
        "deletable": deployment.status in IDLE and not operations.live_replicas(deployment),
        "undeployable": deployment.status in WORKING or deployment.status == Status.DEPLOYED,
        "running": len(operations.live_replicas(deployment)),
        "keys": deployment.api_keys.filter(revoked_at=None).count(),
        "versions": deployment.versions.count(),
    }
    return page(request, deployment, "configuration", "configuration.html", context, live=True)


def _edit(request: HttpRequest, deployment: Deployment, form: ConfigurationForm) -> bool:
    try:
        operations.edit(deployment, by=console.person(request), seen=form.seen(), **form.edits())
    except Problem as problem:
        form.add_error(FIELD_OF.get(problem.code), str(problem))
        return False
    messages.success(request, _("Saved.") if form.has_changed() else _("Nothing was changed."))
    return True


def _asked_again(request: HttpRequest, deployment: Deployment, conflicts: list[str]) -> ConfigurationForm:
    """The form with what was typed, over the values as they are now: sending it again is a decision."""
    fresh = ConfigurationForm(None, deployment)
    data: QueryDict = request.POST.copy()
    for name in conflicts:
        value = fresh[name].value()
        data[f"initial-{name}"] = "" if value is None else str(value)
    form = ConfigurationForm(data, deployment)
    form.is_valid()
    return form


def _told(deployment: Deployment, form: ConfigurationForm, name: str) -> dict[str, Any]:
    """Both values of a field that two people changed, and who was first."""
    event = next(
        (each for each in deployment.events.filter(code="edited").select_related("by")[:50]
         if name in each.detail.get("changed", {})), None,
    )  # fmt: skip
    return {
        "label": form.fields[name].label,
        "theirs": said(name, getattr(deployment, name)),
        "yours": said(name, form.cleaned_data.get(name)) if name in form.cleaned_data else form[name].value(),
        "by": event.by if event else None,
        "at": event.at if event else None,
    }
