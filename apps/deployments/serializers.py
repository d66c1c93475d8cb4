"""Deployments as the API shows and takes them."""

import json
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.apikeys.models import LIMITS
from apps.apikeys.serializers import StrictSerializer
from apps.apikeys.values import MAX_LIMIT
from apps.deployments.configuration import CAPTURE_DAYS, TIMEOUTS, TRAFFIC
from apps.deployments.models import Deployment, Event, Proof, Replica, Version
from apps.deployments.versions import THRESHOLD, Optimization
from apps.models.models import Model
from modelyard.serving import base_url


class ProofSerializer(serializers.ModelSerializer[Proof]):
    """What an optimization cost and brought: `report` has both sides; `accepted` is null until somebody decides."""

    decided_by = serializers.CharField(source="decided_by.username", default=None, read_only=True)

    class Meta:
        model = Proof
        fields = ["agreement", "passed", "accepted", "decided_by", "decided_at", "made_at", "report"]
        read_only_fields = fields


class ProofSummarySerializer(serializers.ModelSerializer[Proof]):
    """The verdict of a proof."""

    class Meta:
        model = Proof
        fields = ["agreement", "passed", "accepted"]
        read_only_fields = fields


class VersionSerializer(serializers.ModelSerializer[Version]):
    """One configuration of a deployment and how its deployment ended. Memory is in bytes."""

    created_by = serializers.CharField(source="created_by.username", default=None, read_only=True)
    proof = serializers.SerializerMethodField()

    class Meta:
        model = Version
        fields = [
            "number", "model_revision", "options", "replicas_wanted", "ready_seconds", "recipe", "recipe_options",
            "threshold", "artifact", "proof", "estimate", "peak_memory", "created_by", "created_at", "started_at",
            "ready_at", "ended_at", "outcome", "reason",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(ProofSummarySerializer(allow_null=True))
    def get_proof(self, version: Version) -> Any:
        """The verdict; null without an optimization."""
        proof = getattr(version, "proof", None)
        return ProofSummarySerializer(proof).data if proof else None


class ReplicaSerializer(serializers.ModelSerializer[Replica]):
    """One engine: how it is, how often it died, what memory it takes (bytes)."""

    version = serializers.IntegerField(source="version.number", read_only=True)

    class Meta:
        model = Replica
        fields = [
            "id", "version", "state", "launches", "restarts", "exit_code", "launched_at", "ready_at",
            "memory", "peak_memory",
        ]  # fmt: skip
        read_only_fields = fields


class EventSerializer(serializers.ModelSerializer[Event]):
    """One line of the timeline; `detail.log` has the engine's last lines where it died, `detail.changed` of an edit the
    old and the new value by field.
    """

    by = serializers.CharField(source="by.username", default=None, read_only=True)

    class Meta:
        model = Event
        fields = ["id", "at", "code", "message", "next_step", "stage", "progress", "status", "by", "detail"]
        read_only_fields = fields


class DeploymentSerializer(serializers.ModelSerializer[Deployment]):
    """A deployment in a list: identity, status and where it is called."""

    model = serializers.CharField(source="model_id", read_only=True, help_text="ID of the model.")
    model_name = serializers.CharField(source="model.name", read_only=True)
    added_by = serializers.CharField(source="added_by.username", default=None, read_only=True)
    status_label = serializers.CharField(source="get_status_display", read_only=True)
    version = serializers.IntegerField(source="target_version.number", default=None, read_only=True)
    live_version = serializers.IntegerField(source="live_version.number", default=None, read_only=True)
    endpoint = serializers.SerializerMethodField(help_text="Base URL for OpenAI clients.")

    class Meta:
        model = Deployment
        fields = [
            "id", "name", "model", "model_name", "runtime", "status", "status_label", "status_at", "stage", "desired",
            "version", "live_version", "failure_code", "failure", "next_step", "description", "tags", "added_by",
            "added_at", "endpoint",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(serializers.URLField())
    def get_endpoint(self, deployment: Deployment) -> str:
        """The deployment's base URL."""
        return f"{base_url(self.context['request'])}/d/{deployment.pk}/v1"


class DeploymentDetailSerializer(DeploymentSerializer):
    """A deployment with its engines."""

    replicas = serializers.SerializerMethodField()

    class Meta(DeploymentSerializer.Meta):
        fields = [*DeploymentSerializer.Meta.fields, *TRAFFIC, "replicas"]
        read_only_fields = fields

    @extend_schema_field(ReplicaSerializer(many=True))
    def get_replicas(self, deployment: Deployment) -> Any:
        """The newest engines, ended ones included."""
        rows = deployment.replicas.select_related("version").order_by("-created_at")[:20]
        return ReplicaSerializer(rows, many=True).data


class OptimizationSerializer(serializers.Serializer[Any]):
    """A recipe, and when what it makes is deployed without asking."""

    recipe = serializers.CharField(
        allow_blank=True, help_text="One that GET /api/v1/models/{id}/runtimes/ offers; empty: none."
    )
    threshold = serializers.FloatField(
        default=THRESHOLD, min_value=0, max_value=1, help_text="Least agreement with the original, 0 to 1."
    )
    samples = serializers.ListField(
        child=serializers.JSONField(), required=False, help_text="Texts, or objects of request fields; left out: ours."
    )

    def to_internal_value(self, data: Any) -> Any:
        """The optimization itself, samples as lines of JSON."""
        values = super().to_internal_value(data)
        lines = "\n".join(json.dumps(sample, ensure_ascii=False) for sample in values.get("samples", ()))
        return Optimization(values["recipe"], values["threshold"], lines)


class VersionRequestSerializer(serializers.Serializer[Any]):
    """What a version is made of."""

    optimization = OptimizationSerializer(required=False)

    options = serializers.DictField(required=False, help_text="The runtime's options; see GET /api/v1/runtimes/.")
    replicas = serializers.IntegerField(required=False, min_value=1, max_value=50)
    ready_seconds = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=86_400,
        help_text="How long a start may take before it has failed; null: the runtime's own limit.",
    )  # fmt: skip


class RedeployRequestSerializer(VersionRequestSerializer):
    """What the next version is made of, and what it starts from."""

    expected_version = serializers.IntegerField(
        required=False, min_value=1,
        help_text="The `version` that you have seen. If it is another meanwhile: 409 `version_conflict`.",
    )  # fmt: skip


class TrafficSerializer(StrictSerializer):
    """How calls are treated: limits, timeouts, and whether inputs and outputs are kept."""

    captures = serializers.BooleanField(
        required=False, help_text="Store what callers send and get, redacted as far as patterns find what to take out."
    )
    capture_days = serializers.IntegerField(
        required=False, min_value=CAPTURE_DAYS[0], max_value=CAPTURE_DAYS[1], help_text="That they are kept."
    )

    def get_fields(self) -> dict[str, Any]:
        """Every limit and timeout too."""
        said = "null: unlimited; 0: nothing passes."
        limits = {
            name: serializers.IntegerField(
                required=False, allow_null=True, min_value=0, max_value=MAX_LIMIT, help_text=said
            )
            for name in LIMITS
        }
        timeouts = {
            name: serializers.FloatField(
                required=False, allow_null=True, min_value=least, max_value=most,
                help_text="Seconds; null: the installation's.",
            )
            for name, (least, most) in TIMEOUTS.items()
        }  # fmt: skip
        return {**super().get_fields(), **limits, **timeouts}


class CreateDeploymentSerializer(VersionRequestSerializer, TrafficSerializer):
    """What a new deployment needs."""

    model: Any = serializers.PrimaryKeyRelatedField(
        queryset=Model.objects.all(), help_text="ID of a model that is Ready."
    )
    name = serializers.CharField(max_length=100)
    runtime = serializers.CharField(
        required=False, allow_blank=True, help_text="Left out: one that can serve the model."
    )
    description = serializers.CharField(required=False, allow_blank=True)
    tags = serializers.ListField(child=serializers.CharField(), required=False)
    deploy = serializers.BooleanField(default=False, help_text="Deploy it at once.")


class EditDeploymentSerializer(TrafficSerializer):
    """What of a deployment may be changed."""

    description = serializers.CharField(required=False, allow_blank=True)
    tags = serializers.ListField(child=serializers.CharField(), required=False)


class FitFindingSerializer(serializers.Serializer[Any]):
    """One thing that a runtime found out: block stops a deployment, warn is shown before it, info beside it."""

    level = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()
    fix = serializers.CharField()


class EstimatePartSerializer(serializers.Serializer[Any]):
    """One term of an estimate."""

    name = serializers.CharField()
    bytes = serializers.IntegerField()
    formula = serializers.CharField()


class EstimateSerializer(serializers.Serializer[Any]):
    """Memory in bytes: at least, probably, at most."""

    low = serializers.IntegerField()
    likely = serializers.IntegerField()
    high = serializers.IntegerField()
    device = serializers.ChoiceField(["host", "gpu"], help_text="Whose memory.")
    parts = EstimatePartSerializer(many=True)


class RecipeSerializer(serializers.Serializer[Any]):
    """An optimization that a runtime offers."""

    name = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    artifact = serializers.BooleanField(help_text="Makes a new model folder; else the engine applies it at load.")


class FitSerializer(serializers.Serializer[Any]):
    """What one runtime says about one model on this host."""

    name = serializers.CharField(source="entry.name")
    title = serializers.CharField(source="entry.title")
    usable = serializers.BooleanField()
    findings = FitFindingSerializer(many=True)
    estimate = EstimateSerializer(allow_null=True)
    recipes = RecipeSerializer(many=True)


class FitRequestSerializer(serializers.Serializer[Any]):
    """Options to answer for, by runtime: `{"vllm": {"max_model_len": 8192}}`."""

    options = serializers.DictField(child=serializers.DictField(), required=False)


class LogSerializer(serializers.Serializer[Any]):
    """The engine's last lines, oldest first."""

    lines = serializers.ListField(child=serializers.CharField())


class CurlSerializer(serializers.Serializer[Any]):
    """One line for a shell; the key stands in it as $MODELYARD_API_KEY."""

    curl = serializers.CharField()


class RuntimeSerializer(serializers.Serializer[Any]):
    """An installed runtime, or why it can't be used; `options` is a JSON Schema."""

    name = serializers.CharField()
    title = serializers.CharField()
    distribution = serializers.CharField()
    version = serializers.CharField()
    problem = serializers.CharField(allow_blank=True)
    options = serializers.DictField(allow_null=True)
