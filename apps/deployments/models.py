"""What is being served: deployments, their versions, replicas and events."""

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models

from apps.apikeys.models import Limited
from apps.deployments.querysets import DeploymentQuerySet
from apps.deployments.statuses import Desired, Outcome, ReplicaState, Role, Status
from apps.deployments.usage.models import Batch, Capture, Gap, UsageDay, UsageHour, UsageRecord
from apps.deployments.wizard.models import Draft
from modelyard import ids

if TYPE_CHECKING:
    from django_stubs_ext.db.models.manager import RelatedManager

    from apps.apikeys.models import ApiKey

__all__ = [
    "Artifact", "Batch", "Capture", "Deployment", "Draft", "Event", "Gap", "Proof", "Replica", "UsageDay", "UsageHour",
    "UsageRecord", "Version",
]  # fmt: skip


class Deployment(Limited):
    """One endpoint of one model: what people want of it (`desired`), and what is so (`status`).

    `status` is written by `transitions.move` only. The reconciler owns everything below `lease_owner`.
    """

    id = models.CharField("deployment ID", primary_key=True, max_length=24, default=ids.deployment, editable=False)
    name = models.CharField(max_length=100, unique=True)
    model = models.ForeignKey("models.Model", models.PROTECT, related_name="deployments")
    runtime = models.CharField(max_length=64)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=list, blank=True)
    added_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+")
    added_at = models.DateTimeField("added on", auto_now_add=True, editable=False)

    status = models.CharField(
        max_length=24, choices=Status, default=Status.READY_TO_DEPLOY, editable=False, db_index=True
    )
    status_at = models.DateTimeField("in this status since", auto_now_add=True, editable=False)
    desired = models.CharField(max_length=16, choices=Desired, default=Desired.STOPPED, editable=False)
    generation = models.PositiveIntegerField(default=0, editable=False, help_text="Counts what people asked for.")
    target_version = models.ForeignKey("Version", models.SET_NULL, null=True, editable=False, related_name="+")
    live_version = models.ForeignKey("Version", models.SET_NULL, null=True, editable=False, related_name="+")

    lease_owner = models.CharField(max_length=64, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    heartbeat_at = models.DateTimeField(null=True, editable=False)
    stalled_at = models.DateTimeField(null=True, editable=False)
    stage = models.CharField(max_length=100, blank=True, editable=False)
    failure_code = models.CharField(max_length=64, blank=True, editable=False)
    failure = models.TextField(blank=True, editable=False)
    next_step = models.TextField(blank=True, editable=False)

    # Seconds; empty: the installation's setting.
    connect_timeout = models.FloatField("connect timeout (s)", null=True, blank=True)
    first_byte_timeout = models.FloatField("first byte timeout (s)", null=True, blank=True)
    idle_timeout = models.FloatField("idle timeout (s)", null=True, blank=True)
    total_timeout = models.FloatField("total timeout (s)", null=True, blank=True)
    captures = models.BooleanField("keep inputs and outputs", default=False)
    capture_days = models.PositiveSmallIntegerField("days inputs and outputs are kept", default=7)

    objects = DeploymentQuerySet.as_manager()

    if TYPE_CHECKING:
        model_id: str
        target_version_id: int | None
        live_version_id: int | None
        versions: RelatedManager["Version"]
        replicas: RelatedManager["Replica"]
        events: RelatedManager["Event"]
        api_keys: RelatedManager[ApiKey]

    class Meta(Limited.Meta):
        abstract = False
        ordering: ClassVar = ["-added_at"]
        indexes: ClassVar = [
            models.Index(fields=["-added_at", "-id"], name="deployments_by_age"),
            models.Index(fields=["status", "-status_at"], name="deployments_by_status"),
            # The list of one status or one model, newest first; and how many of a model are in each status.
            models.Index(fields=["status", "-added_at", "-id"], name="deployments_in_status"),
            models.Index(fields=["model", "-added_at", "-id"], name="deployments_of_model"),
            models.Index(fields=["model", "status"], name="deployments_model_status"),
        ]
        permissions: ClassVar = [
            ("deploy_deployment", "Can deploy, re-deploy and re-trigger"),
            ("undeploy_deployment", "Can undeploy"),
            ("decide_deployment", "Can accept or reject an optimization"),
            ("invoke_deployment", "Can call a deployment without an API key"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def waits_for_decision(self) -> bool:
        """Whether it can't be deployed before somebody accepts or rejects an optimization."""
        target = self.target_version
        return self.status == Status.READY_TO_DEPLOY and target is not None and target.outcome == Outcome.UNDECIDED

    def undecided(self) -> "Version | None":
        """The newest version whose optimization waits for accept or reject."""
        return self.versions.filter(outcome=Outcome.UNDECIDED).first()


class Artifact(models.Model):
    """What a recipe made of a model: a folder of its own, found again by `key`, which is what it was made from."""

    id = models.CharField("artifact ID", primary_key=True, max_length=24, default=ids.artifact, editable=False)
    key = models.CharField(max_length=64, unique=True)
    model = models.ForeignKey("models.Model", models.CASCADE, related_name="artifacts")
    runtime = models.CharField(max_length=64)
    recipe = models.CharField(max_length=64)
    files = models.JSONField(default=list, help_text="Path, size and SHA-256 of each.")
    size = models.BigIntegerField("size (bytes)", default=0)
    made_at = models.DateTimeField(auto_now_add=True)

    if TYPE_CHECKING:
        model_id: str

    class Meta:
        ordering: ClassVar = ["-made_at"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.recipe} of {self.model_id}"


class Version(models.Model):
    """One configuration that a deployment was given: v1, v2 … Written once; a re-deploy makes the next."""

    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    model_revision = models.PositiveIntegerField(default=1, help_text="The revision of the model that it serves.")
    options = models.JSONField(default=dict)
    replicas_wanted = models.PositiveSmallIntegerField("replicas", default=1)
    ready_seconds = models.PositiveIntegerField("start limit (s)", null=True, blank=True)
    recipe = models.CharField("optimization", max_length=64, blank=True)
    recipe_options = models.JSONField(default=dict, help_text="What the recipe sets over the options.")
    threshold = models.FloatField("least agreement", default=0.98)
    samples = models.TextField("own samples (JSONL)", blank=True)
    artifact = models.ForeignKey(Artifact, models.SET_NULL, null=True, related_name="versions")
    estimate = models.JSONField(default=dict, help_text="Memory it was expected to need, in bytes.")
    peak_memory = models.BigIntegerField("peak memory (bytes)", null=True, help_text="The most one engine took.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    ready_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=16, choices=Outcome, default=Outcome.PENDING)
    reason = models.TextField(blank=True)

    if TYPE_CHECKING:
        deployment_id: str
        artifact_id: str | None
        replicas: RelatedManager["Replica"]
        proof: "Proof"

    class Meta:
        ordering: ClassVar = ["-number"]
        default_permissions = ("view",)
        constraints: ClassVar = [models.UniqueConstraint(fields=["deployment", "number"], name="one_version_a_number")]

    def __str__(self) -> str:
        return f"v{self.number}"


class Proof(models.Model):
    """What an optimization cost and brought: the report on one version, and what was decided about it."""

    version = models.OneToOneField(Version, models.CASCADE, primary_key=True, related_name="proof")
    agreement = models.FloatField(help_text="With the original's answers: 1 is the same.")
    passed = models.BooleanField()
    report = models.JSONField(default=dict)
    made_at = models.DateTimeField(auto_now_add=True)
    accepted = models.BooleanField(null=True, help_text="Empty: nobody has decided.")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.agreement:.4f}"

    @property
    def holds(self) -> bool:
        """Whether the version may be deployed: it passed, or somebody accepted it; and nobody rejected it."""
        return self.passed if self.accepted is None else self.accepted


class Replica(models.Model):
    """One process of a version: where it runs and how it is. The launcher knows it by `id`."""

    id = models.CharField("replica ID", primary_key=True, max_length=24, default=ids.replica, editable=False)
    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="replicas")
    version = models.ForeignKey(Version, models.CASCADE, related_name="replicas")
    ordinal = models.PositiveSmallIntegerField(default=0)
    role = models.CharField(max_length=16, choices=Role, default=Role.SERVING)
    state = models.CharField(max_length=16, choices=ReplicaState, default=ReplicaState.WAITING)
    host = models.CharField(max_length=255, default="127.0.0.1")
    port = models.PositiveIntegerField(default=0)
    launches = models.PositiveIntegerField(default=0)
    key_mark = models.CharField(
        max_length=8, blank=True, help_text="Which secret key the one of its launch is made of."
    )
    restarts = models.PositiveIntegerField(default=0, help_text="Deaths nobody asked for, since the deploy.")
    crashes = models.PositiveIntegerField(default=0, help_text="Deaths in a row, without a stable run between.")
    exit_code = models.IntegerField(null=True)
    probe_failures = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    launched_at = models.DateTimeField(null=True)
    ready_at = models.DateTimeField(null=True)
    probed_at = models.DateTimeField(null=True)
    next_launch_at = models.DateTimeField(null=True)
    draining_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    memory = models.BigIntegerField("memory (bytes)", null=True)
    peak_memory = models.BigIntegerField("peak memory (bytes)", null=True)

    if TYPE_CHECKING:
        deployment_id: str
        version_id: int

    class Meta:
        ordering: ClassVar = ["created_at"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.id


class Event(models.Model):
    """One line of a deployment's timeline. Never changed; what people did and changes of status are never deleted."""

    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="events")
    at = models.DateTimeField(auto_now_add=True)
    code = models.CharField(max_length=64)
    message = models.TextField()
    next_step = models.TextField(blank=True)
    stage = models.CharField(max_length=100, blank=True)
    progress = models.PositiveSmallIntegerField("progress (%)", null=True)
    status = models.CharField(max_length=24, choices=Status, blank=True, help_text="The status this event led to.")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    detail = models.JSONField(default=dict)

    if TYPE_CHECKING:
        deployment_id: str

    class Meta:
        ordering: ClassVar = ["-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.code
