"""What the buttons of a model's page do: thin callers of the operations."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from apps.models import operations
from apps.models.adapters import bases
from apps.models.admin import tabs
from apps.models.admin.progress import again
from modelyard import console


def delete(request: HttpRequest, pk: str) -> HttpResponse:
    """Delete a model, and cancel its import; asked for by a button of its page. `again` leads to a new import."""
    model = tabs.find(request, pk)
    console.require(request, "models.delete_model")
    page = again(model) if "again" in request.POST else ""
    said = _("%(name)s was deleted.") % {"name": model.name}
    deleted = request.method == "POST" and console.attempt(
        request, lambda: operations.delete(model, by=console.person(request)), said
    )
    if not deleted:
        return redirect("admin:models_model_edit", pk)
    return redirect(page or "admin:models_model_changelist")


def retry(request: HttpRequest, pk: str) -> HttpResponse:
    """Import once more."""
    model = tabs.find(request, pk)
    console.require(request, "models.import_model")
    if request.method == "POST":
        said = _("%(name)s is being imported again.") % {"name": model.name}
        by, wanted = console.person(request), request.POST.get("base_model", "")
        console.attempt(request, lambda: operations.retry(model, by=by, base_model=bases.chosen(wanted)), said)
    return redirect("admin:models_model_change", pk)
