"""Calls of a deployment by people who are logged in and by user tokens, through the API.

Who may call gets a ticket for one call, and the call goes on to this web process' own gateway: the same limits, the
same ledger, the same answers as with an API key.
"""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.request import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.deployments.gateway import tickets
from modelyard.api.errors import ProblemSerializer, body_of
from modelyard.api.permissions import caller
from modelyard.problems import Problem

CONNECT_SECONDS = 5.0
OURS = frozenset({
    "authorization", "cookie", "host", "content-length", "connection", "origin", "referer", "x-csrftoken", "expect",
})  # fmt: skip
"""Headers of the caller that end here; the gateway sorts out the rest."""
GIVEN = ("content-type", "retry-after", "allow", "x-request-id", "x-should-retry")
"""Headers of the answer that come back, besides those of limits."""
LIMITS = "x-ratelimit-"
ANSWERS = {
    200: OpenApiResponse(description="The engine's answer, or a stream of events."),
    (403, "application/json"): OpenApiResponse(ProblemSerializer, description="You may not call deployments."),
    429: OpenApiResponse(description="A limit of the deployment; errors of the gateway are in OpenAI's form."),
}


class Admitted(HttpResponse):
    """No answer yet: who calls may, and this is the ticket."""

    def __init__(self, ticket: str) -> None:
        super().__init__()
        self.ticket = ticket


class Untouched(BaseParser):
    """Leaves the body for the call; Django's CSRF check wants to look at one."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:  # noqa: ARG002
        """Nothing is read."""
        return {}


class InvokeView(APIView):
    """Checks who calls; `invoke` makes the call."""

    verb_permissions = {"get": "deployments.invoke_deployment", "post": "deployments.invoke_deployment"}
    parser_classes = (Untouched,)

    @extend_schema(summary="Call a deployment (GET)", operation_id="deployments_invoke_get", responses=ANSWERS)
    def get(self, request: Request, deployment_id: str, path: str) -> HttpResponseBase:  # noqa: ARG002
        """Whatever the deployment answers below its own address, for example `v1/models`."""
        return self._admit(request, deployment_id)

    @extend_schema(
        summary="Call a deployment", operation_id="deployments_invoke", responses=ANSWERS,
        request={"application/json": {"type": "object"}},
    )  # fmt: skip
    def post(self, request: Request, deployment_id: str, path: str) -> HttpResponseBase:  # noqa: ARG002
        """The same as at the deployment's own address, for example `v1/chat/completions`, without an API key."""
        return self._admit(request, deployment_id)

    @staticmethod
    def _admit(request: Request, deployment_id: str) -> HttpResponseBase:
        address = str(request.META.get("REMOTE_ADDR", ""))
        return Admitted(tickets.make(deployment_id, caller(request).get_username(), address))


check = InvokeView.as_view()


async def invoke(request: HttpRequest, deployment_id: str, path: str) -> HttpResponseBase:
    """One call; a caller who leaves ends it."""
    found = await sync_to_async(check)(request, deployment_id=deployment_id, path=path)
    if not isinstance(found, Admitted):
        return await sync_to_async(_rendered)(found)
    client = httpx.AsyncClient(timeout=httpx.Timeout(None, connect=CONNECT_SECONDS), trust_env=False)
    try:
        answer = await client.send(_onward(client, request, deployment_id, path, found.ticket), stream=True)
    except httpx.TransportError:
        await client.aclose()
        return _unreachable()
    except BaseException:
        await client.aclose()
        raise
    response = StreamingHttpResponse(_passed(client, answer), status=answer.status_code)
    for name, value in answer.headers.items():
        if name in GIVEN or name.startswith(LIMITS):
            response[name] = value
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


invoke.cls = InvokeView  # type: ignore[attr-defined]  # for the schema
invoke.initkwargs = {}  # type: ignore[attr-defined]
invoke.csrf_exempt = True  # type: ignore[attr-defined]  # sessions are checked for it by the view, as everywhere in the API


def _rendered(response: Any) -> HttpResponseBase:
    return response.render() if hasattr(response, "render") else response  # type: ignore[no-any-return]


def _onward(
    client: httpx.AsyncClient, request: HttpRequest, deployment_id: str, path: str, ticket: str
) -> httpx.Request:
    scope: dict[str, Any] = request.scope  # type: ignore[attr-defined]
    host, port = scope["server"]
    host = f"[{host}]" if ":" in host else host
    target = f"http://{host}:{port}/d/{deployment_id}/{quote(path, safe='/:@-._~')}"
    query = request.META.get("QUERY_STRING", "")
    headers = {name: value for name, value in request.headers.items() if name.lower() not in OURS}
    headers["Authorization"] = f"Bearer {ticket}"
    body = request.read(settings.MAX_REQUEST_BYTES) if request.method == "POST" else None
    return client.build_request(
        str(request.method), f"{target}?{query}" if query else target, headers=headers, content=body
    )


async def _passed(client: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()
        await client.aclose()


def _unreachable() -> HttpResponse:
    problem = Problem(
        "gateway_unreachable", "This web process can't reach its own gateway.",
        "Start it with `modelyard web` or `modelyard up`; its log says more.", status=503,
    )  # fmt: skip
    return JsonResponse(body_of(problem), status=problem.status, content_type="application/problem+json")
