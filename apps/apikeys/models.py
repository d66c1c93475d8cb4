"""Who may call a deployment: API keys, each of one deployment only."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.apikeys.querysets import ApiKeyQuerySet


class State(models.TextChoices):
    """Whether a key still opens anything."""

    ACTIVE = "active", _("Active")
    REVOKED = "revoked", _("Revoked")
    EXPIRED = "expired", _("Expired")


class Limited(models.Model):
    """What may be used at most. Empty is unlimited; 0 is a limit: nothing passes."""

    requests_per_minute = models.PositiveBigIntegerField("requests a minute", null=True, blank=True)
    tokens_per_minute = models.PositiveBigIntegerField("tokens a minute", null=True, blank=True)
    tokens_per_day = models.PositiveBigIntegerField("tokens a day", null=True, blank=True)
    tokens_per_month = models.PositiveBigIntegerField("tokens a month", null=True, blank=True)
    concurrent_requests = models.PositiveBigIntegerField("requests at once", null=True, blank=True)

    class Meta:
        abstract = True


LIMITS = tuple(field.name for field in Limited._meta.fields)


class ApiKey(Limited):
    """A key of one deployment. The secret itself is never stored, only its keyed hash.

    `id` is the public part that stands in the key itself (`myk_<id>_<secret>`); `prefix` is what lists show. `account`
    is what counters and usage hang on: the ID of the first of a line of rotated keys, so that rotation resets nothing.
    """

    id = models.CharField("key ID", primary_key=True, max_length=24, editable=False)
    deployment = models.ForeignKey("deployments.Deployment", models.CASCADE, related_name="api_keys", editable=False)
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=32, editable=False)
    hash = models.CharField(max_length=64, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(_("created on"), auto_now_add=True, editable=False)
    account = models.CharField(max_length=24, default="", editable=False, db_index=True)
    successor = models.OneToOneField(
        "self", models.SET_NULL, null=True, editable=False, related_name="predecessor", help_text="What rotation made."
    )
    scopes = models.JSONField(default=list, blank=True, help_text="What it may call; empty: everything.")
    networks = models.JSONField(default=list, blank=True, help_text="Addresses it may come from; empty: any.")
    notes = models.TextField(blank=True)
    last_used_at = models.DateTimeField("last used", null=True, blank=True, editable=False)
    last_used_from = models.CharField("last used from", max_length=45, blank=True, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField("revoked", null=True, blank=True, editable=False)
    revoked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )

    objects = ApiKeyQuerySet.as_manager()

    class Meta(Limited.Meta):
        abstract = False
        verbose_name = "API key"
        ordering: ClassVar = ["-created_at"]
        default_permissions = ("add", "change", "view")
        permissions: ClassVar = [("revoke_apikey", "Can revoke API keys")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class KeyEvent(models.Model):
    """One line of what was done with keys. Only ever added; it outlives the key (IDs and names, no foreign keys)."""

    at = models.DateTimeField(auto_now_add=True)
    key_id = models.CharField(max_length=24, db_index=True)
    account = models.CharField(max_length=24, db_index=True)
    key_name = models.CharField(max_length=100)
    deployment_id = models.CharField(max_length=24, db_index=True)
    code = models.CharField(max_length=64)
    message = models.TextField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    detail = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.code


def state_of(key: ApiKey) -> State:
    """The state of a key at this moment."""
    if key.revoked_at:
        return State.REVOKED
    return State.EXPIRED if key.expires_at and key.expires_at <= timezone.now() else State.ACTIVE
