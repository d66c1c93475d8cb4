"""Deployments as the API shows and takes them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.deployments.models import Deployment, Event, Replica, Version
from apps.models.models import Model
from modelyard.serving import base_url


class VersionSerializer(serializers.ModelSerializer[Version]):
    """One configuration of a deployment and how its deployment ended."""

    created_by = serializers.CharField(source="created_by.username", default=None, read_only=True)

    class Meta:
        model = Version
        fields = [
            "number", "options", "replicas_wanted", "ready_seconds", "created_by", "created_at",
            "started_at", "ready_at", "ended_at", "outcome", "reason",
        ]  # fmt: skip
        read_only_fields = fields


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
    """One line of the timeline; `detail.log` has the engine's last lines where it died."""

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
        fields = [*DeploymentSerializer.Meta.fields, "replicas"]
        read_only_fields = fields

    @extend_schema_field(ReplicaSerializer(many=True))
    def get_replicas(self, deployment: Deployment) -> Any:
        """The newest engines, ended ones included."""
        rows = deployment.replicas.select_related("version").order_by("-created_at")[:20]
        return ReplicaSerializer(rows, many=True).data


class VersionRequestSerializer(serializers.Serializer[Any]):
    """What a version is made of."""

    options = serializers.DictField(required=False, help_text="The runtime's options; see GET /api/v1/runtimes/.")
    replicas = serializers.IntegerField(required=False, min_value=1, max_value=50)
    ready_seconds = serializers.IntegerField(
        required=False, min_value=1, max_value=86_400, help_text="How long a start may take before it has failed."
    )


class CreateDeploymentSerializer(VersionRequestSerializer):
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


class EditDeploymentSerializer(serializers.Serializer[Any]):
    """What of a deployment may be changed."""

    description = serializers.CharField(required=False, allow_blank=True)
    tags = serializers.ListField(child=serializers.CharField(), required=False)


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
