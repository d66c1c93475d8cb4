"""The pages of a deployment's API keys in the admin: thin callers of the keys' operations."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache

from apps.apikeys import operations, words
from apps.apikeys.forms import EditKeyForm, NewKeyForm, RotateForm
from apps.apikeys.models import ApiKey, State, state_of
from apps.deployments import pages
from apps.deployments.models import Deployment
from modelyard import console
from modelyard.problems import Problem

VIEW, ADD = "apikeys.view_apikey", "apikeys.add_apikey"
CHANGE, REVOKE = "apikeys.change_apikey", "apikeys.revoke_apikey"
KEYS_SHOWN, EVENTS_SHOWN = 500, 200


@never_cache
def keys(request: HttpRequest, pk: str) -> HttpResponse:
    """API Keys: list, create (shown once), revoke; those of this deployment only."""
    deployment = pages.find(request, pk)
    console.require(request, VIEW)
    form, fresh = NewKeyForm(), ""
    if request.method == "POST":
        console.require(request, ADD)
        form = NewKeyForm(request.POST)
        if form.is_valid():
            # Shown in the answer itself and kept nowhere. A form makes one key: sending it again makes nothing.
            if not console.once(request):
                return redirect("admin:deployments_deployment_keys", pk)
            fresh = _create(request, deployment, form)
            form = NewKeyForm() if fresh else form
    rows = deployment.api_keys.select_related("created_by", "successor")[:KEYS_SHOWN]
    context = {
        "keys": [(row, words.badge(row), words.limits(row)) for row in rows],
        "more_keys": len(rows) == KEYS_SHOWN,
        "form": form,
        "form_id": console.form_id(),
        "may_create": console.may(request, ADD),
        "may_revoke": console.may(request, REVOKE),
        **_fresh(request, deployment, fresh),
    }
    return pages.page(request, deployment, "keys", "keys.html", context)


@never_cache
def key(request: HttpRequest, pk: str, key_id: str) -> HttpResponse:
    """One key: what it may do, editing it, its history; two people who edit it are told."""
    deployment, row = _find(request, pk, key_id)
    form = EditKeyForm(request.POST or None, row)
    if request.method == "POST":
        console.require(request, CHANGE)
        if form.stale:
            return _page(request, deployment, row, stale=True, typed=form.typed())
        if form.is_valid() and _edit(request, row, form):
            return redirect("admin:deployments_deployment_key", pk, key_id)
    return _page(request, deployment, row, form=form)


@never_cache
def rotate_key(request: HttpRequest, pk: str, key_id: str) -> HttpResponse:
    """A new key in the place of one, shown once; a reload of that answer leads back to the key."""
    deployment, row = _find(request, pk, key_id)
    there = redirect("admin:deployments_deployment_key", pk, key_id)
    if request.method != "POST":
        return there
    console.require(request, ADD)
    form = RotateForm(request.POST)
    if not form.is_valid():
        return _page(request, deployment, row, rotate_form=form)
    made: list[str] = []

    def rotate() -> None:
        made.append(operations.rotate(row, by=console.person(request), overlap=form.cleaned_data["overlap"])[1])

    if console.once(request) and console.attempt(request, rotate, ""):
        return _page(request, deployment, _find(request, pk, key_id)[1], fresh=made[0])
    return there


@console.posted("admin:deployments_deployment_keys", "pk")
def revoke_key(request: HttpRequest, pk: str, key_id: str) -> HttpResponse:
    """End one key."""
    _, row = _find(request, pk, key_id)
    console.require(request, REVOKE)
    console.attempt(
        request,
        lambda: operations.revoke(row, by=console.person(request)),
        gettext("The key %(name)s opens nothing any more.") % {"name": row.name},
    )
    return console.back(request, reverse("admin:deployments_deployment_keys", args=[pk]))


def _find(request: HttpRequest, pk: str, key_id: str) -> tuple[Deployment, ApiKey]:
    """A key that this person may see; one of another deployment is not there."""
    deployment = pages.find(request, pk)
    console.require(request, VIEW)
    rows = ApiKey.objects.select_related("created_by", "revoked_by", "successor", "predecessor")
    return deployment, get_object_or_404(rows, pk=key_id, deployment=deployment)


def _create(request: HttpRequest, deployment: Deployment, form: NewKeyForm) -> str:
    """The text of the new key; empty if it wasn't made, with the reason at its field."""
    try:
        return operations.create(deployment=deployment, by=console.person(request), **form.details())[1]
    except Problem as problem:
        form.refuse(problem)
        return ""


def _edit(request: HttpRequest, row: ApiKey, form: EditKeyForm) -> bool:
    try:
        operations.edit(row, by=console.person(request), seen=form.cleaned_data["seen"], **form.edits())
    except Problem as problem:
        form.refuse(problem)
        return False
    said = gettext("Saved.") if form.edits() else gettext("Nothing was changed.")
    return console.attempt(request, lambda: None, said)


def _page(request: HttpRequest, deployment: Deployment, row: ApiKey, *, fresh: str = "", **more: Any) -> HttpResponse:
    state = state_of(row)
    predecessor = getattr(row, "predecessor", None)
    rotatable = state == State.ACTIVE and not row.successor_id
    context = {
        "key": row,
        "badge": words.badge(row),
        "limits": words.limits(row),
        "scopes": words.value("scopes", row.scopes),
        "networks": words.value("networks", row.networks),
        "predecessor": predecessor,
        "shared": predecessor is not None or row.successor is not None,
        "form": EditKeyForm(None, row),
        "rotate_form": RotateForm(),
        "form_id": console.form_id(),
        "may_change": state != State.REVOKED and console.may(request, CHANGE),
        "may_rotate": rotatable and console.may(request, ADD),
        "may_revoke": state != State.REVOKED and console.may(request, REVOKE),
        "history": operations.history(row)[:EVENTS_SHOWN],
        **_fresh(request, deployment, fresh),
        **more,
    }
    return pages.page(request, deployment, "keys", "key.html", context)


def _fresh(request: HttpRequest, deployment: Deployment, text: str) -> dict[str, str]:
    """A new key and how to call with it, for the one answer that shows it."""
    return {"fresh": text, "fresh_curl": pages.curl_line(deployment, text, request) if text else ""}
