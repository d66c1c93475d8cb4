"""Hugging Face in the admin: look at a repository, import it, and the connections."""

from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from apps.models.adapters import bases
from apps.models.catalogue import shelf
from apps.models.hub import operations, serving
from apps.models.hub.api import asked, moved
from apps.models.hub.models import Connection
from apps.models.hub.preflight import Preflight, look
from apps.models.models import Model
from modelyard import console
from modelyard.problems import Problem

MAY = "models.import_model"
FILES_SHOWN = 300
FIELDS = ("repository", "revision", "connection", "variant", "name", "entry", "commit", "description", "base_model")


def hub(request: HttpRequest) -> HttpResponse:
    """A GET looks, if it names a repository; a POST imports what was looked at."""
    console.require(request, MAY)
    given = _given(request.POST if request.method == "POST" else request.GET)
    found, problem = None, None
    if given["repository"]:
        try:
            found = look(asked(given))
            if request.method == "POST":
                return _import(request, found, given)
        except Problem as refused:
            problem = refused
    return TemplateResponse(request, "models/admin/hub.html", _context(request, given, found, problem))


def _given(data: QueryDict) -> dict[str, Any]:
    given: dict[str, Any] = {name: _plain(data.get(name, "")) for name in FIELDS}
    patterns = [*data.getlist("files"), *data.get("patterns", "").replace(",", "\n").splitlines()]
    return {**given, "patterns": [_plain(pattern) for pattern in patterns if _plain(pattern)]}


def _plain(text: str) -> str:
    """Without blanks around it, and without the one character that no PostgreSQL takes."""
    return text.replace("\0", "").strip()


def _import(request: HttpRequest, found: Preflight, given: dict[str, Any]) -> HttpResponse:
    moved(found, given["commit"])
    if not console.once(request):
        return redirect("admin:models_model_changelist")
    model = operations.start(
        found, by=console.person(request), name=given["name"], description=given["description"],
        config=_recommended(given["entry"]), base_model=bases.chosen(given["base_model"]),
    )  # fmt: skip
    return redirect("admin:models_model_change", model.pk)


def _recommended(entry_id: str) -> dict[str, Any] | None:
    """What the catalogue says of how to deploy it; kept with the model for the deploy form."""
    try:
        entry = shelf.find(entry_id).entry if entry_id else None
    except Problem:
        return None
    return {"version": 1, "runtime": entry.runtime, "options": entry.options} if entry and entry.runtime else None


def _context(request: HttpRequest, given: dict[str, Any], found: Preflight | None, problem: Any) -> dict[str, Any]:
    taken = {file.path for file in found.taken} if found else set()
    files = sorted(found.files, key=lambda file: (file.path not in taken, -file.size)) if found else []
    return {
        **admin.site.each_context(request),
        "title": _("Import a model"),
        "opts": Model._meta,
        "source": "hub",
        "given": given,
        "patterns": "\n".join(given["patterns"]),
        "connections": Connection.objects.order_by("name"),
        "may_connect": console.may(request, "models.add_connection"),
        "found": found,
        "problem": problem,
        "files": [(file, file.path in taken) for file in files[:FILES_SHOWN]],
        "more_files": max(len(files) - FILES_SHOWN, 0),
        "answers": serving.answers(found) if found else [],
        "after": found.free - found.added if found else 0,
        "form_id": console.form_id(),
        "base": bases.named(found.adapter.base) if found and found.adapter else None,
        "bases": bases.offered() if found and found.adapter else [],
    }


def connections(request: HttpRequest) -> HttpResponse:
    """The list, and the form that makes one."""
    console.require(request, "models.view_connection")
    if request.method == "POST":
        console.require(request, "models.add_connection")
        name, token = request.POST.get("name", ""), request.POST.get("token", "")
        made: list[Connection] = []
        by = console.person(request)
        if console.attempt(
            request, lambda: made.append(operations.connect(name, token, by=by)), _("The token is kept.")
        ):
            _test(request, made[0])
        return redirect("admin:models_connections")
    context = {
        **admin.site.each_context(request),
        "title": _("Connections"),
        "opts": Model._meta,
        "connections": Connection.objects.select_related("created_by"),
        "may_add": console.may(request, "models.add_connection"),
        "may_change": console.may(request, "models.change_connection"),
        "may_delete": console.may(request, "models.delete_connection"),
    }
    return TemplateResponse(request, "models/admin/connections.html", context)


