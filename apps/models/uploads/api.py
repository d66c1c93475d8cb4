"""Unfinished uploads in the API. They are sent by the tus protocol, below Django (`receiving`)."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import mixins, serializers, viewsets

from apps.models.uploads import operations
from apps.models.uploads.models import Upload
from modelyard.api.permissions import caller


class UploadSerializer(serializers.ModelSerializer[Upload]):
    """An upload and how much of it has come, in bytes."""

    offset = serializers.SerializerMethodField(help_text="Bytes that have come.")

    class Meta:
        model = Upload
        fields = [
            "id",
            "name",
            "file_name",
            "length",
            "offset",
            "description",
            "tags",
            "base_model",
            "created_at",
            "expires_at",
            "problem",
        ]
        read_only_fields = fields

    def get_offset(self, upload: Upload) -> int:
        """What is on disk."""
        return operations.received(upload)


@extend_schema_view(
    list=extend_schema(summary="List your unfinished uploads"), retrieve=extend_schema(summary="One of your uploads")
)
class UploadViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Upload]):
    """Uploads that aren't models yet, one's own. POST, HEAD, PATCH and DELETE here speak tus 1.0.0."""

    queryset = Upload.objects.all()
    serializer_class = UploadSerializer
    lookup_value_regex = "upl_[0-9a-z]+"
    verb_permissions: dict[str, str] = {"list": "models.import_model", "retrieve": "models.import_model"}

    def get_queryset(self) -> QuerySet[Any]:
        """Other people's aren't there."""
        return super().get_queryset().filter(owner=caller(self.request))
