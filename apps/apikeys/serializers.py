"""API keys as the API shows and takes them."""

from typing import Any

from rest_framework import serializers

from apps.apikeys.models import ApiKey, state_of


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key without its secret."""

    created_by = serializers.CharField(source="created_by.username", default=None, read_only=True)
    state = serializers.SerializerMethodField(help_text="active, revoked or expired")

    class Meta:
        model = ApiKey
        fields = [
            "id",
            "name",
            "prefix",
            "state",
            "created_by",
            "created_at",
            "last_used_at",
            "expires_at",
            "revoked_at",
        ]
        read_only_fields = fields

    def get_state(self, key: ApiKey) -> str:
        """Whether it still opens anything."""
        return state_of(key).value


class NewApiKeySerializer(ApiKeySerializer):
    """A fresh key with its text, which is not shown again."""

    key = serializers.CharField(read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]
        read_only_fields = fields


class CreateApiKeySerializer(serializers.Serializer[Any]):
    """What a new key needs."""

    name = serializers.CharField(max_length=100)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
