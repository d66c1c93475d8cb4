"""The one error type that operations raise: every door (admin, API, command line) shows it in its own way."""

from typing import Any


class Problem(Exception):
    """Something a person asked for that can't be done, with a stable code and what to do next.

    `status` is the HTTP status that the API answers with.
    """

    def __init__(self, code: str, message: str, next_step: str = "", *, status: int = 409) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step
        self.status = status

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


def body_of(problem: Problem) -> dict[str, Any]:
    """The body that a Problem has on the wire (RFC 9457)."""
    return {
        "type": "about:blank",
        "title": problem.message,
        "status": problem.status,
        "code": problem.code,
        "detail": str(problem),
        "next_step": problem.next_step,
    }
