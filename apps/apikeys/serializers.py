"""API keys as the API shows and takes them."""

from datetime import timedelta
from typing import Any

from rest_framework import serializers

from apps.apikeys.models import LIMITS, ApiKey, KeyEvent, state_of
from apps.apikeys.operations import MAX_OVERLAP, OVERLAP
from apps.apikeys.scopes import SCOPES
from apps.apikeys.values import MAX_LIMIT, MAX_NAME, MAX_NETWORKS, MAX_NOTES
from modelyard.problems import Problem


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key without its secret. A limit that is null is unlimited; 0 lets nothing pass."""

    created_by = serializers.CharField(source="created_by.username", default=None, read_only=True)
    state = serializers.SerializerMethodField(help_text="active, revoked or expired")
    account = serializers.CharField(
        read_only=True, help_text="What counters and usage hang on: the ID of the first of a line of rotated keys."
    )
    successor = serializers.CharField(
        source="successor_id", read_only=True, allow_null=True, help_text="ID of the key that rotation made of it."
    )
    scopes = serializers.ListField(child=serializers.CharField(), read_only=True, help_text="Empty: everything.")
    networks = serializers.ListField(child=serializers.CharField(), read_only=True, help_text="Empty: any address.")

    class Meta:
        model = ApiKey
        fields = [
            "id", "name", "prefix", "state", "account", "successor", "scopes", "networks", *LIMITS, "notes",
            "created_by", "created_at", "last_used_at", "last_used_from", "expires_at", "revoked_at",
        ]  # fmt: skip
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


class StrictSerializer(serializers.Serializer[Any]):
    """Input in which a misspelt field is an error: a limit that is left out by mistake would be no limit."""

    def to_internal_value(self, data: Any) -> Any:
        """The values; a Problem for fields that there aren't."""
        values = super().to_internal_value(data)
        fixed = sorted(set(data) - set(self.fields))
        if fixed:
            raise Problem("not_editable", f"Not editable: {', '.join(fixed)}.",
                          f"What can be given: {', '.join(self.fields)}.", status=400)  # fmt: skip
        return values


class EditApiKeySerializer(StrictSerializer):
    """What of a key may be changed; what is left out stays as it is."""

    name = serializers.CharField(max_length=MAX_NAME, required=False)
    notes = serializers.CharField(max_length=MAX_NOTES, required=False, allow_blank=True)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(list(SCOPES)), required=False, help_text="What it may call; empty: everything."
    )
    networks = serializers.ListField(
        child=serializers.CharField(max_length=100),
        required=False,
        max_length=MAX_NETWORKS,
        help_text="Addresses and networks (IPv4, IPv6) it may come from; empty: any.",
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Adds the limits."""
        limits = {
            name: serializers.IntegerField(
                required=False,
                allow_null=True,
                min_value=0,
                max_value=MAX_LIMIT,
                help_text="null: unlimited; 0: nothing passes.",
            )
            for name in LIMITS
        }
        return {**super().get_fields(), **limits}


class CreateApiKeySerializer(EditApiKeySerializer):
    """What a new key needs, and what it may have."""

    name = serializers.CharField(max_length=MAX_NAME)


class RotateSerializer(StrictSerializer):
    """How long the old key works on."""

    overlap_seconds = serializers.IntegerField(
        default=int(OVERLAP / timedelta(seconds=1)),
        min_value=0,
        max_value=int(MAX_OVERLAP / timedelta(seconds=1)),
        help_text="0: not at all. Never longer than its own expiry.",
    )


class KeyEventSerializer(serializers.ModelSerializer[KeyEvent]):
    """One line of a key's history; `detail` has the old and the new value of each field that changed."""

    by = serializers.CharField(source="by.username", default=None, read_only=True)
    code = serializers.CharField(read_only=True, help_text="created, edited, rotated or revoked")

    class Meta:
        model = KeyEvent
        fields = ["id", "at", "key_id", "key_name", "code", "message", "by", "detail"]
        read_only_fields = fields
