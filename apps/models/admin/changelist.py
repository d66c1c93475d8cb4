"""The list of models, and the addresses of their pages."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.options import ActionLocation
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.views import ChangeList

from apps.models import operations
from apps.models.admin import filters, pages, tabs, verbs
from apps.models.admin.progress import status_of
from apps.models.catalogue import pages as catalogue
from apps.models.hub import pages as hub
from apps.models.models import USABLE, Model
from apps.models.overrides import pages as overrides
from apps.models.querysets import DEPLOYED, FAILED, READY_TO_DEPLOY
from modelyard import console

LIVE_LIMIT = 200  # rows that one poll may ask for
TAGS_SHOWN = 4  # of a model in the list


class Rows(ChangeList):
    """A page of models; what is counted is counted for its rows alone, however many models there are."""

    def get_results(self, request: HttpRequest) -> None:
        """The rows, each with the counts of its deployments."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)  # type: ignore[has-type]
        counts = Model.objects.deployment_counts([row.pk for row in rows])
        for row in rows:
            row.counts = counts.get(row.pk, {})
        self.result_list = rows
        if not self.query and not self.has_active_filters:
            # Nothing was left out: there is no second number to count, and no "show all" to offer.
            self.show_full_result_count, self.full_result_count = True, self.result_count


@admin.register(Model)
class ModelAdmin(console.ModelAdmin):
    """Models: a list that leads to their deployments, and pages of their own for everything else."""

    list_display: ClassVar = ["model_name", "active", "failed", "waiting", "source", "kind_of_model", "size_on_disk",
                              "state"]  # fmt: skip
    list_display_links = None
    list_filter: ClassVar = ["status", "source", filters.TaskFilter, "format", filters.SizeFilter, filters.TagFilter,
                             filters.DeploymentsFilter]  # fmt: skip
    search_fields: ClassVar = ["name", "id", "description", "architecture"]
    search_help_text = _("Name, ID, description or architecture")
    list_per_page = 50
    show_full_result_count = False  # the count of what is shown is enough, and there may be very many
    change_list_template = "models/admin/list.html"
    list_before_template = "models/admin/list_before.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[Rows]:
        """Ours."""
        return Rows

    @admin.display(description=_("Model Name"), ordering="name")
    def model_name(self, model: Model) -> SafeString:
        """The name, which leads to the model's deployments, and its tags."""
        return format_html(
            '<a class="my-link" href="{}">{}</a>{}', tabs.deployments_of(model), model.name, _tag_links(model.tags)
        )

    @admin.display(description=_("Active Deployments"))
    def active(self, model: Any) -> int:
        """How many answer now."""
        return int(model.counts.get(DEPLOYED, 0))

    @admin.display(description=_("Deployment Failed"))
    def failed(self, model: Any) -> int | SafeString:
        """How many have failed; red if any."""
        count = model.counts.get(FAILED, 0)
        return console.badge(str(count), "bad") if count else 0

    @admin.display(description=_("Ready to Deploy"))
    def waiting(self, model: Any) -> int:
        """How many wait to be deployed."""
        return int(model.counts.get(READY_TO_DEPLOY, 0))

    @admin.display(description=_("Task"), ordering="task")
    def kind_of_model(self, model: Model) -> SafeString:
        """What it is for, and the format of its weights below."""
        below = model.get_format_display()
        return format_html(
            "{}{}", model.task or "—", format_html('<span class="my-below">{}</span>', below) if below else ""
        )

    @admin.display(description=_("Import status"), ordering="status")
    def state(self, model: Model) -> SafeString:
        """The import's status, kept up to date by the page."""
        return format_html('<span data-live-status="{}">{}</span>', model.pk, status_of(model))

    @admin.display(description=_("Size"), ordering="size")
    def size_on_disk(self, model: Model) -> str:
        """The size of its files."""
        return filesizeformat(model.size) if model.size else "—"

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; what may be done with a row depends on who looks."""

        def row_actions(model: Model) -> SafeString:
            return format_html(
                '<span data-live-actions="{}" data-word="{}">{}</span>',
                model.pk,
                model.status,
                actions_of(model, request),
            )

        row_actions.short_description = _("Actions")  # type: ignore[attr-defined]
        return [*super().get_list_display(request), row_actions]

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
        return names, {gettext("models"): len(names)}, set(), []

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, or what to do when there is nothing to list."""
        extra = {
            **(extra_context or {}),
            "title": _("Models"),
            "may_import": console.may(request, "models.import_model"),
            "may_connect": console.may(request, "models.view_connection"),
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
        name = "models_model_{}".format
        return [
            path("import/", wrap(pages.import_file), name=name("import")),
            path("rules/", wrap(pages.rules), name="models_rules"),
            path("catalogue/", wrap(catalogue.catalogue), name=name("catalogue")),
            path("catalogue/<str:entry_id>/", wrap(catalogue.entry), name=name("catalogue_entry")),
            path("import/hugging-face/", wrap(hub.hub), name=name("hub")),
            path("connections/", wrap(hub.connections), name="models_connections"),
            path("connections/<system_id:pk>/<str:verb>/", wrap(hub.connection), name="models_connection"),
            path("live/", wrap(self.live), name=name("live")),
            path("<system_id:pk>/change/", wrap(pages.card), name=name("change")),
            path("<system_id:pk>/files/", wrap(pages.files), name=name("files")),
            path("<system_id:pk>/report/", wrap(pages.report), name=name("report")),
            path("<system_id:pk>/lineage/", wrap(pages.lineage), name=name("lineage")),
            path("<system_id:pk>/edit/", wrap(pages.edit), name=name("edit")),
            path("<system_id:pk>/progress/", wrap(pages.progress), name=name("progress")),
            path("<slug:pk>/update/", wrap(hub.update), name=name("update")),
            path("<slug:pk>/download/<str:verb>/", wrap(hub.steer), name=name("download")),
            path("<system_id:pk>/override/", wrap(overrides.override), name=name("override")),
            path("<system_id:pk>/retry/", wrap(verbs.retry), name=name("retry")),
            path("<system_id:pk>/delete/", wrap(verbs.delete), name=name("delete")),
            *super().get_urls(),
        ]

    def live(self, request: HttpRequest) -> JsonResponse:
        """The import status of the rows that a page shows."""
        console.require(request, "models.view_model")
        rows = Model.objects.filter(pk__in=request.GET.get("ids", "").split(",")[:LIVE_LIMIT])
        return JsonResponse({"rows": {row.pk: live_state(row, request) for row in rows}})

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never through Django's form: models come from an import."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never through Django's form: the page calls the operation."""
        return False


@admin.action(permissions=["delete"])
def delete_chosen(model_admin: ModelAdmin, request: HttpRequest, queryset: QuerySet[Model]) -> HttpResponse | None:
    """Ask, then delete each by the operation, which removes the files too."""
    if not request.POST.get("post"):
        return delete_selected(model_admin, request, queryset)
    by, done = console.person(request), 0
    for model in queryset:
        done += console.attempt(request, lambda model=model: operations.delete(model, by=by), "")  # type: ignore[misc]
    if done:
        said = ngettext("%(count)d model was deleted.", "%(count)d models were deleted.", done)
        messages.success(request, said % {"count": done})
    return None


def live_state(model: Model, request: HttpRequest) -> dict[str, Any]:
    """What the list shows of a model now, whether it is moving, and what is said aloud when its status changes."""
    return {
        "status": status_of(model),
        "actions": actions_of(model, request),
        "moving": operations.importing(model),
        "word": model.status,
        "said": f"{model.name}: {model.get_status_display()}",
    }


def actions_of(model: Model, request: HttpRequest) -> SafeString:
    """The buttons of a row: only what makes sense now, and what this person may do."""
    offered = {
        "model": model,
        "may_deploy": model.status in USABLE and console.may(request, "deployments.add_deployment"),
    }
    return mark_safe(render_to_string("models/admin/row_actions.html", offered))  # noqa: S308 (a template's)


def _tag_links(names: list[str]) -> SafeString:
    """The first tags, each leading to the models that have it."""
    links = format_html_join(
        "", '<a class="my-tag" href="?{}">{}</a>', ((urlencode({"tag": tag}), tag) for tag in names[:TAGS_SHOWN])
    )
    more = len(names) - TAGS_SHOWN
    rest = format_html('<span class="my-quiet">+{}</span>', more) if more > 0 else ""
    return format_html('<span class="my-below">{}{}</span>', links, rest) if names else SafeString("")
