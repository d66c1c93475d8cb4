"""A real answer of the engine: what readiness stands on."""

import httpx

from modelyard.runtimes import Failure, LaunchContext, SampleRequest
from modelyard_llamacpp.options import LlamaCppOptions


def probe(context: LaunchContext[LlamaCppOptions], sample: SampleRequest, timeout_seconds: float) -> None:
    """One token, one embedding or one ranking; Failure unless it came."""
    body = dict(sample.body) | ({"max_tokens": 1} if "max_tokens" in sample.body else {})
    headers = {"Authorization": f"Bearer {context.secret}"}
    try:
        answer = httpx.post(
            f"{context.base_url}{sample.path}", json=body, headers=headers, timeout=timeout_seconds, trust_env=False
        )
    except httpx.ConnectError:
        raise Failure("not_listening", "The engine does not listen yet.", "Wait: it loads the model.") from None
    except httpx.TimeoutException:
        raise Failure(
            "too_slow", f"No token came within {timeout_seconds:g} s.", "Wait, or give the engine more cores."
        ) from None
    except httpx.HTTPError as error:
        raise Failure("not_answering", f"The engine broke off: {error}.", "Read the end of its log.") from None
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise Failure("wrong_engine", "Another process answers on the engine's port.", "It is started again.")
    if answer.status_code != httpx.codes.OK:
        raise _refused(answer)


def _refused(answer: httpx.Response) -> Failure:
    try:
        said = " ".join(str(answer.json()["error"]["message"]).split())[:300]
    except (ValueError, LookupError, TypeError):
        said = " ".join(answer.text.split())[:300]
    loading = answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    step = "Wait: it loads the model." if loading else "Read the end of its log, then correct the options."
    permanent = httpx.codes.is_client_error(answer.status_code)
    return Failure("bad_answer", f"The engine answered {answer.status_code}: {said}", step, permanent=permanent)
