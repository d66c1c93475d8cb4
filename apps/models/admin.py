"""Models in the admin: the list, one model's page, and the page that imports one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.options import ActionLocation
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from apps.models import operations
from apps.models.adapters import bases, fitting
from apps.models.catalogue import pages as catalogue
from apps.models.hub import pages as hub
from apps.models.models import USABLE, WORKING, Level, Model, Revision, Status
from apps.models.rules import RULES
from apps.models.serializers import MAX_DESCRIPTION
from modelyard import console
from modelyard.problems import Problem
from modelyard.serving import base_url

STATUS_TONES = {
    Status.IMPORTING: "busy", Status.PAUSED: "calm",
    Status.VALIDATING: "busy", Status.UPDATING: "busy", Status.READY: "good", Status.IMPORT_FAILED: "bad",
}  # fmt: skip
LEVEL_TONES = {Level.PASS: "good", Level.WARN: "warn", Level.BLOCK: "bad"}
LIVE_LIMIT = 200  # rows that one poll may ask for
FILES_SHOWN = 500


class EditForm(forms.Form):
    """What of a model may be changed."""

    description = forms.CharField(
        required=False, max_length=MAX_DESCRIPTION, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )
    tags = forms.CharField(required=False, help_text="With commas between them.", widget=UnfoldAdminTextInputWidget())


class TaskFilter(admin.SimpleListFilter):
    """Models for a task; the choice is among the tasks that there are models for."""

    title = "task"
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The tasks there are."""
        tasks = Model.objects.exclude(task="").order_by("task").values_list("task", flat=True).distinct()
        return [(task, task) for task in tasks[:50]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        """Those for the chosen task."""
        return queryset.filter(task=self.value()) if self.value() else queryset


@admin.register(Model)
class ModelAdmin(console.ModelAdmin):
    """Models: a list that leads to their deployments, and pages of their own for everything else."""

    list_display: ClassVar = ["model_name", "active", "failed", "waiting", "source", "state", "size_on_disk", "details"]
    list_display_links = None
    list_filter: ClassVar = ["source", "status", "format", TaskFilter]
    search_fields: ClassVar = ["name", "id", "description", "architecture"]
    search_help_text = "Name, ID, description or architecture"
    list_per_page = 50
    change_list_template = "models/admin/list.html"
    list_before_template = "models/admin/list_before.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        """With the counts of their deployments."""
        return Model.objects.with_deployment_counts()

    @admin.display(description="Model Name", ordering="name")
    def model_name(self, model: Model) -> SafeString:
        """The name, which leads to the model's deployments."""
        return format_html('<a class="my-link" href="{}">{}</a>', deployments_of(model), model.name)

    @admin.display(description="Active Deployments", ordering="active_deployments")
    def active(self, model: Any) -> int:
        """How many answer now."""
        return int(model.active_deployments)

    @admin.display(description="Deployment Failed", ordering="failed_deployments")
    def failed(self, model: Any) -> int | SafeString:
        """How many have failed; red if any."""
        return console.badge(str(model.failed_deployments), "bad") if model.failed_deployments else 0

    @admin.display(description="Ready to Deploy", ordering="waiting_deployments")
    def waiting(self, model: Any) -> int:
        """How many wait to be deployed."""
        return int(model.waiting_deployments)

    @admin.display(description="Import status", ordering="status")
    def state(self, model: Model) -> SafeString:
        """The import's status, kept up to date by the page."""
        return format_html('<span data-live-status="{}" aria-live="polite">{}</span>', model.pk, status_of(model))

    @admin.display(description="Size", ordering="size")
    def size_on_disk(self, model: Model) -> str:
        """The size of its files."""
        return filesizeformat(model.size) if model.size else "—"

    @admin.display(description="")
    def details(self, model: Model) -> SafeString:
        """To the model's own page."""
        address = reverse("admin:models_model_change", args=[model.pk])
        label = f"Details of {model.name}"
        return format_html('<a class="my-button" href="{}" aria-label="{}">Details</a>', address, label)

    def get_actions(self, request: HttpRequest, action_location: Any = ActionLocation.CHANGE_LIST) -> Any:
        """Deleting goes through the operation, also for many at once."""
        actions = super().get_actions(request, action_location)
        if "delete_selected" in actions:
            actions["delete_selected"] = replace(actions["delete_selected"], func=delete_chosen)
        return actions

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What the question before deleting names: the models, not each of their files."""
        names = [model.name for model in objs]
        return names, {"models": len(names)}, set(), []

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, or what to do when there is nothing to list."""
        extra = {
            **(extra_context or {}),
            "title": "Models",
            "may_import": console.may(request, "models.import_model"),
            "live_url": reverse("admin:models_model_live"),
        }
        response: HttpResponse = super().changelist_view(request, extra)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            context["nothing_yet"] = not context["cl"].result_count and not Model.objects.exists()
        return response

    def get_urls(self) -> Sequence[URLPattern]:
        """The pages of our own, before Django's."""
        wrap = self.admin_site.admin_view
        return [
            path("import/", wrap(self.import_view), name="models_model_import"),
            path("catalogue/", wrap(catalogue.catalogue), name="models_model_catalogue"),
            path("catalogue/<str:entry_id>/", wrap(catalogue.entry), name="models_model_catalogue_entry"),
            path("import/hugging-face/", wrap(hub.hub), name="models_model_hub"),
            path("connections/", wrap(hub.connections), name="models_connections"),
            path("connections/<system_id:pk>/<str:verb>/", wrap(hub.connection), name="models_connection"),
            path("<slug:pk>/update/", wrap(hub.update), name="models_model_update"),
            path("<slug:pk>/download/<str:verb>/", wrap(hub.steer), name="models_model_download"),
            path("live/", wrap(self.live), name="models_model_live"),
            path("<slug:pk>/retry/", wrap(self.retry), name="models_model_retry"),
            *super().get_urls(),
        ]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """The page that uploads an archive to the API and watches its import."""
        console.require(request, "models.import_model")
        context = {
            **self.admin_site.each_context(request),
            "title": "Import a model",
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

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One model: facts, import, report, files; description and tags may be edited."""
        model = self._model(request, object_id)
        form = EditForm(request.POST if request.method == "POST" else None, initial={
            "description": model.description, "tags": ", ".join(model.tags)})  # fmt: skip
        if request.method == "POST":
            console.require(request, "models.change_model")
            if form.is_valid() and _edit(model, form):
                messages.success(request, "Saved.")
                return redirect("admin:models_model_change", model.pk)
        return TemplateResponse(request, "models/admin/detail.html", self._context(request, model, form))

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Delete a model; asked for by a button of its page."""
        model = self._model(request, object_id)
        console.require(request, "models.delete_model")
        deleted = request.method == "POST" and console.attempt(
            request, lambda: operations.delete(model, by=console.person(request)), f"{model.name} was deleted."
        )
        return (
            redirect("admin:models_model_changelist") if deleted else redirect("admin:models_model_change", object_id)
        )

    def retry(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Import once more."""
        model = self._model(request, pk)
        console.require(request, "models.import_model")
        if request.method == "POST":
            by, wanted = console.person(request), request.POST.get("base_model", "")
            console.attempt(
                request, lambda: operations.retry(model, by=by, base_model=bases.chosen(wanted)),
                f"{model.name} is being imported again.",
            )  # fmt: skip
        return redirect("admin:models_model_change", pk)

    def live(self, request: HttpRequest) -> JsonResponse:
        """The import status of the rows that a page shows."""
        console.require(request, "models.view_model")
        rows = Model.objects.filter(pk__in=request.GET.get("ids", "").split(",")[:LIVE_LIMIT])
        return JsonResponse({
            "rows": {
                row.pk: {"status": status_of(row), "moving": operations.importing(row), "word": row.status}
                for row in rows
            }
        })  # fmt: skip

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never through Django's form: models come from an import."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never through Django's form: the page calls the operation."""
        return False

    def _model(self, request: HttpRequest, pk: str) -> Any:
        console.require(request, "models.view_model")
        return get_object_or_404(
            self.get_queryset(request).select_related("added_by", "base_model", "hub_origin__connection"), pk=pk
        )

    def _context(self, request: HttpRequest, model: Model, form: EditForm) -> dict[str, Any]:
        may = console.person(request).has_perm
        retryable = operations.retryable(model)
        files = list(model.files.all()[: FILES_SHOWN + 1])
        return {
            **self.admin_site.each_context(request),
            "title": model.name,
            "opts": Model._meta,
            "model": model,
            "status": status_of(model),
            "form": form,
            "live_url": reverse("admin:models_model_live"),
            "deployments_url": deployments_of(model),
            "tags": console.tags(model.tags),
            "files": files[:FILES_SHOWN],
            "files_cut": len(files) > FILES_SHOWN and model.files.count(),
            "report": [
                (row, RULES.get(row.rule), console.badge(Level(row.level).label, LEVEL_TONES[Level(row.level)]))
                for row in model.findings.all()
            ],
            "working": model.status in WORKING - USABLE,
            "may_change": may("models.change_model"),
            "may_delete": may("models.delete_model"),
            "retryable": retryable,
            "adapters": model.adapters.order_by("name")[:50],
            "choose_base": retryable and model.failure_code in fitting.MENDED_BY_BASE and may("models.import_model"),
            "bases": bases.offered() if model.failure_code in fitting.MENDED_BY_BASE else [],
            "hub": getattr(model, "hub_origin", None),
            "hub_page": settings.HUB_ENDPOINT,
            "revisions": _revisions(model),
            "updating": model.status == Status.UPDATING,
            "paused": model.status == Status.PAUSED,
            "may_import": may("models.import_model"),
            "may_retry": retryable and may("models.import_model"),
            "may_export": may("models.export_model") and model.status in USABLE,
            "may_deploy": may("deployments.add_deployment") and model.status in USABLE,
        }


def _revisions(model: Model) -> list[tuple[Revision, int]]:
    """Each with the number of deployments that are set to it; nothing to tell while there is one."""
    found = list(model.revisions.all())
    users = dict(Model.objects.users_by_revision(model.pk)) if len(found) > 1 else {}
    return [(revision, users.get(revision.number, 0)) for revision in found] if len(found) > 1 else []


def _edit(model: Model, form: EditForm) -> bool:
    """Save what was typed; a refusal is shown at the field."""
    values = form.cleaned_data
    try:
        operations.edit(model, description=values["description"], tags=values["tags"].split(","))
    except Problem as problem:
        form.add_error("tags", str(problem))
        return False
    return True


@admin.action(permissions=["delete"])
def delete_chosen(model_admin: ModelAdmin, request: HttpRequest, queryset: QuerySet[Model]) -> HttpResponse | None:
    """Ask, then delete each by the operation, which removes the files too."""
    if not request.POST.get("post"):
        return delete_selected(model_admin, request, queryset)
    by, done = console.person(request), 0
    for model in queryset:
        done += console.attempt(request, lambda model=model: operations.delete(model, by=by), "")  # type: ignore[misc]
    if done:
        messages.success(request, f"{done} model{'s were' if done > 1 else ' was'} deleted.")
    return None


def deployments_of(model: Model) -> str:
    """The address of a model's Deployments page."""
    return f"{reverse('admin:deployments_deployment_changelist')}?model__id__exact={model.pk}"


def status_of(model: Model) -> SafeString:
    """The import's status as a badge, with its stage and progress, or its failure, below it."""
    status = Status(model.status)
    badge = console.badge(str(status.label), STATUS_TONES[status])
    if status in WORKING:
        said = f"{model.stage or 'Waiting'} · {model.progress} %"
        return format_html(
            '{}<span class="my-below">{}</span><progress max="100" value="{}" aria-label="Import"></progress>',
            badge, said, model.progress,
        )  # fmt: skip
    if status == Status.IMPORT_FAILED:
        shown = model.failure if len(model.failure) < 70 else f"{model.failure[:68]}…"
        return format_html('{}<span class="my-below" title="{}">{}</span>', badge, model.failure, shown)
    return badge
