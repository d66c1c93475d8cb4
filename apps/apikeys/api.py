"""The API of API keys, below the deployment they belong to."""

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
from apps.apikeys.serializers import ApiKeySerializer, CreateApiKeySerializer, NewApiKeySerializer
from modelyard.api.errors import ProblemSerializer
from modelyard.api.permissions import caller

PROBLEM = OpenApiResponse(ProblemSerializer, description="A problem body: what happened and what to do next.")
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
                   responses={201: NewApiKeySerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM})  # fmt: skip
    def create(self, request: Request, deployment_id: str) -> Response:
        """Answers with the key's text in `key`, once."""
        body = CreateApiKeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        key, text = operations.create(deployment=self._deployment(), by=caller(request), **body.validated_data)
        data = {**ApiKeySerializer(key).data, "key": text}
        return Response(data, status=201, headers={"Cache-Control": "no-store"})

    @extend_schema(summary="Revoke an API key", responses={204: None, 403: PROBLEM, 404: PROBLEM})
    def destroy(self, request: Request, deployment_id: str, pk: str) -> Response:
        """Ends the key in every process within a second. It stays in the list as revoked."""
        operations.revoke(self.get_object(), by=caller(request))
        return Response(status=204)

    def _deployment(self) -> Any:
        return get_object_or_404(apps.get_model("deployments", "Deployment"), pk=self.kwargs["deployment_id"])
