"""Can the ONNX engine serve this model here, and what should a person know before it does."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from modelyard.runtimes import Failure, Finding, Host, Level, Model
from runtimes.onnx.engine.declared import Declared
from runtimes.onnx.engine.modelproto import GraphHeader
from runtimes.onnx.estimate import MIB, estimate
from runtimes.onnx.folder import Layout, header, labels, locate, purpose, text_output
from runtimes.onnx.interpreter import interpreter, require_parts
from runtimes.onnx.options import OnnxOptions


def check(model: Model, options: OnnxOptions, host: Host) -> Iterator[Finding]:
    """Every finding, the blocking ones first within each subject."""
    yield from _engine()
    if model.format != "onnx":
        step = "Choose another runtime, or export the model to ONNX and import that."
        yield Finding(
            Level.BLOCK, "wrong_format", f"{model.name} is in format {model.format or 'unknown'}, not ONNX.", step
        )
        return
    try:
        layout = locate(model)
        graph = header(layout)
    except Failure as failure:
        yield _blocked(failure)
        return
    yield from _files(layout, graph)
    yield from _tensors(graph)
    yield from _text(layout, graph, options)
    yield from _memory(layout, graph, options, host)


def _blocked(failure: Failure) -> Finding:
    return Finding(Level.BLOCK, failure.code, failure.message, failure.next_step)


def _engine() -> Iterator[Finding]:
    try:
        require_parts(interpreter())
    except Failure as failure:
        yield _blocked(failure)


def _files(layout: Layout, graph: GraphHeader) -> Iterator[Finding]:
    if layout.others:
        names = ", ".join(path.name for path in layout.others)
        step = "Import the other graph alone, or name it model.onnx, to serve it instead."
        yield Finding(Level.WARN, "several_graphs", f"Serving {layout.graph.name}; left aside: {names}.", step)
    for location in sorted(graph.external_files):
        yield from _external(layout.graph.parent, location)


def _external(folder: Path, location: str) -> Iterator[Finding]:
    step = "Import the model again with that file beside the .onnx file."
    inside = location and not PurePosixPath(location).is_absolute() and ".." not in PurePosixPath(location).parts
    if not inside or not (folder / location).resolve().is_relative_to(folder.resolve()):
        message = f"The graph asks for weights outside the model's folder: {location!r}."
        yield Finding(
            Level.BLOCK, "external_data_outside", message, "Export the model with its weights beside the graph."
        )
    elif not (folder / location).is_file():
        yield Finding(Level.BLOCK, "external_data_missing", f"The weights file {location} is missing.", step)


def _tensors(graph: GraphHeader) -> Iterator[Finding]:
    odd = _untyped(graph.inputs)
    if odd:
        message = f"The type of input {odd} can't be sent over the Open Inference Protocol."
        yield Finding(Level.BLOCK, "graph_unsupported", message, "Export the model with plain tensors as inputs.")
    left_out = _untyped(graph.outputs)
    if left_out:
        message = f"Output {left_out} is not a plain tensor and won't be served."
        yield Finding(Level.WARN, "outputs_left_out", message, "Export without it (skl2onnx: option zipmap=False).")


def _untyped(tensors: list[Declared]) -> str:
    return ", ".join(tensor.name for tensor in tensors if not tensor.datatype)


def _text(layout: Layout, graph: GraphHeader, options: OnnxOptions) -> Iterator[Finding]:
    if layout.tokenizer is not None and not _is_tokenizer(layout.tokenizer):
        step = "Import the model again with the tokenizer.json that its author published."
        yield Finding(Level.BLOCK, "tokenizer_invalid", "tokenizer.json is not a tokenizer.", step)
    elif text_output(layout, graph, options) is not None:
        yield Finding(Level.INFO, "embeds_text", "Serves /v1/embeddings and the Open Inference Protocol.")
    elif found := labels(layout, graph):
        what = "/v1/rerank" if len(found) == 1 else f"/v1/classify with {len(found)} labels"
        yield Finding(Level.INFO, "scores_text", f"Serves {what} and the Open Inference Protocol.")
    elif layout.tokenizer is not None and options.pooling == "none":
        message = "Pooling none needs a graph output of two axes, and there is none."
        yield Finding(Level.BLOCK, "pooling_unsupported", message, "Set pooling to auto.")
    elif layout.tokenizer is None and "input_ids" in {tensor.name for tensor in graph.inputs}:
        message = "There is no tokenizer.json, so only token ids over the Open Inference Protocol are served."
        yield Finding(
            Level.WARN, "no_tokenizer", message, "Import the model with its tokenizer.json for /v1/embeddings."
        )


def _is_tokenizer(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get("model"), dict)


def _memory(layout: Layout, graph: GraphHeader, options: OnnxOptions, host: Host) -> Iterator[Finding]:
    text = bool(purpose(layout, graph, options))
    need = estimate(layout, graph, options, host, text=text)
    step = "Free memory, lower workers or the largest batch, or use a smaller or quantised model."
    if need.low > host.memory_available:
        yield Finding(Level.BLOCK, "out_of_memory", _against(need.low, host, "at least"), step)
    elif need.likely > host.memory_available:
        yield Finding(Level.WARN, "memory_tight", _against(need.likely, host, "probably"), step)


def _against(size: int, host: Host, how: str) -> str:
    return f"Needs {how} {size / MIB:.0f} MiB of memory; {host.memory_available / MIB:.0f} MiB are free."
