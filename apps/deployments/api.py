"""The API of deployments: thin callers of the operations."""

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.deployments import fit, logs, operations, runtimes
from apps.deployments.configuration import TRAFFIC
from apps.deployments.filters import DeploymentFilter
from apps.deployments.models import Deployment, Event, Proof, Version
from apps.deployments.optimization import report
from apps.deployments.serializers import (
    CreateDeploymentSerializer,
    CurlSerializer,
    DeploymentDetailSerializer,
    DeploymentSerializer,
    EditDeploymentSerializer,
    EventSerializer,
    FitRequestSerializer,
    FitSerializer,
    LogSerializer,
    ProofSerializer,
    RedeployRequestSerializer,
    RuntimeSerializer,
    VersionSerializer,
)
from apps.models.models import Model
from modelyard.api.errors import ProblemSerializer
from modelyard.api.permissions import caller
from modelyard.problems import Problem
from modelyard.serving import base_url

PROBLEM = OpenApiResponse(ProblemSerializer, description="A problem body: what happened and what to do next.")
REFUSED = {400: PROBLEM, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM}
ACCEPTED = {202: DeploymentDetailSerializer, **REFUSED}


@extend_schema_view(list=extend_schema(summary="List deployments"), retrieve=extend_schema(summary="One deployment"))
class DeploymentViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Deployment]):
    """Deployments and their verbs. A verb answers 202: the work goes on in the background, `status` tells how far."""

    queryset = Deployment.objects.select_related("model", "added_by", "target_version", "live_version")
    filterset_class = DeploymentFilter
    search_fields = ["id", "name", "description", "model__name"]
    ordering_fields = ["name", "added_at", "status", "status_at"]
    lookup_value_regex = "dep_[0-9a-z]+"
    verb_permissions = {
        "list": "deployments.view_deployment",
        "retrieve": "deployments.view_deployment",
        "create": "deployments.add_deployment",
        "partial_update": "deployments.change_deployment",
        "destroy": "deployments.delete_deployment",
        "deploy": "deployments.deploy_deployment",
        "redeploy": "deployments.deploy_deployment",
        "retrigger": "deployments.deploy_deployment",
        "undeploy": "deployments.undeploy_deployment",
        "accept": "deployments.decide_deployment",
        "reject": "deployments.decide_deployment",
        "proof": "deployments.view_deployment",
        "events": "deployments.view_deployment",
        "versions": "deployments.view_deployment",
        "logs": "deployments.view_deployment",
        "curl": "deployments.view_deployment",
    }

    def get_serializer_class(self) -> Any:
        """Lists are short, one deployment is whole."""
        return DeploymentSerializer if self.action == "list" else DeploymentDetailSerializer

    @extend_schema(summary="Create a deployment", request=CreateDeploymentSerializer,
                   responses={201: DeploymentDetailSerializer, **REFUSED})  # fmt: skip
    def create(self, request: Request) -> Response:
        """Creates it in Ready to Deploy, or deploys it at once with `deploy: true`."""
        body = CreateDeploymentSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        values = dict(body.validated_data)
        at_once = values.pop("deploy")
        if at_once and not request.user.has_perm("deployments.deploy_deployment"):
            raise Problem("permission_denied", "You may create deployments, but not deploy them.",
                          "Leave `deploy` out, or ask an administrator for the permission.", status=403)  # fmt: skip
        traffic = {name: values.pop(name) for name in TRAFFIC if name in values}
        deployment = operations.create(by=caller(request), traffic=traffic, **values)
        if at_once:
            operations.deploy(deployment, by=caller(request))
        return self._answer(deployment, 201)

    @extend_schema(summary="Edit description, tags, limits, timeouts and capture", request=EditDeploymentSerializer,
                   responses={200: DeploymentDetailSerializer, **REFUSED})  # fmt: skip
    def partial_update(self, request: Request, pk: str) -> Response:
        """Changes what is given, while it runs; every web process acts on it within a second."""
        body = EditDeploymentSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self._answer(operations.edit(self.get_object(), by=caller(request), **body.validated_data), 200)

    @extend_schema(summary="Delete a deployment", responses={204: None, **REFUSED})
    def destroy(self, request: Request, pk: str) -> Response:
        """Deletes it with its keys and history; refused while anything of it runs."""
        operations.delete(self.get_object(), by=caller(request))
        return Response(status=204)

    @extend_schema(summary="Deploy", request=None, responses=ACCEPTED)
    @action(detail=True, methods=["post"])
    def deploy(self, request: Request, pk: str) -> Response:
        """Starts what is Ready to Deploy."""
        return self._do(operations.deploy)

    @extend_schema(summary="Re-trigger", request=None, responses=ACCEPTED)
    @action(detail=True, methods=["post"])
    def retrigger(self, request: Request, pk: str) -> Response:
        """Starts again what has Failed or is Stopped; refused otherwise."""
        return self._do(operations.retrigger)

    @extend_schema(summary="Undeploy", request=None, responses=ACCEPTED)
    @action(detail=True, methods=["post"])
    def undeploy(self, request: Request, pk: str) -> Response:
        """Refuses new calls at once, lets running ones finish, then ends the engines."""
        return self._do(operations.undeploy)

    @extend_schema(summary="Re-deploy", request=RedeployRequestSerializer, responses=ACCEPTED)
    @action(detail=True, methods=["post"])
    def redeploy(self, request: Request, pk: str) -> Response:
        """Makes the next version and brings it up beside the running one; what is left out stays as it is."""
        body = RedeployRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self._do(lambda it, *, by: operations.redeploy(it, by=by, **body.validated_data))

    @extend_schema(summary="Accept an optimization", request=None, responses=ACCEPTED)
    @action(detail=True, methods=["post"])
    def accept(self, request: Request, pk: str) -> Response:
        """Deploys the version whose artifact agrees less with the original than its threshold asks."""
        return self._do(operations.accept)

    @extend_schema(summary="Reject an optimization", request=None, responses=ACCEPTED)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        """Gives that version up; where nothing serves, the next version is the same without optimization."""
        return self._do(operations.reject)

    @extend_schema(
        summary="Proof of a version's optimization",
        responses={200: ProofSerializer, 404: PROBLEM},
        parameters=[OpenApiParameter("as", str, enum=["json", "csv"], description="csv: for a sheet.")],
    )
    @action(detail=True, url_path=r"versions/(?P<number>[0-9]{1,6})/proof", pagination_class=None, filterset_class=None)
    def proof(self, request: Request, pk: str, number: str) -> HttpResponseBase:
        """The report: original and optimized side by side."""
        proof = get_object_or_404(Proof, version__deployment=self.get_object(), version__number=number)
        if request.query_params.get("as") == "csv":
            name = f"{pk}-v{number}-proof.csv"
            headers = {"Content-Disposition": f'attachment; filename="{name}"'}
            return HttpResponse(report.as_csv(proof.report), content_type="text/csv; charset=utf-8", headers=headers)
        return Response(ProofSerializer(proof).data)

    @extend_schema(summary="Timeline", responses={200: EventSerializer(many=True), 404: PROBLEM})
    @action(detail=True, filterset_class=None, search_fields=(), ordering_fields=())
    def events(self, request: Request, pk: str) -> Response:
        """The timeline, newest first."""
        return self._page(self.get_object().events.select_related("by"), EventSerializer)

    @extend_schema(summary="Versions", responses={200: VersionSerializer(many=True), 404: PROBLEM})
    @action(detail=True, filterset_class=None, search_fields=(), ordering_fields=())
    def versions(self, request: Request, pk: str) -> Response:
        """The history: v1, v2 …, newest first."""
        return self._page(self.get_object().versions.select_related("created_by", "proof"), VersionSerializer)

    @extend_schema(summary="Last log lines", responses={200: LogSerializer, 404: PROBLEM},
                   parameters=[OpenApiParameter("lines", int, description="1 to 2000; 200 unless told.")])  # fmt: skip
    @action(detail=True, pagination_class=None, filterset_class=None)
    def logs(self, request: Request, pk: str) -> Response:
        """What the newest engine printed last."""
        asked = request.query_params.get("lines", "200")
        lines = min(max(int(asked), 1), 2000) if asked.isdecimal() and len(asked) < 6 else 200
        return Response({"lines": list(logs.clean_tail(self.get_object(), lines))})

    @extend_schema(summary="Copy cURL", responses={200: CurlSerializer, 404: PROBLEM})
    @action(detail=True, pagination_class=None, filterset_class=None)
    def curl(self, request: Request, pk: str) -> Response:
        """A request that answers, with the key as $MODELYARD_API_KEY."""
        return Response({"curl": operations.curl(self.get_object(), "$MODELYARD_API_KEY", base_url(request))})

    def _do(self, verb: Callable[..., Deployment]) -> Response:
        return self._answer(verb(self.get_object(), by=caller(self.request)), 202)

    def _answer(self, deployment: Deployment, status: int) -> Response:
        body = DeploymentDetailSerializer(deployment, context=self.get_serializer_context()).data
        return Response(body, status=status, headers={"Location": f"/api/v1/deployments/{deployment.pk}/"})

    def _page(self, rows: Any, serializer: type[EventSerializer] | type[VersionSerializer]) -> Response:
        page: list[Event] | list[Version] = self.paginate_queryset(rows) or []
        return self.get_paginated_response(serializer(page, many=True).data)  # type: ignore[arg-type]


