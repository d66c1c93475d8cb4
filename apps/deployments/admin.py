"""The admin's list of deployments, and the addresses of their pages."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from apps.deployments import export_pages, fitting, key_pages, pages, proofs
from apps.deployments.models import Deployment
from apps.deployments.statuses import RETRIGGERABLE, WORKING, Desired, Status
from apps.deployments.tabs import configuration, endpoint, events, history, logs, metrics
from apps.deployments.usage import pages as usage
from apps.deployments.wizard import pages as wizard
from apps.models.models import Model
from modelyard import console

TONES = {
    Status.DEPLOYED: "good", Status.DEPLOYING: "busy", Status.OPTIMIZING: "busy", Status.FAILED: "bad",
    Status.STOPPED: "calm", Status.READY_TO_DEPLOY: "calm",
}  # fmt: skip
LIVE_LIMIT = 200  # rows that one poll may ask for


class TagFilter(admin.SimpleListFilter):
    """Deployments that carry a tag."""

    title = "tag"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The tags there are, of the newest deployments."""
        rows = Deployment.objects.exclude(tags=[]).order_by("-added_at").values_list("tags", flat=True)[:500]
        return [(tag, tag) for tag in sorted({tag for row in rows for tag in row})[:50]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Those with the chosen tag."""
        return queryset.with_tag(self.value()) if self.value() else queryset  # type: ignore[attr-defined]


@admin.register(Deployment)
class DeploymentAdmin(console.ModelAdmin):
    """Deployments: one list, and pages of their own for everything else."""

    list_display: ClassVar = ["title", "deployment_id", "state", "tag_list", "added_by", "added_at"]
    list_display_links: ClassVar = ["title"]
    list_filter: ClassVar = ["status", "runtime", TagFilter, ("model", admin.RelatedOnlyFieldListFilter),
                             ("added_by", admin.RelatedOnlyFieldListFilter)]  # fmt: skip
    list_select_related: ClassVar = ["model", "added_by", "target_version"]
    search_fields: ClassVar = ["name", "id", "description", "model__name"]
    search_help_text = "Name, ID, description or model"
    list_per_page = 50
    actions = None
    list_before_template = "deployments/admin/list_before.html"
    list_after_template = "modelyard/dialogs.html"

    @admin.display(description="Deployment Name", ordering="name")
    def title(self, deployment: Deployment) -> SafeString:
        """The name, and the model below it."""
        return format_html("{}<span class='my-below'>{}</span>", deployment.name, deployment.model.name)

    @admin.display(description="Deployment ID", ordering="id")
    def deployment_id(self, deployment: Deployment) -> SafeString:
        """The system's ID."""
        return format_html("<code class='my-id'>{}</code>", deployment.pk)

    @admin.display(description="Status", ordering="status")
    def state(self, deployment: Deployment) -> SafeString:
        """The status, kept up to date by the page."""
        return format_html(
            '<span data-live-status="{}" aria-live="polite">{}</span>', deployment.pk, status_of(deployment)
        )

    @admin.display(description="Tags")
    def tag_list(self, deployment: Deployment) -> SafeString:
        """The tags."""
        return console.tags(deployment.tags)

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; what may be done with a row depends on who looks."""

        def row_actions(deployment: Deployment) -> SafeString:
            buttons = mark_safe(actions_of(deployment, request))  # noqa: S308 (rendered by a template)
            return format_html('<span data-live-actions="{}">{}</span>', deployment.pk, buttons)

        row_actions.short_description = "Actions"  # type: ignore[attr-defined]
        return [*super().get_list_display(request), row_actions]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list; its actions depend on who looks, so they are filled in with the response."""
        model_id = request.GET.get("model__id__exact", "")
        model = Model.objects.filter(pk=model_id).first() if model_id else None
        extra = {
            **(extra_context or {}),
            "title": f"Deployments of {model.name}" if model else "Deployments",
            "of_model": model,
            "may_add": console.may(request, "deployments.add_deployment"),
            "live_url": reverse("admin:deployments_deployment_live"),
        }
        response: HttpResponse = super().changelist_view(request, extra)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            context["nothing_yet"] = not context["cl"].result_count and not Deployment.objects.exists()
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
            path("fit/", wrap(fitting.fragment), name=name("fit")),
            path("export/<system_id:pk>/", wrap(export_pages.export), name=name("export")),
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
        rows = Deployment.objects.filter(pk__in=ids).select_related("target_version")
        return JsonResponse({"rows": {row.pk: live_state(row, request) for row in rows}})

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never through Django's form: the page that deploys a model asks for the permission itself."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never through Django's form: its pages call the operations."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never through Django's delete: the operation looks whether something runs."""
        return False


def status_of(deployment: Deployment) -> SafeString:
    """The status as a badge, with what is being done below it."""
    status = Status(deployment.status)
    label, tone = status.label, TONES[status]
    draining = status == Status.DEPLOYED and deployment.desired == Desired.STOPPED
    if draining:
        tone = "busy"
    waits = "Waits for accept or reject" if deployment.waits_for_decision else ""
    below = deployment.stage or waits or (deployment.failure if status == Status.FAILED else "")
    shown = below if len(below) < 70 else below[:68] + "…"
    extra = format_html('<span class="my-below" title="{}">{}</span>', below, shown) if below else mark_safe("")
    return format_html("{}{}", console.badge(str(label), tone), extra)


def live_state(deployment: Deployment, request: HttpRequest) -> dict[str, Any]:
    """What the page shows of a deployment now, and whether it is moving."""
    moving = deployment.status in WORKING or bool(deployment.stage)
    return {"status": status_of(deployment), "actions": actions_of(deployment, request), "moving": moving,
            "word": deployment.status}  # fmt: skip


def actions_of(deployment: Deployment, request: HttpRequest) -> str:
    """The buttons of a row: only what makes sense now, and what this person may do."""
    may = console.person(request).has_perm
    context = {
        "deployment": deployment,
        "may_curl": True,
        "may_keys": may("apikeys.view_apikey"),
        "may_retrigger": deployment.status in RETRIGGERABLE and may("deployments.deploy_deployment"),
        "may_deploy": deployment.status == Status.READY_TO_DEPLOY
        and not deployment.waits_for_decision
        and may("deployments.deploy_deployment"),
        "may_decide": deployment.waits_for_decision and may("deployments.decide_deployment"),
    }
    return render_to_string("deployments/admin/row_actions.html", context, request=request)
