"""The one error type that operations raise: every door (admin, API, command line) shows it in its own way."""


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
