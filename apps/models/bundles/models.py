"""Where a model that came out of a bundle was read from: enough to read it again."""

from typing import ClassVar

from django.db import models


class BundleOrigin(models.Model):
    """The bundle that a model is imported from. The files aren't ours: only an import that has not ended reads them."""

    model = models.OneToOneField("models.Model", models.CASCADE, primary_key=True, related_name="bundle_origin")
    root = models.CharField("folder of the bundle", max_length=4096)
    directory = models.CharField("folder of the model in it", max_length=900)
    entry = models.CharField("catalogue entry", max_length=100)
    runtime = models.CharField("recommended runtime", max_length=64, blank=True)
    options = models.JSONField("recommended options", default=dict)

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["model"]

    def __str__(self) -> str:
        return f"{self.directory} in {self.root}"
