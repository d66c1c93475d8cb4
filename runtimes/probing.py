"""A real answer of an engine that speaks OpenAI's protocol: what readiness stands on."""

from typing import Any

import httpx

from modelyard.runtimes import Failure, LaunchContext, SampleRequest

FAILED_GENERATION = httpx.codes.FAILED_DEPENDENCY
"""What TGI says of a generation that failed: the next one may work."""


def probe(launch: LaunchContext[Any], request: SampleRequest, timeout_seconds: float) -> None:
    """One token, embedding, ranking or label: `/health` says nothing, it is 200 while an engine core hangs."""
    body = dict(request.body) | ({"max_tokens": 1} if "max_tokens" in request.body else {})
    headers = {"Authorization": f"Bearer {launch.secret}"}
    try:
        answer = httpx.post(
            f"{launch.base_url}{request.path}", json=body, headers=headers, timeout=timeout_seconds, trust_env=False
        )
    except httpx.ConnectError:
        raise Failure("not_listening", "The engine does not listen yet.", "Wait: it loads the model.") from None
    except httpx.TimeoutException:
        message = f"No answer came within {timeout_seconds:g} s."
        raise Failure("too_slow", message, "Wait; if it stays, the engine core hangs: re-deploy.") from None
    except httpx.HTTPError as error:
        raise Failure("not_answering", f"The engine broke off: {error}.", "Read the end of its log.") from None
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise Failure("wrong_engine", "Another process answers on the engine's port.", "It is started again.")
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        message = f"The engine has as much to do as it takes ({answer.status_code})."
        raise Failure("busy", message, "Wait until it has answered some of it.")
    if answer.status_code != httpx.codes.OK:
        raise _refused(answer)


def _refused(answer: httpx.Response) -> Failure:
    try:
        error = answer.json().get("error", answer.json())
        said = str(error.get("message", error))
    except (ValueError, AttributeError):
        said = answer.text
    message = f"The engine answered {answer.status_code}: {' '.join(said.split())[:300]}"
    permanent = httpx.codes.is_client_error(answer.status_code) and answer.status_code != FAILED_GENERATION
    return Failure("bad_answer", message, "Read the end of its log, then correct the options.", permanent=permanent)
