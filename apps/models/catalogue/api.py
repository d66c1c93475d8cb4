"""The API of the catalogue, and the published schemas of files that people write."""

from typing import Any

from django.http import JsonResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import viewsets
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.models.bundles import manifest
from apps.models.catalogue import operations, schema
from apps.models.catalogue.finding import SIZES, Wanted, matching
from apps.models.catalogue.schema import Task
from apps.models.catalogue.serializers import OfferSerializer, StartSerializer, shown
from apps.models.catalogue.shelf import find, shelf
from apps.models.deployconfig import schema as deployconfig
from apps.models.models import Model
from apps.models.serializers import ModelDetailSerializer
from modelyard.api.errors import ProblemSerializer
from modelyard.api.permissions import caller
from modelyard.launchers.host import this_host
from modelyard.problems import Problem

PROBLEM = OpenApiResponse(ProblemSerializer, description="A problem body: what happened and what to do next.")
TRUE = frozenset({"1", "true", "yes", "on"})
SCHEMAS = {
    "catalogue-v1": schema.json_schema,
    "bundle-v1": manifest.json_schema,
    "deployconfig-v1": deployconfig.json_schema,
}
FILTERS = [
    OpenApiParameter("search", str, description="Words in id, name, summary, repository, task and languages."),
    OpenApiParameter("task", str, enum=[str(task) for task in Task]),
    OpenApiParameter("licence", str, description="Exactly as the entries say it, such as apache-2.0."),
    OpenApiParameter("runtime", str, description="The recommended runtime."),
    OpenApiParameter("size", str, enum=list(SIZES), description="By parameters: below 1, 5, 20 billion, or more."),
    OpenApiParameter("fits_here", bool, description="Only those whose least memory this machine has."),
    OpenApiParameter("files_here", bool, description="Only those whose files lie in a bundle on this machine."),
]


class CatalogueViewSet(viewsets.ViewSet):
    """Platform hosted: the models that are known by name."""

    lookup_field = "entry_id"
    lookup_value_regex = "[a-z0-9][a-z0-9._-]*"
    verb_permissions = {
        "list": "models.view_model",
        "retrieve": "models.view_model",
        "start": "models.import_model",
    }

    @extend_schema(
        summary="List the catalogue", parameters=FILTERS, responses={200: OfferSerializer(many=True), 400: PROBLEM}
    )
    def list(self, request: Request) -> Response:
        """Every entry that is wanted, by name; all of them in one answer."""
        host = this_host()
        found = matching(shelf().offers, wanted(request.query_params), host)
        return Response([shown(offer, host) for offer in found])

    @extend_schema(summary="One model of the catalogue", responses={200: OfferSerializer, 404: PROBLEM})
    def retrieve(self, request: Request, entry_id: str) -> Response:
        """All that is known of it, each figure with its source."""
        return Response(shown(find(entry_id), this_host()))

    @extend_schema(
        summary="Import a model of the catalogue",
        request=StartSerializer,
        responses={202: ModelDetailSerializer, 404: PROBLEM, 409: PROBLEM},
    )
    @action(detail=True, methods=["post"], url_path="import")
    def start(self, request: Request, entry_id: str) -> Response:
        """Imports one whose files lie in a bundle here; `status` and `progress` of the model tell how far it is."""
        body = StartSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        model = operations.start(entry_id, by=caller(request), name=body.validated_data.get("name", ""))
        row = Model.objects.with_deployment_counts().get(pk=model.pk)
        headers = {"Location": f"/api/v1/models/{model.pk}/"}
        return Response(ModelDetailSerializer(row).data, status=202, headers=headers)


class SchemaView(APIView):
    """The published JSON Schemas of files that people and other programs write."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(summary="A published JSON Schema", responses={200: dict[str, Any], 404: PROBLEM}, auth=[])
    def get(self, request: Request, name: str) -> JsonResponse:
        """`catalogue-v1`, `bundle-v1` or `deployconfig-v1`."""
        if name not in SCHEMAS:
            raise Problem("not_found", f"There is no schema {name!r}.", f"There are {', '.join(SCHEMAS)}.", status=404)
        return JsonResponse(SCHEMAS[name](), json_dumps_params={"indent": 1}, content_type="application/schema+json")


def wanted(asked: Any) -> Wanted:
    """What a query asks for. A Problem for a task or size that there isn't."""
    task, size = asked.get("task", ""), asked.get("size", "")
    for name, value, known in (("task", task, [str(each) for each in Task]), ("size", size, list(SIZES))):
        if value and value not in known:
            raise Problem(
                "invalid", f"There is no {name} {value!r:.50}.", f"Use one of {', '.join(known)}.", status=400
            )
    return Wanted(
        search=asked.get("search", "")[:200], task=task, licence=asked.get("licence", ""),
        runtime=asked.get("runtime", ""), size=size, here=asked.get("fits_here", "").lower() in TRUE,
        local=asked.get("files_here", "").lower() in TRUE,
    )  # fmt: skip
