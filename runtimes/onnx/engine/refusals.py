"""A request that the engine won't or can't answer, and how each protocol says so."""

from dataclasses import dataclass, field

import orjson

OPENAI_TYPES = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}


class Refusal(Exception):
    """Why a request isn't answered: the HTTP status, a stable code and what the caller can do, in one sentence."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param


class Gone(Exception):
    """The caller went away: nobody reads an answer."""


@dataclass(frozen=True)
class Reply:
    """One HTTP response."""

    body: bytes
    status: int = 200
    content_type: bytes = b"application/json"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def invalid(message: str, *, param: str | None = None) -> Refusal:
    """A request that is wrong in itself."""
    return Refusal(400, "invalid_request", message, param=param)


def refusal_reply(path: str, refusal: Refusal) -> Reply:
    """The refusal in the shape of the protocol that the path belongs to."""
    body = _openai(refusal) if path.startswith("/v1") else {"error": refusal.message}
    return Reply(orjson.dumps(body), refusal.status, headers=_headers(refusal.status))


def _openai(refusal: Refusal) -> dict[str, object]:
    kind = OPENAI_TYPES.get(refusal.status, "invalid_request_error")
    return {"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}}


def _headers(status: int) -> list[tuple[bytes, bytes]]:
    if status == 401:
        return [(b"www-authenticate", b"Bearer")]
    return [(b"retry-after", b"1")] if status in (429, 503) else []
