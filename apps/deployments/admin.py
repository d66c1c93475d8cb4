"""The admin's list of deployments, and the addresses of their pages."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.options import Action, ActionLocation
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.deployments import bulk, bulk_pages, export_pages, fitting, key_pages, model_fit, pages, proofs
from apps.deployments.list_filters import DaysFilter, ModelFilter, PersonFilter, RuntimeFilter, StatusFilter, TagFilter
from apps.deployments.listing import actions_of, live_state, progress_of, status_of, tag_links
from apps.deployments.models import Deployment
from apps.deployments.tabs import configuration, endpoint, events, history, logs, metrics
from apps.deployments.usage import pages as usage
from apps.deployments.wizard import pages as wizard
from apps.models.models import Model
from modelyard import console, moments

LIVE_LIMIT = 200  # rows that one poll may ask for


def _several(name: str, _admin: Any, request: HttpRequest, rows: QuerySet[Deployment]) -> HttpResponse | None:
    found = list(rows.select_related("target_version").order_by("name")[: bulk.MOST + 1])
    if len(found) > bulk.MOST:
        said = gettext("At most %(most)s deployments can be chosen at once: narrow the list with a filter.")
        messages.error(request, said % {"most": bulk.MOST})
        return None
    return bulk_pages.confirm(request, name, found)


class Pages(console.FarPages):
    """Pages of deployments."""

    joined = ("model", "added_by", "target_version")


@admin.register(Deployment)
class DeploymentAdmin(console.ModelAdmin):
    """Deployments: one list, and pages of their own for everything else."""

    list_display: ClassVar = ["title", "deployment_id", "state", "tag_list", "adder", "added_on"]
    list_display_links: ClassVar = ["title"]
    list_filter: ClassVar = [StatusFilter, TagFilter, RuntimeFilter, ModelFilter, PersonFilter,
                             ("added_at", DaysFilter)]  # fmt: skip
    list_filter_submit = True
    show_facets = admin.ShowFacets.NEVER  # a count of each choice would be a query over everything
    ordering: ClassVar = ["-added_at", "-pk"]
    list_select_related: ClassVar = ["added_by", "target_version"]
    search_fields: ClassVar = ["name", "id", "description", "model__name"]
    search_help_text = _("Name, ID, description or model")
    list_per_page = 50
    paginator = Pages
    preserve_filters = False  # its pages lead back by themselves, and each row's address would be looked up for it
    show_full_result_count = False
    change_list_template = "deployments/admin/list.html"
    list_before_template = "deployments/admin/list_before.html"
    list_after_template = "modelyard/dialogs.html"

    @admin.display(description=_("Deployment Name"), ordering="name")
    def title(self, deployment: Deployment) -> SafeString:
        """The name, and the model below it."""
        return format_html("{}<span class='my-below'>{}</span>", deployment.name, deployment.model.name)

    @admin.display(description=_("Deployment ID"), ordering="id")
    def deployment_id(self, deployment: Deployment) -> SafeString:
        """The system's ID."""
        return format_html("<code class='my-id'>{}</code>", deployment.pk)

    @admin.display(description=_("Status"), ordering="status")
    def state(self, deployment: Deployment) -> SafeString:
        """The status, kept up to date by the page."""
        progress = getattr(deployment, "progress", None)  # see changelist_view
        return format_html('<span data-live-status="{}">{}</span>', deployment.pk, status_of(deployment, progress))

    @admin.display(description=_("Tags"))
    def tag_list(self, deployment: Deployment) -> SafeString:
        """The tags."""
        return tag_links(deployment.tags)

    @admin.display(description=_("Added By"), ordering="added_by__username")
    def adder(self, deployment: Deployment) -> str:
        """Who added it."""
        return deployment.added_by.get_username() if deployment.added_by else "—"

    @admin.display(description=_("Added On"), ordering="added_at")
    def added_on(self, deployment: Deployment) -> SafeString:
        """When it was added."""
        return moments.moment(deployment.added_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Deployment]:
        """Models are looked up after the page's rows: joined, SQLite may walk through all models first."""
        rows: QuerySet[Deployment] = super().get_queryset(request)
        of_one = bool(request.GET.get("model__id__exact"))
        return rows.select_related("model", *self.list_select_related) if of_one else rows.prefetch_related("model")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Deployment], search_term: str
    ) -> tuple[QuerySet[Deployment], bool]:
        """Every word is in the name, the ID, the description or the model's name; without a join, as above."""
        for word in search_term.split():
            own = Q(name__icontains=word) | Q(pk__icontains=word) | Q(description__icontains=word)
            queryset = queryset.filter(own | Q(model__in=Model.objects.filter(name__icontains=word)))
        return queryset, False

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; what may be done with a row depends on who looks."""

        def row_actions(deployment: Deployment) -> SafeString:
            buttons = mark_safe(actions_of(deployment, request))  # noqa: S308 (rendered by a template)
            return format_html(
                '<span data-live-actions="{}" data-word="{}">{}</span>', deployment.pk, deployment.status, buttons
            )

        row_actions.short_description = _("Actions")  # type: ignore[attr-defined]
        return [*super().get_list_display(request), row_actions]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list; its actions depend on who looks, so they are filled in with the response."""
        model_id = request.GET.get("model__id__exact", "")
        model = Model.objects.for_head().filter(pk=model_id).first() if model_id else None
        request.of_model = model  # type: ignore[attr-defined] # for the filter by model
        extra = {
            **(extra_context or {}),
            "title": gettext("Deployments of %(model)s") % {"model": model.name} if model else gettext("Deployments"),
            "of_model": model,
            "may_add": console.may(request, "deployments.add_deployment"),
            "may_import": console.may(request, "models.import_model"),
            "narrowed": bool(set(request.GET) - {"model__id__exact"}),
            "live_url": reverse("admin:deployments_deployment_live"),
        }
        response: HttpResponse = super().changelist_view(request, extra)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            shown = context["cl"]
            progress = progress_of(shown.result_list)
            for row in shown.result_list:
                row.progress = progress.get(row.pk)
            context["nothing_yet"] = not shown.result_count and not Deployment.objects.exists()
        return response

    def get_urls(self) -> Sequence[URLPattern]:
        """The pages of a deployment, before Django's own."""
        wrap = self.admin_site.admin_view
        name = "deployments_deployment_{}".format
        one = "<system_id:pk>/"
        own = [
            path("live/", wrap(self.live), name=name("live")),
            path("add/", wrap(wizard.start), name=name("add")),
            path("add/name/", wrap(wizard.name), name=name("add_name")),
            path("add/<system_id:draft>/<slug:step>/", wrap(wizard.step), name=name("add_step")),
            path("bulk/<slug:name>/", wrap(bulk_pages.do), name=name("bulk")),
            path("fit/", wrap(fitting.fragment), name=name("fit")),
            path("export/<system_id:pk>/", wrap(export_pages.export), name=name("export")),
            path("of-model/<system_id:pk>/fit/", wrap(model_fit.of_model), name=name("model_fit")),
            path(f"{one}", wrap(endpoint.endpoint), name=name("detail")),
            path(f"{one}change/", wrap(endpoint.endpoint), name=name("change")),
            path(f"{one}keys/", wrap(key_pages.keys), name=name("keys")),
            path(f"{one}keys/<slug:key_id>/", wrap(key_pages.key), name=name("key")),
            path(f"{one}keys/<slug:key_id>/rotate/", wrap(key_pages.rotate_key), name=name("rotate_key")),
            path(f"{one}keys/<slug:key_id>/revoke/", wrap(key_pages.revoke_key), name=name("revoke_key")),
            path(f"{one}configuration/", wrap(configuration.configuration), name=name("configuration")),
            path(f"{one}optimization/", wrap(proofs.proofs), name=name("optimization")),
            path(f"{one}optimization/<int:number>.<slug:kind>", wrap(proofs.export), name=name("proof_export")),
            path(f"{one}decide/<slug:decision>/", wrap(proofs.decide), name=name("decide")),
            path(f"{one}events/", wrap(events.events), name=name("events")),
            path(f"{one}usage/", wrap(usage.of_deployment), name=name("usage")),
            path(f"{one}captures/", wrap(usage.captures), name=name("captures")),
            path(f"{one}history/", wrap(history.history), name=name("history")),
            path(f"{one}logs/", wrap(logs.tab), name=name("logs")),
            path(f"{one}logs/lines/", wrap(logs.lines), name=name("log_lines")),
            path(f"{one}logs/download/", wrap(logs.download), name=name("log_download")),
            path(f"{one}metrics/", wrap(metrics.metrics), name=name("metrics")),
            path(f"{one}redeploy/", wrap(wizard.again), name=name("redeploy")),
            path(f"{one}redeploy/<system_id:draft>/<slug:step>/", wrap(wizard.step), name=name("redeploy_step")),
            path(f"{one}curl/", wrap(pages.curl), name=name("curl")),
            path(f"{one}do/<slug:verb>/", wrap(pages.do), name=name("do")),
        ]
        return [*own, *super().get_urls()]

    def live(self, request: HttpRequest) -> JsonResponse:
        """Status and actions of the rows that a page shows."""
        console.require(request, "deployments.view_deployment")
        ids = request.GET.get("ids", "").split(",")[:LIVE_LIMIT]
        rows = list(Deployment.objects.filter(pk__in=ids).select_related("target_version"))
        progress = progress_of(rows)
        return JsonResponse({"rows": {row.pk: live_state(row, request, progress.get(row.pk)) for row in rows}})

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """What this person may do to several at once; each leads to a page that says what would happen."""
        may = console.person(request).has_perm
        here = [ActionLocation.CHANGE_LIST]
        if action_location not in {None, *here}:
            return {}
        return {
            name: Action(partial(_several, name), name, str(verb.title), str(verb.title), here)
            for name, verb in bulk.VERBS.items()
            if may(verb.permission)
        }

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never through Django's form: the page that deploys a model asks for the permission itself."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never through Django's form: its pages call the operations."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never through Django's delete: the operation looks whether something runs."""
        return False
