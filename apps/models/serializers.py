"""Models as the API shows and takes them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.models import operations
from apps.models.hub.origin import HubOriginSerializer
from apps.models.models import ImportFinding, Model, ModelFile, Revision
from apps.models.overrides import operations as overrides
from apps.models.overrides.serializers import RuleOverrideSerializer

MAX_DESCRIPTION = 10_000  # characters


class ModelFileSerializer(serializers.ModelSerializer[ModelFile]):
    """One file: path, bytes, SHA-256."""

    class Meta:
        model = ModelFile
        fields = ["path", "size", "sha256"]
        read_only_fields = fields


class FindingSerializer(serializers.ModelSerializer[ImportFinding]):
    """One line of the validation report."""

    class Meta:
        model = ImportFinding
        fields = ["rule", "level", "finding", "next_step"]
        read_only_fields = fields


class ModelSerializer(serializers.ModelSerializer[Model]):
    """A model in a list: identity, import status, facts and how many deployments it has."""

    added_by = serializers.CharField(source="added_by.username", default=None, read_only=True)
    status_label = serializers.CharField(source="get_status_display", read_only=True)
    active_deployments = serializers.IntegerField(read_only=True, default=0)
    failed_deployments = serializers.IntegerField(read_only=True, default=0)
    waiting_deployments = serializers.IntegerField(read_only=True, default=0)

    class Meta:
        model = Model
        fields = [
            "id", "name", "kind", "base_model", "source", "status", "status_label", "stage", "progress", "failure_code",
            "failure", "next_step", "task", "format", "architecture", "parameter_count", "context_length", "licence",
            "size", "revision", "description", "tags", "added_by", "added_at", "active_deployments",
            "failed_deployments", "waiting_deployments",
        ]  # fmt: skip
        read_only_fields = fields


class RevisionSerializer(serializers.ModelSerializer[Revision]):
    """One state of a model's files."""

    class Meta:
        model = Revision
        fields = ["number", "commit", "size", "base_revision", "made_at"]
        read_only_fields = fields


class ModelDetailSerializer(ModelSerializer):
    """A model with its files and the validation report."""

    files = ModelFileSerializer(many=True, read_only=True)
    findings = FindingSerializer(many=True, read_only=True)
    adapter = serializers.DictField(read_only=True, help_text="Of an adapter: method, rank, target modules, its base.")
    hub = HubOriginSerializer(source="hub_origin", default=None, read_only=True)
    revisions = RevisionSerializer(many=True, read_only=True)
    overrides = serializers.SerializerMethodField(help_text="Rules that people overrode, the newest first.")
    retryable = serializers.SerializerMethodField(
        help_text="The import or an update failed, and what it is from is still there."
    )

    class Meta(ModelSerializer.Meta):
        fields = [
            *ModelSerializer.Meta.fields, "adapter", "hub", "revisions", "retryable", "overrides", "files", "findings",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(RuleOverrideSerializer(many=True))
    def get_overrides(self, model: Model) -> Any:
        """What was let in against a rule."""
        return RuleOverrideSerializer(overrides.history(model), many=True).data

    def get_retryable(self, model: Model) -> bool:
        """Could `retry` do something?"""
        return operations.retryable(model)


class ImportSerializer(serializers.Serializer[Any]):
    """A model to import: the zip, and what people may say about it."""

    file = serializers.FileField(
        help_text="A .zip; the model is named after it.", allow_empty_file=True, max_length=None
    )
    description = serializers.CharField(required=False, allow_blank=True, max_length=MAX_DESCRIPTION)
    tags = serializers.ListField(child=serializers.CharField(), required=False)
    base_model = serializers.CharField(
        required=False, allow_blank=True, max_length=255,
        help_text="Of an adapter: ID or name of its base. Else it is found by what the adapter names.",
    )  # fmt: skip


class RetrySerializer(serializers.Serializer[Any]):
    """What may be changed for another try."""

    base_model = serializers.CharField(
        required=False, allow_blank=True, max_length=255, help_text="Of an adapter: ID or name of its base."
    )


class EditModelSerializer(serializers.Serializer[Any]):
    """What of a model may be changed."""

    description = serializers.CharField(required=False, allow_blank=True, max_length=MAX_DESCRIPTION)
    tags = serializers.ListField(child=serializers.CharField(), required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuses what isn't editable, rather than leaving it as it is without a word."""
        if unknown := sorted(set(self.initial_data) - set(self.fields)):
            raise serializers.ValidationError(dict.fromkeys(unknown, "This can't be changed."))
        return attrs
