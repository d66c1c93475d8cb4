"""Connections to the hub, and where a model that came from it was downloaded from."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from modelyard import ids


class Connection(models.Model):
    """A named token of the hub. The token is encrypted, and nobody gets to see it again."""

    id = models.CharField("connection ID", primary_key=True, max_length=24, default=ids.connection, editable=False)
    name = models.CharField(max_length=64, unique=True)
    token = models.TextField("encrypted token", editable=False)
    hint = models.CharField("last characters", max_length=4, editable=False)
    account = models.CharField("account", max_length=128, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField("created on", auto_now_add=True, editable=False)
    replaced_at = models.DateTimeField("token replaced on", null=True, editable=False)
    tested_at = models.DateTimeField("tested on", null=True, editable=False)
    test_problem = models.CharField("what the test found", max_length=255, blank=True, editable=False)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class HubOrigin(models.Model):
    """The repository that a model is from, at one commit; enough to go on with a download that was interrupted."""

    model = models.OneToOneField("models.Model", models.CASCADE, primary_key=True, related_name="hub_origin")
    repository = models.CharField(max_length=200)
    revision = models.CharField("asked revision", max_length=200)
    commit = models.CharField(max_length=64)
    connection = models.ForeignKey(Connection, models.SET_NULL, null=True, related_name="origins")
    patterns = models.JSONField("asked files", default=list, help_text="As `fnmatch` reads them; empty: our choice.")
    files = models.JSONField(default=list, help_text="Path, size, and the hub's SHA-256 or Git's hash of each.")
    task = models.CharField(max_length=64, blank=True)
    licence = models.CharField(max_length=128, blank=True)
    config = models.JSONField("deployconfig", null=True, help_text="What the catalogue recommends.")

    total_bytes = models.BigIntegerField(default=0)
    done_bytes = models.BigIntegerField(default=0)
    upcoming = models.JSONField(null=True, help_text="Commit, files and bytes of the revision that is downloaded now.")
    bytes_per_second = models.BigIntegerField(default=0)
    tries = models.PositiveSmallIntegerField("tries without a byte", default=0)

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["model"]

    def goal(self) -> "HubOrigin":
        """What is to be downloaded: the newer revision, if one was asked for. Not saved."""
        if self.upcoming:
            self.commit, self.files, self.total_bytes = (
                self.upcoming[name] for name in ("commit", "files", "total_bytes")
            )
        return self

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit[:8]}"
