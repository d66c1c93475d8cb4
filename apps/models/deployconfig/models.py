"""The deployconfig.json that came with a model, kept apart from its files."""

from typing import ClassVar

from django.db import models


class KeptConfig(models.Model):
    """What fills the deploy form in for a model."""

    model = models.OneToOneField("models.Model", models.CASCADE, primary_key=True, related_name="kept_config")
    content = models.JSONField(help_text="By the published schema.")

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["model"]

    def __str__(self) -> str:
        return f"deployconfig of {self.model}"
