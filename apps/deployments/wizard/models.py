"""What somebody has typed into the wizard so far, so that no reload, login or second thought loses it."""

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models

from modelyard import ids


class Draft(models.Model):
    """One way through the wizard: the values of its fields as they were typed, by name."""

    id = models.CharField("draft ID", primary_key=True, max_length=24, default=ids.draft, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    values = models.JSONField(default=dict)
    passed = models.JSONField(default=list, help_text="Steps that were left with valid values.")
    filled_from = models.CharField(max_length=24, blank=True, help_text="The model whose configuration it starts with.")
    deployment = models.ForeignKey(
        "Deployment", models.CASCADE, null=True, related_name="+", help_text="That is deployed again; empty: a new one."
    )
    base = models.PositiveIntegerField(null=True, help_text="The number of the version that a re-deploy starts from.")
    made = models.ForeignKey("Deployment", models.SET_NULL, null=True, related_name="+")
    sent_at = models.DateTimeField(null=True)
    saved_at = models.DateTimeField(null=True)
    made_at = models.DateTimeField(auto_now_add=True)

    if TYPE_CHECKING:
        deployment_id: str | None
        made_id: str | None

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["-made_at"]

    def __str__(self) -> str:
        return str(self.values.get("name", "")) or self.id
