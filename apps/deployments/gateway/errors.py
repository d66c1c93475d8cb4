"""What callers are told, in the shape OpenAI's clients read. Codes are stable; no engine's words or paths get here."""

import http
import json
import math
from typing import Any

from apps.deployments.gateway.limits.budget import Exceeded
from apps.deployments.gateway.limits.windows import Period

AUTHENTICATION = "authentication_error"


class Refused(Exception):
    """An answer of the gateway itself. `guess`: the caller may have tried keys."""

    def __init__(
        self, status: int, code: str, message: str, *, kind: str = "invalid_request_error", **headers: str
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.kind = kind
        self.guess = kind == AUTHENTICATION
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    @property
    def phrase(self) -> bytes:
        """What HTTP calls the status."""
        return http.HTTPStatus(self.status).phrase.encode()

    def body(self) -> bytes:
        """The JSON body."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()


def no_key() -> Refused:
    refused = Refused(
        401, "missing_api_key",
        "No API key was sent. Send it as `Authorization: Bearer myk_…`; keys are made on the deployment's page.",
        kind=AUTHENTICATION, www_authenticate="Bearer",
    )  # fmt: skip
    refused.guess = False
    return refused


def malformed_key() -> Refused:
    return Refused(
        401, "malformed_api_key",
        "What was sent isn't a Modelyard API key, or was cut off or mistyped. It looks like myk_…; copy it again.",
        kind=AUTHENTICATION, www_authenticate="Bearer",
    )  # fmt: skip


def invalid_key() -> Refused:
    return Refused(
        401, "invalid_api_key",
        "This API key opens nothing: it is unknown, was revoked, or has expired. Ask for a new one.",
        kind=AUTHENTICATION, www_authenticate="Bearer",
    )  # fmt: skip


def ended_key() -> Refused:
    """Told as an unknown one is; but whoever has it isn't guessing."""
    refused = invalid_key()
    refused.guess = False
    return refused


def other_deployment() -> Refused:
    return Refused(
        403, "wrong_deployment",
        "This API key belongs to another deployment. Use that one's address, or a key of this deployment.",
        kind="permission_error",
    )  # fmt: skip


def no_deployment() -> Refused:
    return Refused(404, "deployment_not_found", "This deployment doesn't exist any more.", kind="not_found_error")


def no_path(path: str) -> Refused:
    shown = path[:100].encode("ascii", "backslashreplace").decode()
    return Refused(
        404, "path_not_found", f"This deployment has no {shown}. Its paths are in the API docs at /api/docs/.",
        kind="not_found_error",
    )  # fmt: skip


def wrong_method(allowed: str) -> Refused:
    return Refused(405, "method_not_allowed", f"This path takes {allowed}.", allow=allowed)


def not_deployed(status: str) -> Refused:
    return Refused(
        409, "not_deployed",
        f"This deployment doesn't take calls: it is {status}. Deploy or re-trigger it first.",
        kind="conflict_error",
    )  # fmt: skip


def undeploying() -> Refused:
    return Refused(409, "undeploying", "This deployment is being undeployed.", kind="conflict_error")


def too_large(limit: int) -> Refused:
    return Refused(
        413, "request_too_large", f"The request's body is larger than {limit} bytes. Send less at once.",
        connection="close",
    )  # fmt: skip


def too_slow(seconds: float) -> Refused:
    return Refused(
        408, "request_timeout", f"The request's body did not come within {seconds:.0f} s.", connection="close"
    )


def gateway_failed() -> Refused:
    return Refused(500, "gateway_error", "The gateway failed on this request. Its log says why.", kind="server_error")


def too_many(seconds: int = 1) -> Refused:
    return Refused(
        429, "too_many_requests", "This deployment is answering as many requests as it may. Try again in a moment.",
        kind="rate_limit_error", retry_after=str(seconds),
    )  # fmt: skip


def starting() -> Refused:
    return Refused(
        503, "starting", "This deployment is starting, or an engine is being brought back. Try again shortly.",
        kind="server_error", retry_after="5",
    )  # fmt: skip


def engine_broke() -> Refused:
    return Refused(
        502, "engine_unreachable", "The engine broke off before it answered. Try again.", kind="server_error"
    )


def engine_failed() -> Refused:
    return Refused(
        502, "engine_error", "The engine failed on this request. Its log, on the deployment's page, says why.",
        kind="server_error",
    )  # fmt: skip


def engine_busy(retry_after: str) -> Refused:
    return Refused(
        503, "engine_unavailable", "The engine doesn't take requests at the moment. Try again shortly.",
        kind="server_error", retry_after=retry_after,
    )  # fmt: skip


def timed_out(seconds: float) -> Refused:
    return Refused(504, "engine_timeout", f"The engine sent nothing for {seconds:.0f} s.", kind="server_error")


def out_of_scope(scopes: str) -> Refused:
    return Refused(
        403, "out_of_scope", f"This API key may not call this path. It is for: {scopes}. Ask for one with that scope.",
        kind="permission_error",
    )  # fmt: skip


def wrong_address() -> Refused:
    return Refused(
        403, "address_not_allowed",
        "This API key may not be used from your address. Ask its owner to add your network to it.",
        kind="permission_error",
    )  # fmt: skip


def compressed() -> Refused:
    return Refused(
        415, "compressed_body", "Engines don't take compressed bodies. Send it without Content-Encoding.",
        accept_encoding="identity", connection="close",
    )  # fmt: skip


def head_too_large(limit: int) -> Refused:
    return Refused(
        431, "headers_too_large", f"The request's headers are larger than {limit} bytes.", connection="close"
    )


def head_too_slow(seconds: float) -> Refused:
    return Refused(408, "request_timeout", f"The headers did not come within {seconds:.0f} s.", connection="close")


def bad_request() -> Refused:
    return Refused(400, "bad_request", "This is no valid HTTP request.", connection="close")


def too_many_failures(seconds: int) -> Refused:
    return Refused(
        429, "too_many_failures", "Too many wrong API keys came from your address. Wait, then send a right one.",
        kind="rate_limit_error", retry_after=str(seconds),
    )  # fmt: skip


def limited(exceeded: Exceeded) -> Refused:
    """A limit of the key or the deployment; `Retry-After` says when its window ends."""
    code = "concurrency_limited" if exceeded.period is None else (
        "rate_limited" if exceeded.period is Period.MINUTE else "quota_exceeded"
    )  # fmt: skip
    said = f"This {exceeded.whose} may use {exceeded.limit} {exceeded.what}, and no more"
    if exceeded.seconds is None:
        why = "this request may use more by itself. Ask for less (`max_tokens`), or for a higher limit" if (
            exceeded.limit) else "nothing passes. Ask for a higher limit"  # fmt: skip
        return Refused(429, code, f"{said}: {why}.", kind="rate_limit_error", x_should_retry="false")
    wait = max(math.ceil(exceeded.seconds), 1)
    more = {"x_should_retry": "false"} if wait > 60 else {}
    return Refused(
        429, code, f"{said}. Try again in {wait} s.", kind="rate_limit_error", retry_after=str(wait), **more
    )  # fmt: skip


def unavailable() -> Refused:
    return Refused(
        503, "gateway_unavailable", "The gateway can't check keys at the moment. Try again shortly.",
        kind="server_error", retry_after="5",
    )  # fmt: skip


def no_gateway() -> Refused:
    return Refused(
        503, "gateway_unreachable",
        "This web process can't reach its own gateway. Start it with `modelyard web` or `modelyard up`.",
        kind="server_error", retry_after="5",
    )  # fmt: skip