class RuntimesView(APIView):
    """The installed runtimes."""

    verb_permissions = {"get": "deployments.view_deployment"}

    @extend_schema(summary="List runtimes", responses=RuntimeSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Every registered runtime with its options; broken ones with their problem."""
        entries = runtimes.registry().values()
        rows = [
            {
                "name": entry.name,
                "title": entry.title,
                "distribution": entry.distribution,
                "version": entry.version,
                "problem": entry.problem,
                "options": entry.runtime.options.model_json_schema() if entry.runtime else None,
            }
            for entry in entries
        ]
        return Response(rows)


class FitView(APIView):
    """Which runtimes can serve a model here, why the others can't, and what memory it will need."""

    verb_permissions = {"get": "deployments.view_deployment", "post": "deployments.view_deployment"}

    @extend_schema(summary="Runtimes for a model", responses={200: FitSerializer(many=True), 404: PROBLEM})
    def get(self, request: Request, model_id: str) -> Response:
        """With every option at its default; those that can serve it come first."""
        return self._answer(model_id, {})

    @extend_schema(summary="Runtimes for a model, with options", request=FitRequestSerializer,
                   responses={200: FitSerializer(many=True), 400: PROBLEM, 404: PROBLEM})  # fmt: skip
    def post(self, request: Request, model_id: str) -> Response:
        """With these options; changes nothing."""
        body = FitRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self._answer(model_id, body.validated_data.get("options", {}))

    def _answer(self, model_id: str, options: dict[str, Any]) -> Response:
        return Response(FitSerializer(fit.fits(get_object_or_404(Model, pk=model_id), options), many=True).data)
