"""The admin's list of every API key; keys are made, changed and revoked on their deployment's pages."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.apikeys import words
from apps.apikeys.models import ApiKey
from modelyard import console
from modelyard.moments import moment


class StateFilter(admin.SimpleListFilter):
    """Keys by whether they still open anything."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The states, and the overlap of a rotation."""
        return [("active", "Active"), ("rotated", "Rotated, still works"), ("expired", "Expired"),
                ("revoked", "Revoked")]  # fmt: skip

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Those in the chosen state; a rotated one counts as active too while it works."""
        keys = ApiKey.objects.all()
        chosen = {
            "active": keys.active(),
            "rotated": keys.active().exclude(successor=None),
            "expired": keys.expired(),
            "revoked": keys.exclude(revoked_at=None),
        }.get(self.value() or "")
        return queryset if chosen is None else queryset & chosen


@admin.register(ApiKey)
class ApiKeyAdmin(console.ModelAdmin):
    """All keys, to see who may call what and since when."""

    list_display: ClassVar = [
        "named", "of", "state", "limits", "scope", "created_by", "made", "used", "ends",
    ]  # fmt: skip
    list_display_links = None
    list_filter: ClassVar = [StateFilter, ("deployment", admin.RelatedOnlyFieldListFilter)]
    list_select_related: ClassVar = ["deployment", "created_by"]
    search_fields: ClassVar = ["name", "prefix", "notes", "deployment__name"]
    search_help_text = "Name, key, notes or deployment"
    actions = None

    @admin.display(description="Name", ordering="name")
    def named(self, key: ApiKey) -> SafeString:
        """Its name with its page, and what is known of the key below."""
        address = reverse("admin:deployments_deployment_key", args=[key.deployment_id, key.pk])
        below = format_html('<code class="my-below">{}…</code>', key.prefix)
        return format_html('<a class="my-link" href="{}">{}</a>{}', address, key.name, below)

    @admin.display(description="Deployment", ordering="deployment__name")
    def of(self, key: ApiKey) -> SafeString:
        """Its deployment, with the page that makes and revokes keys."""
        address = reverse("admin:deployments_deployment_keys", args=[key.deployment_id])
        return format_html('<a class="my-link" href="{}">{}</a>', address, key.deployment)

    @admin.display(description="State")
    def state(self, key: ApiKey) -> SafeString:
        """Active, rotated, revoked or expired."""
        return words.badge(key)

    @admin.display(description="Limits")
    def limits(self, key: ApiKey) -> str:
        """What it may use at most, in short."""
        return words.limits(key)

    @admin.display(description="Scopes")
    def scope(self, key: ApiKey) -> str:
        """What it may call."""
        return words.value("scopes", key.scopes)

    @admin.display(description="Created on", ordering="created_at")
    def made(self, key: ApiKey) -> SafeString:
        """In the zone of who looks."""
        return moment(key.created_at)

    @admin.display(description="Expires", ordering="expires_at")
    def ends(self, key: ApiKey) -> SafeString:
        """When it stops working by itself, if ever."""
        return moment(key.expires_at)

    @admin.display(description="Last used", ordering="last_used_at")
    def used(self, key: ApiKey) -> SafeString | str:
        """When, and from which address."""
        if key.last_used_at is None:
            return "never"
        return format_html(
            '{}<span class="my-below">{}</span>', moment(key.last_used_at, "relative"), key.last_used_from
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """On the deployment's page."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """On the key's own page."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A key is revoked, so that it stays known."""
        return False
