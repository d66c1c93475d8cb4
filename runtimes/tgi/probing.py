"""Real answers of the engine: what readiness stands on, and what Copy cURL shows."""

import httpx

from modelyard.runtimes import Failure, LaunchContext, Model, SampleRequest
from runtimes.tgi.folder import has_chat_template
from runtimes.tgi.options import TgiOptions

LATER = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.FAILED_DEPENDENCY)
"""Too much to do, or a generation that failed: the next one may work."""


def sample(model: Model, name: str) -> SampleRequest:
    """A chat where the model has a template for it, else a completion."""
    if has_chat_template(model):
        messages = [{"role": "user", "content": "Say in one sentence what a model registry is."}]
        return SampleRequest("/v1/chat/completions", {"model": name, "messages": messages, "max_tokens": 64})
    return SampleRequest("/v1/completions", {"model": name, "prompt": "A model registry is", "max_tokens": 64})


def probe(launch: LaunchContext[TgiOptions], timeout_seconds: float) -> None:
    """One token: `/health` only asks the shards whether they are there."""
    request = sample(launch.model, launch.served_name)
    headers = {"Authorization": f"Bearer {launch.secret}"}
    try:
        answer = httpx.post(
            f"{launch.base_url}{request.path}", json={**request.body, "max_tokens": 1}, headers=headers,
            timeout=timeout_seconds, trust_env=False,
        )  # fmt: skip
    except httpx.ConnectError:
        raise Failure("not_listening", "The engine does not listen yet.", "Wait: it loads the model.") from None
    except httpx.TimeoutException:
        message = f"No answer came within {timeout_seconds:g} s."
        raise Failure("too_slow", message, "Wait; if it stays, a shard hangs: re-deploy.") from None
    except httpx.HTTPError as error:
        raise Failure("not_answering", f"The engine broke off: {error}.", "Read the end of its log.") from None
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise Failure("wrong_engine", "Another process answers on the engine's port.", "It is started again.")
    if answer.status_code != httpx.codes.OK:
        raise _refused(answer)


def _refused(answer: httpx.Response) -> Failure:
    try:
        said = str(answer.json()["error"])
    except (ValueError, LookupError, TypeError):
        said = answer.text
    message = f"The engine answered {answer.status_code}: {' '.join(said.split())[:300]}"
    permanent = httpx.codes.is_client_error(answer.status_code) and answer.status_code not in LATER
    return Failure("bad_answer", message, "Read the end of its log, then correct the options.", permanent=permanent)
