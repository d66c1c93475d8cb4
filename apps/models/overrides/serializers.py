"""Overrides as the API takes and shows them."""

from typing import Any

from rest_framework import serializers

from apps.models.overrides.models import RuleOverride
from apps.models.overrides.operations import MAX_REASON


class OverrideSerializer(serializers.Serializer[Any]):
    """The rule that ended the import, and why the model may come in nevertheless."""

    rule = serializers.CharField(max_length=16, help_text="As in `failure_code`.")
    reason = serializers.CharField(max_length=MAX_REASON, help_text="Who reads the model's report reads it.")


class RuleOverrideSerializer(serializers.ModelSerializer[RuleOverride]):
    """One override: which rule had found what, and who let the model in and why."""

    by = serializers.CharField(source="by_name", read_only=True)

    class Meta:
        model = RuleOverride
        fields = ["rule", "revision", "finding", "reason", "by", "at"]
        read_only_fields = fields
