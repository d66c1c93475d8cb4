"""The Open Inference Protocol, version 2, over REST."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from . import binary
from .declared import Declared
from .graph import Graph
from .infer import TensorItem
from .refusals import Refusal, Reply, invalid
from .service import Request, Service, json_reply
from .tensors import read_tensors

VERSION = "1"
INLINE_BYTES = 64 << 10
"""Reading more than this would hold up every other request; a thread takes it."""


async def server_metadata(_service: Service, _request: Request) -> Reply:
    """GET /v2."""
    return json_reply({"name": "modelyard-onnx", "version": VERSION, "extensions": [binary.NAME]})


async def live(_service: Service, _request: Request) -> Reply:
    """GET /v2/health/live."""
    return json_reply({"live": True})


async def ready(service: Service, _request: Request) -> Reply:
    """GET /v2/health/ready."""
    reply = json_reply({"ready": not service.draining})
    return Reply(reply.body, 503 if service.draining else 200)


async def model_ready(service: Service, _request: Request) -> Reply:
    """GET /v2/models/{name}/ready."""
    reply = json_reply({"name": service.name, "ready": not service.draining})
    return Reply(reply.body, 503 if service.draining else 200)


async def model_metadata(service: Service, _request: Request) -> Reply:
    """GET /v2/models/{name}."""
    graph = service.tensors.graph
    return json_reply(
        {
            "name": service.name,
            "versions": [VERSION],
            "platform": "onnxruntime_onnx",
            "inputs": [_tensor(tensor) for tensor in graph.inputs],
            "outputs": [_tensor(tensor) for tensor in graph.outputs],
        }
    )


def _tensor(tensor: Declared) -> dict[str, Any]:
    shape = [-1] if tensor.shape is None else list(tensor.shape)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape}


async def infer(service: Service, request: Request) -> Reply:
    """POST /v2/models/{name}/infer."""
    large = len(request.body) > INLINE_BYTES
    body, item = await asyncio.to_thread(_read, service, request) if large else _read(service, request)
    (arrays,) = await service.run(service.tensors.run, [item], request)
    answer: dict[str, Any] = {"model_name": service.name, "model_version": VERSION}
    if "id" in body:
        answer["id"] = body["id"]
    known = {tensor.name: tensor for tensor in service.tensors.graph.outputs}
    outputs = [(known[name], array) for name, array in zip(item.outputs, arrays, strict=True)]
    return binary.reply(answer, outputs, binary.wanted(body))


def _read(service: Service, request: Request) -> tuple[dict[str, Any], TensorItem]:
    head, raw = binary.split(request.body, request.headers)
    body = request.parsed(head)
    _check_parameters(body)
    graph = service.tensors.graph
    outputs = [tensor.name for tensor in _wanted(body.get("outputs"), graph)]
    inputs = read_tensors(body.get("inputs"), graph.inputs, binary.take(body.get("inputs"), raw))
    return body, service.tensors.item(inputs, outputs)


def _check_parameters(body: Mapping[str, Any]) -> None:
    if not isinstance(body.get("id", ""), str):
        raise invalid('"id" has to be a text.')
    if not isinstance(body.get("parameters", {}), dict):
        raise invalid('"parameters" has to be an object.')
    for entry in [*_entries(body, "inputs"), *_entries(body, "outputs")]:
        if not isinstance(entry.get("parameters", {}), dict):
            raise invalid('"parameters" of a tensor has to be an object.')


def _entries(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = body.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _wanted(given: object, graph: Graph) -> Sequence[Declared]:
    if given is None or given == []:
        return graph.outputs
    if not isinstance(given, list):
        raise invalid('"outputs" has to be a list.')
    known = {tensor.name: tensor for tensor in graph.outputs}
    names = [str(entry.get("name", "")) if isinstance(entry, dict) else "" for entry in given]
    for name in names:
        if name in graph.left_out:
            raise invalid(f'Output "{name}" is not a tensor, which this protocol can\'t carry.')
        if name not in known:
            raise invalid(f'The model has no output "{name}". It gives {", ".join(known)}.')
    return [known[name] for name in dict.fromkeys(names)]


def model_path(service: Service, path: str) -> str:
    """The endpoint that a /v2/models/... path names, such as `infer`; refuses other models and versions."""
    asked = path.removeprefix("/v2/models/")
    # names may hold slashes, as those of model hubs do
    if f"{asked}/".startswith(f"{service.name}/"):
        rest = asked.removeprefix(service.name).removeprefix("/")
    else:
        raise Refusal(404, "model_not_found", f'There is no model "{asked}" here. This one is "{service.name}".')
    if rest.startswith("versions/"):
        version, _, rest = rest.removeprefix("versions/").partition("/")
        if version != VERSION:
            raise Refusal(404, "version_not_found", f'"{service.name}" has no version "{version}", only "{VERSION}".')
    return rest
