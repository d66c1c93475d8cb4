"""Problem bodies (RFC 9457): every error of the API has a stable `code`, and says what to do next where it can."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions, serializers
from rest_framework.response import Response
from rest_framework.views import exception_handler

from modelyard.problems import Problem, body_of

NEXT_STEPS = {
    "not_authenticated": "Send `Authorization: Bearer <user token>`; make a token under API tokens in the admin.",
    "authentication_failed": "Check the user token, or make a new one under API tokens in the admin.",
    "permission_denied": "Ask an administrator for the permission.",
}


class ProblemSerializer(serializers.Serializer[Any]):
    """The body of an error, as `application/problem+json`."""

    type = serializers.CharField(help_text="`about:blank`: the code says it all.")
    title = serializers.CharField(help_text="The cause in one line.")
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="Stable; meant for programs.")
    detail = serializers.CharField(help_text="What happened, and what to do next.")
    next_step = serializers.CharField(help_text="What to do next; may be empty.", allow_blank=True)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Adds `errors`, a name that the class itself uses for something else."""
        wrong = serializers.DictField(help_text="For invalid input: what is wrong, by field.", required=False)
        return {**super().get_fields(), "errors": wrong}


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn what a view raised into a problem body; what is no API error goes on to Django."""
    if isinstance(error, Problem):
        return _response(error.status, error.code, error.message, error.next_step)
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    answer = exception_handler(error, context)
    if answer is None or not isinstance(error, exceptions.APIException):
        return answer
    if isinstance(error, exceptions.ValidationError):
        body = _response(400, "invalid", "The input isn't valid.", _fields(answer.data), errors=answer.data)
    else:
        code = str(getattr(error.detail, "code", error.default_code))
        body = _response(error.status_code, code, str(error.detail), NEXT_STEPS.get(code, ""))
    for header in ("WWW-Authenticate", "Retry-After", "Allow"):
        if header in answer.headers:
            body[header] = answer.headers[header]
    return body


def _fields(errors: Any) -> str:
    if not isinstance(errors, Mapping):
        return "; ".join(str(part) for part in errors)
    return "; ".join(f"{name}: {_text(value)}" for name, value in errors.items())


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return _fields(value)
    return " ".join(str(part) for part in value) if isinstance(value, list) else str(value)


def _response(status: int, code: str, message: str, next_step: str, **more: Any) -> Response:
    body = {**body_of(Problem(code, message, next_step, status=status)), **more}
    return Response(body, status=status, content_type="application/problem+json")
