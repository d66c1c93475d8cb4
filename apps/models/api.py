"""The API of models: thin callers of the operations."""

from typing import Any, cast

from django.contrib.auth.models import User
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from apps.models import operations
from apps.models.adapters import bases
from apps.models.filters import ModelFilter
from apps.models.hub import operations as hub
from apps.models.hub.serializers import Looked, NewerSerializer
from apps.models.models import Model
from apps.models.overrides import operations as overrides
from apps.models.overrides.serializers import OverrideSerializer
from apps.models.serializers import (
    EditModelSerializer,
    ImportSerializer,
    ModelDetailSerializer,
    ModelSerializer,
    RetrySerializer,
)
from modelyard.api.errors import ProblemSerializer
from modelyard.api.permissions import caller
from modelyard.problems import Problem

PROBLEM = OpenApiResponse(ProblemSerializer, description="A problem body: what happened and what to do next.")
REFUSED = {400: PROBLEM, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM}


@extend_schema_view(list=extend_schema(summary="List models"), retrieve=extend_schema(summary="One model"))
class ModelViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Model]):
    """Models and their import. An import answers 202: `status` and `progress` tell how far it is."""

    queryset = Model.objects.all()
    filterset_class = ModelFilter
    search_fields = ["id", "name", "description", "architecture"]
    ordering_fields = ["name", "added_at", "size", "status"]
    lookup_value_regex = "mdl_[0-9a-z]+"
    parser_classes = [JSONParser, MultiPartParser]
    verb_permissions = {
        "list": "models.view_model",
        "retrieve": "models.view_model",
        "create": "models.import_model",
        "retry": "models.import_model",
        "override": "models.override_rule",
        "pause": "models.import_model",
        "resume": "models.import_model",
        "newer": "models.import_model",
        "update_revision": "models.import_model",
        "cancel_update": "models.import_model",
        "partial_update": "models.change_model",
        "destroy": "models.delete_model",
    }

    def get_queryset(self) -> Any:
        """With the counts of their deployments."""
        return (
            Model.objects.with_deployment_counts()
            .select_related("added_by", "hub_origin__connection")
            .order_by("-added_at", "pk")
        )

    def get_serializer_class(self) -> Any:
        """Lists are short, one model is whole."""
        return ModelSerializer if self.action == "list" else ModelDetailSerializer

    @extend_schema(
        summary="Import a model",
        request={"multipart/form-data": ImportSerializer},
        responses={202: ModelDetailSerializer, 413: PROBLEM, 507: PROBLEM, **REFUSED},
    )
    def create(self, request: Request) -> Response:
        """Takes a .zip as multipart/form-data and imports it in the background."""
        body = ImportSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        values = body.validated_data
        model = operations.receive(
            values["file"], by=caller(request), description=values.get("description", ""), tags=values.get("tags", []),
            base_model=bases.chosen(values.get("base_model", "")),
        )  # fmt: skip
        return self._answer(model, 202)

    @extend_schema(summary="Edit description and tags", request=EditModelSerializer,
                   responses={200: ModelDetailSerializer, **REFUSED})  # fmt: skip
    def partial_update(self, request: Request, pk: str) -> Response:
        """Changes the description and the tags; nothing else is editable."""
        body = EditModelSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self._answer(operations.edit(self.get_object(), **body.validated_data), 200)

    @extend_schema(summary="Delete a model", responses={204: None, **REFUSED})
    def destroy(self, request: Request, pk: str) -> Response:
        """Deletes it with its files; cancels its import; refused while a deployment uses it."""
        operations.delete(self.get_object(), by=caller(request))
        return Response(status=204)

    @extend_schema(
        summary="Retry an import", request=RetrySerializer, responses={202: ModelDetailSerializer, **REFUSED}
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Imports once more from what it is from, where that was kept; an adapter on another base, if one is named."""
        body = RetrySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        base = bases.chosen(body.validated_data.get("base_model", ""))
        return self._answer(operations.retry(self.get_object(), by=caller(request), base_model=base), 202)

    @extend_schema(
        summary="Override a rule", request=OverrideSerializer, responses={202: ModelDetailSerializer, **REFUSED}
    )
    @action(detail=True, methods=["post"])
    def override(self, request: Request, pk: str) -> Response:
        """Lets a model in although a rule ended its import, and imports it once more; who and why are recorded."""
        body = OverrideSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        by = cast(User, request.user)
        return self._answer(overrides.override_rule(self.get_object(), **body.validated_data, by=by), 202)

    @extend_schema(summary="Pause a download", request=None, responses={200: ModelDetailSerializer, **REFUSED})
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Stops a download from the hub within seconds; what has come is kept."""
        return self._answer(hub.pause(self.get_object(), by=caller(request)), 200)

    @extend_schema(summary="Resume a download", request=None, responses={202: ModelDetailSerializer, **REFUSED})
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Goes on with a paused download where it ended."""
        return self._answer(hub.resume(self.get_object(), by=caller(request)), 202)

    @extend_schema(summary="Look for a newer revision", responses={200: NewerSerializer, **REFUSED})
    @action(detail=True, methods=["get"])
    def newer(self, request: Request, pk: str) -> Response:
        """Asks the hub; `newer` is null if the newest is here."""
        found = hub.newer(self.get_object())
        return Response(NewerSerializer({"newer": Looked(found, []) if found else None}).data)

    @extend_schema(
        summary="Update to the newest revision", request=None, responses={202: ModelDetailSerializer, **REFUSED}
    )
    @action(detail=True, methods=["post"], url_path="update")
    def update_revision(self, request: Request, pk: str) -> Response:
        """Downloads it beside the one that is here; deployments stay with theirs until they are re-deployed."""
        model = self.get_object()
        found = hub.newer(model)
        if found is None:
            raise Problem("up_to_date", "The newest revision is here already.", "Nothing is to be done.")
        return self._answer(hub.update(model, found, by=caller(request)), 202)

    @extend_schema(summary="Cancel an update", request=None, responses={200: ModelDetailSerializer, **REFUSED})
    @action(detail=True, methods=["post"], url_path="cancel-update")
    def cancel_update(self, request: Request, pk: str) -> Response:
        """The model stays at the revision that is here."""
        return self._answer(hub.cancel_update(self.get_object(), by=caller(request)), 200)

    def _answer(self, model: Model, status: int) -> Response:
        body = ModelDetailSerializer(self.get_queryset().get(pk=model.pk)).data
        return Response(body, status=status, headers={"Location": f"/api/v1/models/{model.pk}/"})
