"""The record of what was let in against a rule."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone


class RuleOverride(models.Model):
    """Somebody let a model in although a rule had blocked it. It outlives the model, and nothing changes it."""

    model_id = models.CharField("model ID", max_length=24, db_index=True)
    model_name = models.CharField(max_length=255)
    revision = models.PositiveIntegerField()
    rule = models.CharField(max_length=16)
    finding = models.TextField()
    reason = models.TextField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    by_name = models.CharField(max_length=150)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-at", "-pk"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.rule} of {self.model_name}"
