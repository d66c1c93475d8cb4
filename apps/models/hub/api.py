"""The hub in the API: connections, a look at a repository, and imports."""

from typing import Any

from django.db.models import Q
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.models.adapters import bases
from apps.models.hub import operations, serving
from apps.models.hub.models import Connection
from apps.models.hub.preflight import Asked, Preflight, look
from apps.models.hub.serializers import (
    ConnectionSerializer,
    HubImportSerializer,
    Looked,
    NewConnectionSerializer,
    PreflightRequestSerializer,
    PreflightSerializer,
    TokenSerializer,
)
from apps.models.serializers import ModelSerializer
from modelyard.api.errors import ProblemSerializer
from modelyard.api.permissions import caller
from modelyard.problems import Problem

PROBLEM = OpenApiResponse(ProblemSerializer, description="A problem body: what happened and what to do next.")
REFUSED = {400: PROBLEM, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM, 502: PROBLEM, 503: PROBLEM}


@extend_schema_view(list=extend_schema(summary="List connections"), retrieve=extend_schema(summary="One connection"))
class ConnectionViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Connection]):
    """Named tokens of the hub. A token is never shown again."""

    queryset = Connection.objects.select_related("created_by")
    serializer_class = ConnectionSerializer
    search_fields = ["name"]
    lookup_value_regex = "con_[0-9a-z]+"
    verb_permissions = {
        "list": "models.view_connection",
        "retrieve": "models.view_connection",
        "create": "models.add_connection",
        "replace": "models.change_connection",
        "test": "models.view_connection",
        "destroy": "models.delete_connection",
    }

    @extend_schema(summary="Make a connection", request=NewConnectionSerializer,
                   responses={201: ConnectionSerializer, **REFUSED})  # fmt: skip
    def create(self, request: Request) -> Response:
        """Keeps a token, encrypted; `test` finds out whether the hub takes it."""
        body = NewConnectionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        made = operations.connect(**body.validated_data, by=caller(request))
        return Response(ConnectionSerializer(made).data, 201, headers={"Location": f"/api/v1/connections/{made.pk}/"})

    @extend_schema(summary="Replace a connection's token", request=TokenSerializer,
                   responses={200: ConnectionSerializer, **REFUSED})  # fmt: skip
    @action(detail=True, methods=["post"])
    def replace(self, request: Request, pk: str) -> Response:
        """What uses the connection goes on with the new token."""
        body = TokenSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(
            ConnectionSerializer(
                operations.replace_token(self.get_object(), body.validated_data["token"], by=caller(request))
            ).data
        )

    @extend_schema(summary="Test a connection", request=None, responses={200: ConnectionSerializer, **REFUSED})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Asks the hub whose token it is."""
        return Response(ConnectionSerializer(operations.test(self.get_object())).data)

    @extend_schema(summary="Delete a connection", responses={204: None, **REFUSED})
    def destroy(self, request: Request, pk: str) -> Response:
        """Refused while a download needs it."""
        operations.disconnect(self.get_object(), by=caller(request))
        return Response(status=204)


class PreflightView(APIView):
    """A look at a repository."""

    verb_permissions = {"post": "models.import_model"}

    @extend_schema(summary="Look at a repository", request=PreflightRequestSerializer,
                   responses={200: PreflightSerializer, **REFUSED})  # fmt: skip
    def post(self, request: Request) -> Response:
        """What a download would bring, before anything is downloaded."""
        body = PreflightRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        found = look(asked(body.validated_data))
        return Response(PreflightSerializer(Looked(found, serving.answers(found))).data)


class HubImportView(APIView):
    """Imports from the hub."""

    verb_permissions = {"post": "models.import_model"}

    @extend_schema(summary="Import a model from Hugging Face", request=HubImportSerializer,
                   responses={202: ModelSerializer, **REFUSED})  # fmt: skip
    def post(self, request: Request) -> Response:
        """Looks first, and refuses what can't work; then downloads in the background."""
        body = HubImportSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        values = body.validated_data
        found = look(asked(values))
        moved(found, values.get("commit", ""))
        model = operations.start(
            found, by=caller(request), name=values.get("name", ""), description=values.get("description", ""),
            tags=tuple(values.get("tags", ())), base_model=bases.chosen(values.get("base_model", "")),
        )  # fmt: skip
        return Response(ModelSerializer(model).data, 202, headers={"Location": f"/api/v1/models/{model.pk}/"})


def asked(values: Any) -> Asked:
    """What was asked for, with the connection that was named. A Problem if there is none of that name."""
    named = values.get("connection", "")
    connection = Connection.objects.filter(Q(pk=named) | Q(name=named)).first() if named else None
    if named and connection is None:
        step = "GET /api/v1/connections/ lists them."
        raise Problem("unknown_connection", f"There is no connection {named!r}.", step, status=400)
    return Asked(
        values["repository"], values.get("revision", ""), connection, values.get("variant", ""),
        tuple(values.get("patterns", ())),
    )  # fmt: skip


def moved(found: Preflight, commit: str) -> None:
    """A Problem if it isn't the commit any more that somebody agreed to."""
    if commit and commit != found.commit:
        raise Problem(
            "hub_moved", f"{found.repository} has changed since you looked: it is at {found.commit[:12]} now.",
            "Look at it again, then import.",
        )  # fmt: skip
