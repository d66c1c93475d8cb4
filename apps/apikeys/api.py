"""The API of API keys, below the deployment they belong to."""

from datetime import timedelta
from typing import Any

from django.apps import apps
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from apps.apikeys import operations
from apps.apikeys.models import ApiKey
from apps.apikeys.serializers import (
    ApiKeySerializer,
    CreateApiKeySerializer,
    EditApiKeySerializer,
    KeyEventSerializer,
    NewApiKeySerializer,
    RotateSerializer,
)
from modelyard.api.errors import ProblemSerializer
from modelyard.api.permissions import caller

PROBLEM = OpenApiResponse(ProblemSerializer, description="A problem body: what happened and what to do next.")
REFUSED = {400: PROBLEM, 403: PROBLEM, 404: PROBLEM}
DEPLOYMENT = OpenApiParameter("deployment_id", str, OpenApiParameter.PATH)


@extend_schema_view(list=extend_schema(summary="List API keys"), retrieve=extend_schema(summary="One API key"))
@extend_schema(parameters=[DEPLOYMENT])
class ApiKeyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[ApiKey]):
    """Keys of one deployment; those of another are not there."""

    serializer_class = ApiKeySerializer
    queryset = ApiKey.objects.select_related("created_by")
    search_fields = ["name", "prefix"]
    ordering_fields = ["name", "created_at", "last_used_at"]
    lookup_value_regex = "[0-9a-z]+"
    verb_permissions = {
        "list": "apikeys.view_apikey",
        "retrieve": "apikeys.view_apikey",
        "create": "apikeys.add_apikey",
        "partial_update": "apikeys.change_apikey",
        "rotate": "apikeys.add_apikey",
        "events": "apikeys.view_apikey",
        "destroy": "apikeys.revoke_apikey",
    }

    def get_queryset(self) -> QuerySet[ApiKey]:
        """The keys of the deployment in the address."""
        return super().get_queryset().filter(deployment=self.kwargs.get("deployment_id"))

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Active, expired and revoked ones, the newest first."""
        self._deployment()
        return super().list(request, *args, **kwargs)

    @extend_schema(summary="Create an API key", request=CreateApiKeySerializer,
                   responses={201: NewApiKeySerializer, **REFUSED})  # fmt: skip
    def create(self, request: Request, deployment_id: str) -> Response:
        """Answers with the key's text in `key`, once."""
        body = CreateApiKeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        key, text = operations.create(deployment=self._deployment(), by=caller(request), **body.validated_data)
        return _shown_once(key, text)

    @extend_schema(summary="Edit an API key", request=EditApiKeySerializer,
                   responses={200: ApiKeySerializer, **REFUSED, 409: PROBLEM})  # fmt: skip
    def partial_update(self, request: Request, deployment_id: str, pk: str) -> Response:
        """Changes what is given, in every process within a second; refused for a revoked key."""
        body = EditApiKeySerializer(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        key = operations.edit(self.get_object(), by=caller(request), **body.validated_data)
        return Response(ApiKeySerializer(key).data)

    @extend_schema(summary="Rotate an API key", request=RotateSerializer,
                   responses={201: NewApiKeySerializer, **REFUSED, 409: PROBLEM})  # fmt: skip
    def rotate(self, request: Request, deployment_id: str, pk: str) -> Response:
        """Answers with a new key, its text in `key` once. The old one works for the overlap; counters go on."""
        body = RotateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        overlap = timedelta(seconds=body.validated_data["overlap_seconds"])
        return _shown_once(*operations.rotate(self.get_object(), by=caller(request), overlap=overlap))

    @extend_schema(summary="History of an API key",
                   responses={200: KeyEventSerializer(many=True), 403: PROBLEM, 404: PROBLEM})  # fmt: skip
    def events(self, request: Request, deployment_id: str, pk: str) -> Response:
        """What was done with it, and with the keys that it was rotated from or to; the newest first."""
        rows = self.paginate_queryset(operations.history(self.get_object())) or []
        return self.get_paginated_response(KeyEventSerializer(rows, many=True).data)

    @extend_schema(summary="Revoke an API key", responses={204: None, 403: PROBLEM, 404: PROBLEM})
    def destroy(self, request: Request, deployment_id: str, pk: str) -> Response:
        """Ends the key in every process within a second. It stays in the list as revoked."""
        operations.revoke(self.get_object(), by=caller(request))
        return Response(status=204)

    def _deployment(self) -> Any:
        return get_object_or_404(apps.get_model("deployments", "Deployment"), pk=self.kwargs["deployment_id"])


def _shown_once(key: ApiKey, text: str) -> Response:
    data = {**ApiKeySerializer(key).data, "key": text}
    return Response(data, status=201, headers={"Cache-Control": "no-store"})
