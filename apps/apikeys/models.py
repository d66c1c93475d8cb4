"""Who may call a deployment: API keys, each of one deployment only."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from apps.apikeys.querysets import ApiKeyQuerySet


class State(models.TextChoices):
    """Whether a key still opens anything."""

    ACTIVE = "active", "Active"
    REVOKED = "revoked", "Revoked"
    EXPIRED = "expired", "Expired"


class ApiKey(models.Model):
    """A key of one deployment. The secret itself is never stored, only its keyed hash.

    `id` is the public part that stands in the key itself (`myk_<id>_<secret>`); `prefix` is what lists show.
    """

    id = models.CharField("key ID", primary_key=True, max_length=24, editable=False)
    deployment = models.ForeignKey("deployments.Deployment", models.CASCADE, related_name="api_keys", editable=False)
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=32, editable=False)
    hash = models.CharField(max_length=64, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField("created on", auto_now_add=True, editable=False)
    last_used_at = models.DateTimeField("last used", null=True, blank=True, editable=False)
    expires_at = models.DateTimeField("expires", null=True, blank=True)
    revoked_at = models.DateTimeField("revoked", null=True, blank=True, editable=False)
    revoked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering: ClassVar = ["-created_at"]
        default_permissions = ("add", "view")
        permissions: ClassVar = [("revoke_apikey", "Can revoke API keys")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


def state_of(key: ApiKey) -> State:
    """The state of a key at this moment."""
    if key.revoked_at:
        return State.REVOKED
    return State.EXPIRED if key.expires_at and key.expires_at <= timezone.now() else State.ACTIVE