@console.posted("admin:models_connections")
def connection(request: HttpRequest, pk: str, verb: str) -> HttpResponse:
    """Test, replace or delete one."""
    needed = {"test": "models.view_connection", "replace": "models.change_connection",
              "delete": "models.delete_connection"}.get(verb)  # fmt: skip
    if needed is None:
        raise Http404
    console.require(request, needed)
    one, by = get_object_or_404(Connection, pk=pk), console.person(request)
    if verb == "test":
        _test(request, one)
    elif verb == "replace":
        token = request.POST.get("token", "")
        if console.attempt(request, lambda: operations.replace_token(one, token, by=by), _("The token was replaced.")):
            _test(request, one)
    else:
        console.attempt(
            request, lambda: operations.disconnect(one, by=by), _("%(name)s was deleted.") % {"name": one.name}
        )
    return redirect("admin:models_connections")


def _test(request: HttpRequest, one: Connection) -> None:
    console.attempt(
        request, lambda: operations.test(one), _("The hub takes the token of %(name)s.") % {"name": one.name}
    )


def update(request: HttpRequest, pk: str) -> HttpResponse:
    """What a newer revision would bring; a POST downloads it."""
    console.require(request, MAY)
    model = get_object_or_404(Model.objects.select_related("hub_origin"), pk=pk)
    try:
        found = operations.newer(model)
        if found and request.method == "POST":
            moved(found, request.POST.get("commit", ""))
            operations.update(model, found, by=console.person(request))
            return redirect("admin:models_model_change", pk)
    except Problem as problem:
        messages.error(request, str(problem))
        return redirect("admin:models_model_change", pk)
    if found is None:
        messages.success(request, _("The newest revision is here already."))
        return redirect("admin:models_model_change", pk)
    return TemplateResponse(request, "models/admin/hub_update.html", _difference(request, model, found))


def _difference(request: HttpRequest, model: Model, found: Preflight) -> dict[str, Any]:
    here = {file["path"]: file["sha256"] or file["oid"] for file in model.hub_origin.files}
    there = {file.path: file for file in found.taken}
    changed = [file for path, file in there.items() if here.get(path) != (file.sha256 or file.oid)]
    return {
        **admin.site.each_context(request),
        "title": _("Update %(name)s") % {"name": model.name},
        "opts": Model._meta,
        "model": model,
        "found": found,
        "rows": [(file.path, file.size, _("changed") if file.path in here else _("new")) for file in changed]
        + [(path, None, _("gone")) for path in here if path not in there],
        "download": sum(file.size for file in changed),
        "same": len(there) - len(changed),
    }


@console.posted("admin:models_model_change", "pk")
def steer(request: HttpRequest, pk: str, verb: str) -> HttpResponse:
    """Pause or resume a download, or cancel that of a newer revision."""
    if verb not in {"pause", "resume", "cancel"}:
        raise Http404
    console.require(request, MAY)
    model, by = get_object_or_404(Model, pk=pk), console.person(request)
    if verb == "cancel":
        done = _("%(name)s stays at the revision that is here.") % {"name": model.name}
        console.attempt(request, lambda: operations.cancel_update(model, by=by), done)
    elif verb == "pause":
        done = _("The download of %(name)s is paused.") % {"name": model.name}
        console.attempt(request, lambda: operations.pause(model, by=by), done)
    else:
        done = _("The download of %(name)s goes on.") % {"name": model.name}
        console.attempt(request, lambda: operations.resume(model, by=by), done)
    return redirect("admin:models_model_change", pk)
