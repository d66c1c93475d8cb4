"""Calls of a deployment by people who are logged in and by user tokens, through the API.

Who may call gets a ticket for one call, and the call goes on to this web process' own gateway: the same limits, the
same ledger, the same answers as with an API key.
"""

import ssl
from collections.abc import AsyncIterator
from string import punctuation
from typing import Any
from urllib.parse import quote

import httpx
from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpResponse, StreamingHttpResponse
from django.http.request import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.deployments.gateway import errors, tickets
from apps.deployments.gateway.schema import ERRORS
from modelyard.api.errors import ProblemSerializer
from modelyard.api.permissions import caller

CONNECT_SECONDS = 5.0
PART = 256 * 1024  # bytes of a body that are read at once
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing goes over TLS here; httpx would load all authorities for each call, 30 ms in which nobody is served."""
OURS = frozenset({
    "authorization", "cookie", "host", "content-length", "connection", "origin", "referer", "x-csrftoken", "expect",
})  # fmt: skip
"""Headers of the caller that end here; the gateway sorts out the rest."""
GIVEN = frozenset({"content-type", "content-encoding", "retry-after", "allow", "x-request-id", "x-should-retry"})
"""Headers of the answer that come back, besides those of limits."""
LIMITS = "x-ratelimit-"
ADDED = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    # What an engine says must not run as a page of this site, where people are logged in.
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
PROBLEM = "application/problem+json"
ANSWERS: dict[Any, OpenApiResponse] = {
    200: OpenApiResponse(description="The engine's answer, or a stream of events."),
    (401, PROBLEM): OpenApiResponse(ProblemSerializer, description="Nobody is logged in, or the token is wrong."),
    (403, PROBLEM): OpenApiResponse(ProblemSerializer, description="You may not call deployments without a key."),
    (411, PROBLEM): OpenApiResponse(ProblemSerializer, description="The request doesn't say how large it is."),
    (413, PROBLEM): OpenApiResponse(ProblemSerializer, description=ERRORS["413"]),
    **{
        int(status): OpenApiResponse(OpenApiTypes.OBJECT, description=f"{text} In OpenAI's form, from the gateway.")
        for status, text in ERRORS.items()
        if status not in {"401", "403", "413"}
    },
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
    found = await sync_to_async(_checked)(request, deployment_id, path)
    if not isinstance(found, Admitted):
        return found
    address = _own_address(request)
    if not address:
        return _unreachable()
    client = httpx.AsyncClient(
        base_url=address, timeout=httpx.Timeout(None, connect=CONNECT_SECONDS), trust_env=False, verify=NO_TLS
    )
    try:
        answer = await client.send(_onward(client, request, deployment_id, path, found.ticket), stream=True)
    except httpx.TransportError:
        await client.aclose()
        return _unreachable()
    except BaseException:
        await client.aclose()
        raise
    passed = {name: value for name, value in answer.headers.items() if name in GIVEN or name.startswith(LIMITS)}
    return StreamingHttpResponse(_passed(client, answer), status=answer.status_code, headers={**passed, **ADDED})


invoke.cls = InvokeView  # type: ignore[attr-defined]  # for the schema
invoke.initkwargs = {}  # type: ignore[attr-defined]
invoke.csrf_exempt = True  # type: ignore[attr-defined]  # sessions are checked for it by the view, as everywhere in the API


def _checked(request: HttpRequest, deployment_id: str, path: str) -> HttpResponseBase:
    """What the view says, ready to be sent; keeps no connection to the database, since a stream may take hours."""
    try:
        found: Any = check(request, deployment_id=deployment_id, path=path)
        rendered: HttpResponseBase = found.render() if hasattr(found, "render") else found
        return rendered
    finally:
        close_old_connections()


def _own_address(request: HttpRequest) -> str:
    """Where this request came in, which is where the gateway is too; empty if that is no port."""
    host, port = getattr(request, "scope", {}).get("server") or ("", None)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}" if port else ""


def _onward(
    client: httpx.AsyncClient, request: HttpRequest, deployment_id: str, path: str, ticket: str
) -> httpx.Request:
    target = f"/d/{deployment_id}/{quote(path, safe='/:@-._~')}"
    if query := request.META.get("QUERY_STRING"):
        target += f"?{quote(query, safe=punctuation)}"
    headers = {name: value for name, value in request.headers.items() if name.lower() not in OURS}
    headers["Authorization"] = f"Bearer {ticket}"
    body = None
    if length := int(request.META.get("CONTENT_LENGTH") or 0):  # whoever doesn't say it is refused before Django
        headers["Content-Length"] = str(length)
        body = _body(request)
    # As it is: httpx would resolve `..`, out of the gateway and to what answers only on this host.
    return client.build_request(
        str(request.method), "/", headers=headers, content=body, extensions={"target": target.encode("ascii")}
    )


async def _body(request: HttpRequest) -> AsyncIterator[bytes]:
    """What Django has put aside of the body, a part at a time."""
    while part := await sync_to_async(request.read)(PART):
        yield part


async def _passed(client: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()
        await client.aclose()


def _unreachable() -> HttpResponse:
    refused = errors.no_gateway()
    return HttpResponse(
        refused.body(), status=refused.status, content_type="application/json", headers={**refused.headers, **ADDED}
    )
