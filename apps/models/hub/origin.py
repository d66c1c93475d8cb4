"""Where a model is from, as the API shows it with the model."""

from rest_framework import serializers

from apps.models.hub.models import HubOrigin


class HubOriginSerializer(serializers.ModelSerializer[HubOrigin]):
    """Where a model is from, and how far its download is."""

    connection = serializers.CharField(source="connection.name", default=None, read_only=True)

    class Meta:
        model = HubOrigin
        fields = ["repository", "revision", "commit", "connection", "patterns", "total_bytes", "done_bytes",
                  "bytes_per_second"]  # fmt: skip
        read_only_fields = fields
