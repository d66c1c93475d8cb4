"""Sends a model's zip: for the admin's button and the API alike."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.deployments import portable
from apps.models.models import Model
from modelyard import console
from modelyard.api.errors import ProblemSerializer

MAY = "models.export_model"
PROBLEM = OpenApiResponse(ProblemSerializer, description="A problem body: what happened and what to do next.")


class ExportView(APIView):
    """A model as a zip."""

    verb_permissions = {"get": MAY}

    @extend_schema(
        summary="Export a model",
        parameters=[OpenApiParameter("deployment", str, description="Whose configuration goes along; else the last.")],
        responses={(200, "application/zip"): OpenApiTypes.BINARY, 404: PROBLEM, 409: PROBLEM},
    )
    def get(self, request: Request, model_id: str) -> HttpResponseBase:
        """Its files and a deployconfig.json, stored in a 64-bit zip that is written while it is sent."""
        model = get_object_or_404(Model, pk=model_id)
        return _sent(portable.export(model, request.query_params.get("deployment", "")))


def export(request: HttpRequest, pk: str) -> HttpResponseBase:
    """The admin's button."""
    console.require(request, MAY)
    model = get_object_or_404(Model, pk=pk)
    found: list[portable.Export] = []
    asked = request.GET.get("deployment", "")
    if not console.attempt(request, lambda: found.append(portable.export(model, asked)), ""):
        return redirect("admin:models_model_change", pk)
    return _sent(found[0])


def _sent(export: portable.Export) -> StreamingHttpResponse:
    headers = {
        "Content-Disposition": content_disposition_header(as_attachment=True, filename=export.name) or "attachment",
        "Cache-Control": "no-store",
    }
    return StreamingHttpResponse(_following(export.pieces), content_type="application/zip", headers=headers)


async def _following(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each piece is read when the one before has gone out, in a thread that no other request waits for."""
    following: Any = sync_to_async(partial(next, pieces, None), thread_sensitive=False)
    try:
        while (piece := await following()) is not None:
            if piece:
                yield piece
    finally:
        await sync_to_async(pieces.close, thread_sensitive=False)()  # type: ignore[attr-defined]
