"""Requests that a model answers: what Copy cURL shows, and the real inference that readiness stands on."""

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from modelyard.runtimes import Failure, LaunchContext, SampleRequest
from runtimes.onnx.engine.declared import example_elements, example_inputs
from runtimes.onnx.engine.modelproto import GraphHeader
from runtimes.onnx.options import OnnxOptions

SAMPLE_TEXT = "Modelyard serves open-source models."
MAX_SAMPLE_ELEMENTS = 16_000
"""About 64 KB of JSON: a longer command line can't be pasted."""

REFUSED = "The model refused these inputs"


def embeddings_sample(served_name: str) -> SampleRequest:
    """A request for one embedding."""
    return SampleRequest("/v1/embeddings", {"model": served_name, "input": SAMPLE_TEXT})


def ranking_sample(served_name: str) -> SampleRequest:
    """A request that ranks two documents."""
    documents = [SAMPLE_TEXT, "Ships sail on the sea."]
    return SampleRequest("/v1/rerank", {"model": served_name, "query": "What serves models?", "documents": documents})


def classes_sample(served_name: str) -> SampleRequest:
    """A request for the label of a text."""
    return SampleRequest("/v1/classify", {"model": served_name, "input": SAMPLE_TEXT})


SAMPLES = {"embed": embeddings_sample, "rank": ranking_sample, "classify": classes_sample}


def infer_sample(graph: GraphHeader, served_name: str) -> SampleRequest:
    """A small valid infer request, or the model's metadata where even the smallest is too long to paste."""
    path = f"/v2/models/{quote(served_name, safe='')}"
    if example_elements(graph.inputs) > MAX_SAMPLE_ELEMENTS:
        return SampleRequest(path, {}, method="GET")
    return SampleRequest(f"{path}/infer", {"inputs": example_inputs(graph.inputs)})


def infer_request(graph: GraphHeader, served_name: str) -> SampleRequest:
    """A small valid infer request, however long."""
    path = f"/v2/models/{quote(served_name, safe='')}/infer"
    return SampleRequest(path, {"inputs": example_inputs(graph.inputs)})


def varied(graph: GraphHeader, served_name: str, count: int) -> list[SampleRequest]:
    """Infer requests of made-up values that differ, and are the same each time."""
    path = f"/v2/models/{quote(served_name, safe='')}/infer"
    return [SampleRequest(path, {"inputs": [_shifted(entry, number) for entry in example_inputs(graph.inputs)]})
            for number in range(count)]  # fmt: skip


def _shifted(entry: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Floats spread between -1 and 1; whole numbers stay as they are: what they mean isn't known."""
    if not entry["datatype"].startswith("FP"):
        return dict(entry)
    values = [math.sin(1.0 + number * 12.9898 + place * 78.233) for place in range(len(entry["data"]))]
    return {**entry, "data": [round(value, 4) for value in values]}


def probe(context: LaunchContext[OnnxOptions], request: SampleRequest, timeout_seconds: float) -> None:
    """Sends the request; raises Failure unless the model ran."""
    response = _send(context, request, timeout_seconds)
    if response.status_code == 200:
        return
    message = _message(response)
    if response.status_code == 400 and message.startswith(REFUSED):
        # the graph did run: made-up values needn't make sense to it
        return
    raise _refused(response.status_code, message)


def _send(context: LaunchContext[OnnxOptions], request: SampleRequest, timeout_seconds: float) -> httpx.Response:
    headers = {"authorization": f"Bearer {context.secret}"}
    try:
        return httpx.post(
            context.base_url + request.path,
            json=request.body, headers=headers, timeout=timeout_seconds, trust_env=False,
        )  # fmt: skip
    except httpx.ConnectError as error:
        raise Failure(
            "not_listening", f"The engine does not listen on {context.host}:{context.port} yet.", "Wait for its start."
        ) from error
    except httpx.TimeoutException as error:
        raise Failure(
            "too_slow", f"An inference took longer than {timeout_seconds:g} s.", "Wait, or give the model more cores."
        ) from error
    except httpx.HTTPError as error:
        raise Failure(
            "probe_failed", f"The engine broke off the test inference: {error}.", "Read the end of its log."
        ) from error


def _message(response: httpx.Response) -> str:
    try:
        error: Any = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return response.text[:300]
    return str(error["message"] if isinstance(error, dict) and "message" in error else error)


def _refused(status: int, message: str) -> Failure:
    if status == 401:
        return Failure(
            "wrong_engine", "Another process answers on the engine's port.", "Try again: it gets another port."
        )
    if status == 429:
        return Failure("busy", f"The engine is busy: {message}", "Wait until its queue is shorter.")
    if status == 503:
        return Failure("unavailable", f"The engine can't answer now: {message}", "Wait, or give the host more memory.")
    step = "Read the end of its log, then correct the options or the model."
    return Failure("inference_failed", f"A test inference failed ({status}): {message}", step, permanent=status < 500)
