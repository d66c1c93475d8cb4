"""Uploads that aren't models yet."""

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models

from modelyard import ids


class Upload(models.Model):
    """A file that somebody sends piece by piece. How much has come is the size of its file on disk, nothing else.

    It is there until its import has begun, until it is discarded, or until nothing came for so long that it expired.
    """

    id = models.CharField("upload ID", primary_key=True, max_length=24, default=ids.upload, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    name = models.CharField("model's name", max_length=255, unique=True)
    file_name = models.CharField(max_length=400)
    length = models.BigIntegerField("length (bytes)")
    description = models.TextField(blank=True)
    tags = models.JSONField(default=list)
    metadata = models.TextField("metadata as sent", blank=True)
    base_model = models.ForeignKey("models.Model", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    problem = models.TextField("why its import can't begin", blank=True)

    if TYPE_CHECKING:
        owner_id: int

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return self.file_name
