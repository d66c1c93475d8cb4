"""Real answers of the engine: what readiness stands on, and what Copy cURL shows."""

import httpx

from modelyard.runtimes import Failure, LaunchContext, Model, SampleRequest
from runtimes.vllm.options import VllmOptions
from runtimes.vllm.weights import has_chat_template, task


def purpose(model: Model, options: VllmOptions) -> str:
    """What the engine is started for: `generate`, `embed`, `rank` or `classify`."""
    found = task(model)
    if options.runner == "generate":
        return "generate"
    return "embed" if options.runner == "pooling" and found == "generate" else found


def sample(model: Model, options: VllmOptions, name: str) -> SampleRequest:
    """A request that answers on this model."""
    wanted = purpose(model, options)
    if wanted == "embed":
        return SampleRequest("/v1/embeddings", {"model": name, "input": "A small cat."})
    if wanted == "rank":
        body = {"query": "What is a cat?", "documents": ["A cat is a small animal.", "Ships sail."]}
        return SampleRequest("/v1/rerank", {"model": name, **body})
    if wanted == "classify":
        return SampleRequest("/classify", {"model": name, "input": "A small cat."})
    if options.chat_template or has_chat_template(model):
        messages = [{"role": "user", "content": "Say in one sentence what a model registry is."}]
        return SampleRequest("/v1/chat/completions", {"model": name, "messages": messages, "max_tokens": 64})
    return SampleRequest("/v1/completions", {"model": name, "prompt": "A model registry is", "max_tokens": 64})


def probe(launch: LaunchContext[VllmOptions], timeout_seconds: float) -> None:
    """One token, embedding, ranking or label: `/health` says nothing, it is 200 while an engine core hangs."""
    request = sample(launch.model, launch.options, launch.served_name)
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
    if answer.status_code != httpx.codes.OK:
        raise _refused(answer)


def _refused(answer: httpx.Response) -> Failure:
    try:
        error = answer.json().get("error", answer.json())
        said = str(error.get("message", error))
    except (ValueError, AttributeError):
        said = answer.text
    message = f"The engine answered {answer.status_code}: {' '.join(said.split())[:300]}"
    permanent = httpx.codes.is_client_error(answer.status_code)
    return Failure("bad_answer", message, "Read the end of its log, then correct the options.", permanent=permanent)
