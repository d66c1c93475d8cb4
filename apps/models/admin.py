"""The admin of models: the list, the import page and each model's page."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_POST

from apps.models import operations, storage
from apps.models.models import WORKING, Level, Model, Status
from modelyard import console

TONES = {Status.READY: "good", Status.IMPORTING: "busy", Status.VALIDATING: "busy", Status.IMPORT_FAILED: "bad"}
LEVELS = {Level.PASS: "good", Level.WARN: "warn", Level.BLOCK: "bad"}
IMPORT = "models.import_model"


@admin.register(Model)
class ModelAdmin(console.ModelAdmin):
    """Models: selecting one opens its deployments; its own page has the facts and the report."""

    list_display: ClassVar = ["title", "active", "failed", "waiting", "source", "state", "file_size", "details"]
    list_display_links = None
    list_filter: ClassVar = ["source", "status", "format", "task"]
    search_fields: ClassVar = ["name", "id", "description", "architecture"]
    actions = None
    list_per_page = 50
    list_before_template = "models/admin/list_before.html"

    class Media:
        js: ClassVar = ["models/models.js"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        """With the counts, in the same query."""
        return Model.objects.with_deployment_counts()

    @admin.display(description="Model Name", ordering="name")
    def title(self, model: Model) -> SafeString:
        """The name, which leads to the model's deployments."""
        address = reverse("admin:deployments_deployment_changelist")
        return format_html('<a class="my-link" href="{}?model__id__exact={}">{}</a>', address, model.pk, model.name)

    @admin.display(description="Active Deployments", ordering="active_deployments")
    def active(self, model: Any) -> int:
        """How many are Deployed."""
        return int(model.active_deployments)

    @admin.display(description="Deployment Failed", ordering="failed_deployments")
    def failed(self, model: Any) -> int:
        """How many have Failed."""
        return int(model.failed_deployments)

    @admin.display(description="Ready to Deploy", ordering="waiting_deployments")
    def waiting(self, model: Any) -> int:
        """How many are Ready to Deploy."""
        return int(model.waiting_deployments)

    @admin.display(description="Import", ordering="status")
    def state(self, model: Model) -> SafeString:
        """Where the import stands; the page keeps it up to date."""
        return format_html('<span data-live-model="{}" aria-live="polite">{}</span>', model.pk, status_of(model))

    @admin.display(description="Size", ordering="size")
    def file_size(self, model: Model) -> str:
        """In units people read."""
        from django.template.defaultfilters import filesizeformat

        return filesizeformat(model.size) if model.size else "—"

    @admin.display(description="")
    def details(self, model: Model) -> SafeString:
        """The model's own page."""
        address = reverse("admin:models_model_change", args=[model.pk])
        return format_html('<a class="my-button" href="{}">Details</a>', address)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with what its head needs."""
        extra = {
            **(extra_context or {}),
            "title": "Models",
            "may_import": console.may(request, IMPORT),
            "live_url": reverse("admin:models_model_live"),
        }
        response: HttpResponse = super().changelist_view(request, extra)
        return response

    def get_urls(self) -> Sequence[URLPattern]:
        """The pages of our own, before Django's."""
        wrap = self.admin_site.admin_view
        own = [
            path("live/", wrap(live), name="models_model_live"),
            path("import/", wrap(import_page), name="models_model_import"),
            path("<slug:pk>/change/", wrap(detail), name="models_model_change"),
            path("<slug:pk>/do/<slug:verb>/", wrap(do), name="models_model_do"),
        ]
        return [*own, *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Through the import page."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never through Django's form."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never through Django's delete: the operation looks whether something uses it."""
        return False


def status_of(model: Model) -> SafeString:
    """The import's status as a badge, with its stage and progress below it."""
    status = Status(model.status)
    below = f"{model.stage or 'Waiting for the importer'} · {model.progress} %" if status in WORKING else model.failure
    shown = below if len(below) < 70 else below[:68] + "…"
    extra = format_html('<span class="my-below" title="{}">{}</span>', below, shown) if below else mark_safe("")
    return format_html("{}{}", console.badge(str(status.label), TONES[status]), extra)


def live(request: HttpRequest) -> JsonResponse:
    """The status of the rows that a page shows."""
    console.require(request, "models.view_model")
    rows = Model.objects.filter(pk__in=request.GET.get("ids", "").split(",")[:200])
    found = {row.pk: {"status": status_of(row), "moving": row.status in WORKING, "word": row.status} for row in rows}
    return JsonResponse({"rows": found})


def import_page(request: HttpRequest) -> HttpResponse:
    """Import model: what may be in the zip, the upload with its progress, the import as it goes on."""
    console.require(request, IMPORT)
    context = {
        **admin.site.each_context(request),
        "title": "Import a model",
        "opts": Model._meta,
        "add_url": reverse("admin:deployments_deployment_add"),
        "list_url": reverse("admin:models_model_changelist"),
    }
    return TemplateResponse(request, "models/admin/import.html", context)


def detail(request: HttpRequest, pk: str) -> HttpResponse:
    """A model's own page; description and tags may be changed on it."""
    console.require(request, "models.view_model")
    model = get_object_or_404(Model.objects.with_deployment_counts().select_related("added_by"), pk=pk)
    if request.method == "POST":
        console.require(request, "models.change_model")
        tags = request.POST.get("tags", "").split(",")
        console.attempt(
            request,
            lambda: operations.edit(model, description=request.POST.get("description", ""), tags=tags),
            "Saved.",
        )
        return redirect("admin:models_model_change", pk)
    findings = [
        (row, console.badge(str(Level(row.level).label), LEVELS[Level(row.level)])) for row in model.findings.all()
    ]
    context = {
        **admin.site.each_context(request),
        "title": model.name,
        "opts": Model._meta,
        "model": model,
        "status": status_of(model),
        "findings": findings,
        "files": model.files.all()[:500],
        "live_url": reverse("admin:models_model_live"),
        "may_change": console.may(request, "models.change_model"),
        "may_delete": console.may(request, "models.delete_model"),
        "may_deploy": model.status == Status.READY and console.may(request, "deployments.add_deployment"),
        "may_retry": model.status == Status.IMPORT_FAILED and storage.upload(model.pk).exists()
        and console.may(request, IMPORT),
    }  # fmt: skip
    return TemplateResponse(request, "models/admin/detail.html", context)


@require_POST
def do(request: HttpRequest, pk: str, verb: str) -> HttpResponse:
    """Retry the import, or delete the model."""
    model = get_object_or_404(Model, pk=pk)
    page = reverse("admin:models_model_change", args=[pk])
    if verb == "retry":
        console.require(request, IMPORT)
        console.attempt(
            request, lambda: operations.retry(model, by=console.person(request)), "The import starts again."
        )
        return redirect(page)
    if verb != "delete":
        return HttpResponse(status=404)
    console.require(request, "models.delete_model")
    name = model.name
    if console.attempt(request, lambda: operations.delete(model, by=console.person(request)), ""):
        messages.success(request, f"{name} and its files were deleted.")
        return redirect("admin:models_model_changelist")
    return redirect(page)
