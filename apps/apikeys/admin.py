"""The admin's list of every API key; keys are made and revoked on their deployment's page."""

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.apikeys.models import ApiKey, State, state_of
from modelyard import console

TONES = {State.ACTIVE: "good", State.REVOKED: "calm", State.EXPIRED: "warn"}


@admin.register(ApiKey)
class ApiKeyAdmin(console.ModelAdmin):
    """All keys, to see who may call what and since when."""

    list_display: ClassVar = ["name", "shown", "of", "state", "created_by", "created_at", "last_used_at", "expires_at"]
    list_display_links = None
    list_filter: ClassVar = [("deployment", admin.RelatedOnlyFieldListFilter)]
    list_select_related: ClassVar = ["deployment", "created_by"]
    search_fields: ClassVar = ["name", "prefix", "deployment__name"]
    actions = None

    @admin.display(description="Key")
    def shown(self, key: ApiKey) -> SafeString:
        """What is known of it."""
        return format_html("<code>{}…</code>", key.prefix)

    @admin.display(description="Deployment", ordering="deployment__name")
    def of(self, key: ApiKey) -> SafeString:
        """Its deployment, with the page that makes and revokes keys."""
        address = reverse("admin:deployments_deployment_keys", args=[key.deployment_id])
        return format_html('<a class="my-link" href="{}">{}</a>', address, key.deployment)

    @admin.display(description="State")
    def state(self, key: ApiKey) -> SafeString:
        """Active, revoked or expired."""
        return console.badge(str(state_of(key).label), TONES[state_of(key)])

    def has_add_permission(self, request: HttpRequest) -> bool:
        """On the deployment's page."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A key doesn't change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A key is revoked, so that it stays known."""
        return False
