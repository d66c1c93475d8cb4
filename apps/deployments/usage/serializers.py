"""Usage as the API shows it."""

from typing import Any

from rest_framework import serializers

from apps.deployments.usage.models import Capture, UsageRecord


class UsageRecordSerializer(serializers.ModelSerializer[UsageRecord]):
    """One call: `account` is the ID of the first of a line of rotated keys, times are in milliseconds."""

    class Meta:
        model = UsageRecord
        fields = [
            "id", "at", "request_id", "account", "key_id", "key_name", "user_name", "deployment_id", "deployment_name",
            "version", "model_id", "model_name", "path", "status", "error", "streamed", "prompt_tokens",
            "completion_tokens", "estimated", "first_byte_ms", "duration_ms", "bytes_in", "bytes_out", "client",
        ]  # fmt: skip
        read_only_fields = fields


class CaptureSerializer(serializers.ModelSerializer[Capture]):
    """Input and output of one call, redacted; `cut`: it was longer than what is kept."""

    class Meta:
        model = Capture
        fields = [
            "id", "at", "request_id", "account", "deployment_id", "path", "status", "request", "response", "cut",
        ]  # fmt: skip
        read_only_fields = fields


class UsageLineSerializer(serializers.Serializer[Any]):
    """What one key, deployment or model used in one stretch of time."""

    start = serializers.CharField(allow_null=True, help_text="When the hour, day or month began; null without `every`.")
    id = serializers.CharField(
        help_text="Of the key's account, the deployment or the model; empty: called without a key."
    )
    name = serializers.CharField(help_text="The latest.")
    deployment_id = serializers.CharField(help_text="Of the key; empty but for `by=key`.")
    deployment_name = serializers.CharField()
    requests = serializers.IntegerField()
    limited = serializers.IntegerField(help_text="Refused by a limit.")
    estimated = serializers.IntegerField(help_text="Requests whose tokens were estimated.")
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    bytes_in = serializers.IntegerField()
    bytes_out = serializers.IntegerField()
    duration_ms = serializers.FloatField(help_text="Sum over the requests, in milliseconds.")
    first_byte_ms = serializers.FloatField(help_text="Sum over the requests that were answered, in milliseconds.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Adds `errors`, a name that the class itself uses for something else."""
        wrong = serializers.IntegerField(help_text="Answered with 400 or above, but for refusals by a limit.")
        return {**super().get_fields(), "errors": wrong}


class UsageSummarySerializer(serializers.Serializer[Any]):
    """Lines by time, the largest first, from the sums that are kept by hour and day."""

    by = serializers.ChoiceField(["key", "deployment", "model"])
    every = serializers.ChoiceField(["", "hour", "day", "month"], allow_blank=True)
    results = UsageLineSerializer(many=True)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Adds `from` and `to`: the first is a word of Python."""
        found = super().get_fields()
        stretch = {"from": serializers.CharField(), "to": serializers.CharField(help_text="The first moment after.")}
        return {"by": found.pop("by"), "every": found.pop("every"), **stretch, **found}
