"""What can be served: models, their files, and the report of each import."""

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.models.querysets import ModelQuerySet
from modelyard import ids

if TYPE_CHECKING:
    from django_stubs_ext.db.models.manager import RelatedManager


class Status(models.TextChoices):
    """Where a model's import stands.

    (upload) -> IMPORTING -> VALIDATING -> READY
                 ^  |            |
          PAUSED-+<-+------------+-> IMPORT_FAILED
    READY -> UPDATING -> READY

    Only a download can be paused; a failed import can be tried again while what it is from is still there. While a
    newer revision is downloaded, and if that fails, the model goes on being what it is.
    """

    IMPORTING = "importing", _("Importing")
    PAUSED = "paused", _("Paused")
    VALIDATING = "validating", _("Validating")
    READY = "ready", _("Ready")
    UPDATING = "updating", _("Updating")
    IMPORT_FAILED = "import_failed", _("Import failed")


WORKING = frozenset({Status.IMPORTING, Status.VALIDATING, Status.UPDATING})
USABLE = frozenset({Status.READY, Status.UPDATING})
"""What can be deployed, exported and carried."""


class Source(models.TextChoices):
    """Where a model came from."""

    FILE = "file", _("File")
    PLATFORM_HOSTED = "platform_hosted", _("Platform Hosted")
    HUGGING_FACE = "hugging_face", "Hugging Face"


class Kind(models.TextChoices):
    """A model of its own, or an adapter of another one."""

    BASE = "base", _("Base model")
    ADAPTER = "adapter", _("Adapter")


class Format(models.TextChoices):
    """The format of a model's weights, as found in its files."""

    ONNX = "onnx", "ONNX"
    SAFETENSORS = "safetensors", "Safetensors"
    GGUF = "gguf", "GGUF"
    PICKLE = "pickle", _("PyTorch pickle")


class Model(models.Model):
    """An imported model: a folder of files that nothing changes any more once it is Ready."""

    id = models.CharField("model ID", primary_key=True, max_length=24, default=ids.model, editable=False)
    name = models.CharField(max_length=255, unique=True, editable=False)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.BASE, editable=False)
    base_model = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, editable=False, related_name="adapters"
    )
    adapter = models.JSONField(default=dict, blank=True, editable=False, help_text="What an adapter says of itself.")
    source = models.CharField(max_length=24, choices=Source, default=Source.FILE, editable=False)
    status = models.CharField(max_length=24, choices=Status, default=Status.IMPORTING, editable=False, db_index=True)

    task = models.CharField(max_length=64, blank=True, editable=False)
    format = models.CharField(max_length=16, choices=Format, blank=True, editable=False)
    architecture = models.CharField(max_length=128, blank=True, editable=False)
    parameter_count = models.BigIntegerField(null=True, blank=True, editable=False)
    context_length = models.PositiveIntegerField("context length (tokens)", null=True, blank=True, editable=False)
    licence = models.CharField(max_length=128, blank=True, editable=False)
    size = models.BigIntegerField("size (bytes)", default=0, editable=False)
    revision = models.PositiveIntegerField(default=1, editable=False)
    sha256 = models.CharField("SHA-256 of the archive", max_length=64, blank=True, editable=False)

    description = models.TextField(blank=True)
    tags = models.JSONField(default=list, blank=True)
    added_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+")
    added_at = models.DateTimeField("added on", auto_now_add=True, editable=False)

    # The import: its stage and progress, and what went wrong in one line with what to do next.
    stage = models.CharField(max_length=64, blank=True, editable=False)
    progress = models.PositiveSmallIntegerField("progress (%)", default=0, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    failure_code = models.CharField(max_length=64, blank=True, editable=False)
    failure = models.TextField(blank=True, editable=False)
    next_step = models.TextField(blank=True, editable=False)
    lease_owner = models.CharField(max_length=64, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    heartbeat_at = models.DateTimeField(null=True, editable=False)

    objects = ModelQuerySet.as_manager()

    if TYPE_CHECKING:
        all_files: RelatedManager["ModelFile"]
        revisions: RelatedManager["Revision"]
        findings: RelatedManager["ImportFinding"]
        adapters: RelatedManager["Model"]

    class Meta:
        ordering: ClassVar = ["-added_at"]
        permissions: ClassVar = [
            ("import_model", "Can import models"),
            ("export_model", "Can export models"),
            ("override_rule", "Can override a rule that blocked an import"),
        ]
        default_permissions = ("change", "delete", "view")
        # The list is by newest first, whatever their number; its filter names the tasks there are.
        indexes: ClassVar = [
            models.Index(fields=["-added_at", "-id"], name="models_newest_first"),
            models.Index(fields=["task"], name="models_by_task"),
            models.Index(fields=["size"], name="models_by_size"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_adapter(self) -> bool:
        """Is it served on top of another model?"""
        return self.kind == Kind.ADAPTER

    def base_revision(self, number: int) -> int:
        """The revision of its base that a revision of an adapter was checked against, and is served on."""
        found = self.revisions.filter(number=number).values_list("base_revision", flat=True).first()
        return found or 1

    @property
    def files(self) -> models.QuerySet["ModelFile"]:
        """Those of its newest revision."""
        return self.all_files.filter(revision=self.revision)


class Revision(models.Model):
    """One state of a model's files. Deployments stay with theirs until they are re-deployed."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    commit = models.CharField(max_length=64, blank=True, help_text="At the hub, if it is from there.")
    size = models.BigIntegerField("size (bytes)", default=0)
    base_revision = models.PositiveIntegerField(null=True, help_text="Of an adapter's base; what it is served on.")
    made_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        default_permissions = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["model", "number"], name="one_revision_a_number")]

    def __str__(self) -> str:
        return f"r{self.number}"


class ModelFile(models.Model):
    """One file of a revision of a model."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="all_files")
    revision = models.PositiveIntegerField(default=1)
    path = models.CharField(max_length=1024)
    size = models.BigIntegerField("size (bytes)")
    sha256 = models.CharField("SHA-256", max_length=64)

    class Meta:
        ordering: ClassVar = ["path"]
        default_permissions = ("view",)
        constraints: ClassVar = [models.UniqueConstraint(fields=["model", "revision", "path"], name="one_file_a_path")]

    def __str__(self) -> str:
        return self.path


class Level(models.TextChoices):
    """How a rule of the import ended."""

    PASS = "pass", _("Pass")
    WARN = "warn", _("Warning")
    BLOCK = "block", _("Blocked")


class ImportFinding(models.Model):
    """One line of an import's validation report: which rule, how it ended, what was found, what to do."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="findings")
    rule = models.CharField(max_length=16)
    level = models.CharField(max_length=8, choices=Level)
    finding = models.TextField()
    next_step = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.rule} {self.level}"


from apps.models.bundles.models import BundleOrigin  # noqa: E402, F401 (models live in their packages)
from apps.models.deployconfig.models import KeptConfig  # noqa: E402, F401
from apps.models.hub.models import Connection, HubOrigin  # noqa: E402, F401
from apps.models.installation.models import Installation  # noqa: E402, F401
from apps.models.overrides.models import RuleOverride  # noqa: E402, F401
from apps.models.uploads.models import Upload  # noqa: E402, F401
