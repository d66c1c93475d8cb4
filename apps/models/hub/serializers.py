"""The hub as the API shows and takes it."""

from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from apps.models.adapters import bases
from apps.models.hub.models import Connection
from apps.models.hub.operations import MAX_NAME, MAX_TOKEN
from apps.models.hub.preflight import MAX_PATTERN, MAX_PATTERNS, Preflight
from apps.models.hub.serving import Answer

MAX_DESCRIPTION = 10_000  # characters


class ConnectionSerializer(serializers.ModelSerializer[Connection]):
    """A connection, without its token."""

    created_by = serializers.CharField(source="created_by.username", default=None, read_only=True)

    class Meta:
        model = Connection
        fields = [
            "id", "name", "hint", "account", "created_by", "created_at", "replaced_at", "tested_at", "test_problem",
        ]  # fmt: skip
        read_only_fields = fields


class NewConnectionSerializer(serializers.Serializer[Any]):
    """A connection to make."""

    name = serializers.CharField(max_length=MAX_NAME)
    token = serializers.CharField(max_length=MAX_TOKEN, write_only=True, help_text="Never shown again.")


class TokenSerializer(serializers.Serializer[Any]):
    """Another token for a connection."""

    token = serializers.CharField(max_length=MAX_TOKEN, write_only=True)


class PreflightRequestSerializer(serializers.Serializer[Any]):
    """What to look at."""

    repository = serializers.CharField(max_length=300, help_text="owner/name")
    revision = serializers.CharField(
        max_length=200, required=False, allow_blank=True, help_text="Branch, tag or commit."
    )
    connection = serializers.CharField(max_length=64, required=False, allow_blank=True, help_text="Name or ID of one.")
    variant = serializers.CharField(max_length=300, required=False, allow_blank=True, help_text="One of `variants`.")
    patterns = serializers.ListField(
        child=serializers.CharField(max_length=MAX_PATTERN), required=False, max_length=MAX_PATTERNS,
        help_text="Takes the files that match, instead of a variant: `*.json`, `onnx/*`.",
    )  # fmt: skip


class HubImportSerializer(PreflightRequestSerializer):
    """What to import."""

    name = serializers.CharField(max_length=120, required=False, allow_blank=True, help_text="Else the repository's.")
    description = serializers.CharField(required=False, allow_blank=True, max_length=MAX_DESCRIPTION)
    tags = serializers.ListField(child=serializers.CharField(), required=False)
    commit = serializers.CharField(
        max_length=64, required=False, allow_blank=True, help_text="Refused if the revision has moved on from it."
    )
    base_model = serializers.CharField(
        max_length=255, required=False, allow_blank=True, help_text="Of an adapter: ID or name of its base."
    )


class RemoteFileSerializer(serializers.Serializer[Any]):
    """One file of a repository."""

    path = serializers.CharField()
    size = serializers.IntegerField()
    taken = serializers.BooleanField()


class VariantSerializer(serializers.Serializer[Any]):
    """One way to take a repository."""

    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    format = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes of its weights.")


class BlockSerializer(serializers.Serializer[Any]):
    """A reason not to begin."""

    code = serializers.CharField()
    message = serializers.CharField()
    next_step = serializers.CharField()


class AnswerSerializer(serializers.Serializer[Any]):
    """What a runtime says."""

    runtime = serializers.CharField()
    usable = serializers.BooleanField()
    findings = serializers.ListField(child=serializers.CharField())
    memory = serializers.IntegerField(allow_null=True, help_text="Bytes it would probably need.")
    device = serializers.CharField()


class AdapterSerializer(serializers.Serializer[Any]):
    """What an adapter says of itself, and which model here it means."""

    method = serializers.CharField()
    rank = serializers.IntegerField()
    target_modules = serializers.ListField(child=serializers.CharField())
    base = serializers.CharField(help_text="The model that it was made for, as it names it.")
    base_model = serializers.SerializerMethodField(help_text="The ID of that model, if it is here.")

    def get_base_model(self, adapter: Any) -> str | None:
        """By the repository or the name."""
        found = bases.named(adapter.base)
        return found.pk if found else None


class PreflightSerializer(serializers.Serializer[Any]):
    """What a download would bring."""

    repository = serializers.CharField()
    commit = serializers.CharField()
    page = serializers.CharField()
    task = serializers.CharField()
    licence = serializers.CharField()
    architecture = serializers.CharField()
    library = serializers.CharField()
    parameters = serializers.IntegerField(allow_null=True)
    context_length = serializers.IntegerField(allow_null=True)
    gated = serializers.BooleanField()
    private = serializers.BooleanField()
    adapter = AdapterSerializer(allow_null=True)
    total = serializers.IntegerField(help_text="Bytes of all files that are taken.")
    needed = serializers.IntegerField(help_text="Bytes of disk that must be free, without what is stored already.")
    free = serializers.IntegerField()
    variants = VariantSerializer(many=True)
    variant = VariantSerializer(allow_null=True)
    files = serializers.SerializerMethodField()
    blocks = BlockSerializer(many=True)
    runtimes = AnswerSerializer(many=True, source="answers", default=[])

    def get_files(self, found: Any) -> list[dict[str, Any]]:
        """Every file, and whether it is taken."""
        taken = {file.path for file in found.taken}
        return [{"path": file.path, "size": file.size, "taken": file.path in taken} for file in found.files]


@dataclass(frozen=True)
class Looked:
    """What was found, and what runtimes say of it."""

    found: Preflight
    answers: list[Answer]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.found, name)


class NewerSerializer(serializers.Serializer[Any]):
    """What the newest revision would bring."""

    newer = PreflightSerializer(allow_null=True)
