"""The engine's ASGI application: who may call, which endpoint answers, and what goes wrong in between."""

import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from . import openai, protocol, ranking
from .refusals import Gone, Refusal, Reply, refusal_reply
from .service import Receive, Request, Service

log = logging.getLogger(__name__)

type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
type Endpoint = Callable[[Service, Request], Awaitable[Reply]]


async def metrics(service: Service, _request: Request) -> Reply:
    """GET /metrics."""
    body = service.measures.render({"queue_depth": service.batcher.depth, "running": service.batcher.running})
    return Reply(body, content_type=b"text/plain; version=0.0.4; charset=utf-8")


ENDPOINTS: Mapping[str, Mapping[str, Endpoint]] = {
    "/v1/embeddings": {"POST": openai.embed},
    "/v1/rerank": {"POST": ranking.rerank},
    "/v1/classify": {"POST": ranking.classify},
    "/v1/models": {"GET": openai.list_models},
    "/v2": {"GET": protocol.server_metadata},
    "/v2/health/live": {"GET": protocol.live},
    "/v2/health/ready": {"GET": protocol.ready},
    "/metrics": {"GET": metrics},
}
MODEL_ENDPOINTS: Mapping[str, Mapping[str, Endpoint]] = {
    "": {"GET": protocol.model_metadata},
    "ready": {"GET": protocol.model_ready},
    "infer": {"POST": protocol.infer},
}
HEALTH_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})


class App:
    """The ASGI application."""

    def __init__(self, service: Service, secret: str, max_body_bytes: int) -> None:
        self.service = service
        self._authorization = f"Bearer {secret}".encode()
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        path: str = scope["path"]
        try:
            reply = await self._answer(scope, receive)
        except Gone:
            self.service.measures.abandoned()
            return
        await _send(send, reply)
        self.service.measures.request(_label(path), reply.status, time.perf_counter() - started)

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> Reply:
        path: str = scope["path"]
        try:
            headers = dict(scope["headers"])
            self._admit(path, headers)
            endpoint = self._endpoint(scope["method"], path)
            body = await self._body(headers, receive)
            return await endpoint(self.service, Request(scope["method"], path, body, receive, headers))
        except Refusal as refusal:
            return refusal_reply(path, refusal)
        except Gone:
            raise
        except Exception:
            log.exception("a request to %s failed in an unexpected way", _label(path))
            return refusal_reply(
                path, Refusal(500, "internal_error", "The engine failed on this request. See its log.")
            )

    def _admit(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._authorization):
            raise Refusal(401, "unauthorized", "This engine takes requests with its own secret only.")
        if self.service.draining and path not in HEALTH_PATHS:
            raise Refusal(503, "stopping", "This engine is stopping. Try again in a second.")

    def _endpoint(self, method: str, path: str) -> Endpoint:
        if path.startswith("/v2/models/"):
            methods = MODEL_ENDPOINTS.get(protocol.model_path(self.service, path))
        else:
            methods = ENDPOINTS.get(path)
        if methods is None:
            raise Refusal(404, "not_found", f"There is nothing at {path}.")
        if method not in methods:
            raise Refusal(405, "method_not_allowed", f"{path} takes {', '.join(methods)}.")
        return methods[method]

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            raise self._too_large()
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._max_body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _too_large(self) -> Refusal:
        return Refusal(413, "body_too_large", f"The body is larger than {self._max_body_bytes} bytes.")


async def _send(send: Send, reply: Reply) -> None:
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", str(len(reply.body)).encode("ascii")),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _label(path: str) -> str:
    """A bounded set of endpoint names, whatever callers ask for."""
    if path.startswith("/v2/models/"):
        last = path.rpartition("/")[2]
        return f"/v2/models/{last}" if last in ("infer", "ready") else "/v2/models"
    return path if path in ENDPOINTS else "other"
