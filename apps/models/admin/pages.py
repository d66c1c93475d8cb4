"""The pages of one model, and those that belong to the import."""

import hashlib
import json
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from apps.models import card as cards
from apps.models import operations
from apps.models.adapters import bases
from apps.models.admin import progress as how_far
from apps.models.admin import tabs
from apps.models.admin.tree import rows_of
from apps.models.models import Level, Model, Revision
from apps.models.rules import RULES
from apps.models.serializers import MAX_DESCRIPTION
from modelyard import console
from modelyard.problems import Problem
from modelyard.serving import base_url

LEVEL_TONES = {Level.PASS: "good", Level.WARN: "warn", Level.BLOCK: "bad"}
FILES_A_PAGE = 200
USERS_SHOWN = 10  # deployments that keep a model from being deleted


class EditForm(forms.Form):
    """What of a model may be changed."""

    description = forms.CharField(
        label=gettext_lazy("Description"), required=False, max_length=MAX_DESCRIPTION,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
    )  # fmt: skip
    tags = forms.CharField(
        label=gettext_lazy("Tags"), required=False, help_text=gettext_lazy("With commas between them."),
        widget=UnfoldAdminTextInputWidget(),
    )  # fmt: skip
    seen = forms.CharField(required=False, widget=forms.HiddenInput())
    """What the values were when the form was shown."""


def card(request: HttpRequest, pk: str) -> HttpResponse:
    """What it is: its facts, and the README that came with it."""
    model = tabs.find(request, pk)
    context = {"card": cards.read(model, tabs.hub_files(model)), "files": model.files.count()}
    return tabs.page(request, model, "card", context)


def files(request: HttpRequest, pk: str) -> HttpResponseBase:
    """The files of one revision as a tree, or as a list that `sha256sum --check` reads."""
    model = tabs.find(request, pk)
    revisions = list(model.revisions.values_list("number", flat=True))
    asked = request.GET.get("revision", "")
    revision = next((number for number in revisions if str(number) == asked), model.revision)
    found = model.all_files.filter(revision=revision).order_by("path")
    if request.GET.get("as") == "sha256sum":
        return _sums(model, found)
    if query := request.GET.get("q", "").strip():
        found = found.filter(path__icontains=query)
    shown = Paginator(found, FILES_A_PAGE).get_page(request.GET.get("p"))
    context = {"rows": rows_of(shown.object_list), "shown": shown, "query": query, "revision": revision,
               "revisions": revisions if len(revisions) > 1 else []}  # fmt: skip
    return tabs.page(request, model, "files", context)


def _sums(model: Model, found: Any) -> StreamingHttpResponse:
    lines = (f"{sha256}  {path}\n" for path, sha256 in found.values_list("path", "sha256").iterator())
    headers = {"Content-Disposition": f'attachment; filename="{model.pk}.sha256"'}
    return StreamingHttpResponse(lines, content_type="text/plain; charset=utf-8", headers=headers)


def report(request: HttpRequest, pk: str) -> HttpResponse:
    """Each rule of the import: how it ended, what was found, what to do."""
    model = tabs.find(request, pk)
    rows = [
        (row, RULES.get(row.rule), console.badge(str(Level(row.level).label), LEVEL_TONES[Level(row.level)]))
        for row in model.findings.all()
    ]
    return tabs.page(request, model, "report", {"report": rows, "working": operations.importing(model)})


def lineage(request: HttpRequest, pk: str) -> HttpResponse:
    """Licence, where it is from, what it is made of, what is made of it, and its revisions."""
    model = tabs.find(request, pk)
    context = {
        "hub": getattr(model, "hub_origin", None),
        "hub_page": tabs.hub_page(model),
        "bundle": getattr(model, "bundle_origin", None),
        "adapters": Model.objects.filter(base_model=model).order_by("name")[:USERS_SHOWN],
        "revisions": _revisions(model),
    }
    return tabs.page(request, model, "lineage", context)


def _revisions(model: Model) -> list[tuple[Revision, int]]:
    """Each with the number of deployments that are set to it."""
    found = list(model.revisions.all())
    users = dict(Model.objects.users_by_revision(model.pk)) if found else {}
    return [(revision, users.get(revision.number, 0)) for revision in found]


def edit(request: HttpRequest, pk: str) -> HttpResponse:
    """Description and tags; and deleting it, with what that will do."""
    model = tabs.find(request, pk)
    tags, stamp = ", ".join(model.tags), _stamp(model)
    initial = {"description": model.description, "tags": tags, "seen": stamp}
    form, stale = EditForm(None, initial=initial), False
    if request.method == "POST":
        console.require(request, "models.change_model")
        stale = request.POST.get("seen", stamp) != stamp
        # What was typed stays, over the values as they are now: sending it again is a decision.
        form = EditForm({**request.POST.dict(), "seen": stamp})
        if form.is_valid() and not stale and _edit(model, form):
            messages.success(request, _("Saved."))
            return redirect("admin:models_model_edit", model.pk)
    users = list(model.deployments.order_by("name").only("name")[: USERS_SHOWN + 1])
    context = {
        "form": form,
        "stale": stale,
        "tags_now": tags,
        "users": users[:USERS_SHOWN],
        "more_users": len(users) > USERS_SHOWN,
        "adapters": Model.objects.filter(base_model=model).count(),
        "files": model.files.count(),
        "may_change": console.may(request, "models.change_model"),
        "may_delete": console.may(request, "models.delete_model"),
        "deployments_url": tabs.deployments_of(model),
    }
    return tabs.page(request, model, "edit", context)


def _stamp(model: Model) -> str:
    said = json.dumps([model.description.replace("\r\n", "\n"), model.tags])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _edit(model: Model, form: EditForm) -> bool:
    """Save what was typed; a refusal is shown at the field."""
    values = form.cleaned_data
    try:
        operations.edit(model, description=values["description"], tags=values["tags"].split(","))
    except Problem as problem:
        form.add_error("tags", str(problem))
        return False
    return True


def progress(request: HttpRequest, pk: str) -> JsonResponse:
    """How far the import is, for the page that shows it."""
    model = tabs.find(request, pk)
    shown = render_to_string("models/admin/progress.html", {"progress": how_far.context(model)}, request=request)
    row = {"status": shown, "moving": operations.importing(model), "word": model.status}
    return JsonResponse({"rows": {model.pk: row}})


def rules(request: HttpRequest) -> HttpResponse:
    """The rules of the import, to which reports and failures lead."""
    console.require(request, "models.view_model")
    rows = [(rule, console.badge(str(rule.level.label), LEVEL_TONES[rule.level])) for rule in RULES.values()]
    context = {
        **admin.site.each_context(request),
        "title": _("Rules of the import"),
        "opts": Model._meta,
        "rules": rows,
    }
    return TemplateResponse(request, "models/admin/rules.html", {**context, "rules": rows})


def import_file(request: HttpRequest) -> HttpResponse:
    """The page that uploads an archive and watches its import."""
    console.require(request, "models.import_model")
    context = {
        **admin.site.each_context(request),
        "title": _("Import a model"),
        "opts": Model._meta,
        "source": "file",
        "max_bytes": settings.MAX_UPLOAD_BYTES,
        "max_name": operations.MAX_NAME,
        "max_description": MAX_DESCRIPTION,
        "base": base_url(request),
        "bases": bases.offered(),
        "may_deploy": console.may(request, "deployments.add_deployment"),
    }
    return TemplateResponse(request, "models/admin/import.html", context)
