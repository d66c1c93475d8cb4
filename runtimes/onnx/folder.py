"""What a model's folder holds for this runtime, found without loading anything."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.runtimes import Failure, Model
from runtimes.onnx.engine.declared import Declared, embedding_output, label_names, score_output
from runtimes.onnx.engine.modelproto import GraphHeader, MalformedGraph, read_graph
from runtimes.onnx.options import OnnxOptions

MAX_CONFIG_BYTES = 16 << 20


@dataclass(frozen=True)
class Layout:
    """The graph to serve, the others beside it, and the tokenizer where there is one."""

    graph: Path
    others: Sequence[Path]
    tokenizer: Path | None
    config: dict[str, Any]


def locate(model: Model) -> Layout:
    """The files to serve; raises Failure where there is no graph."""
    graphs = [path for place in (model.path, model.path / "onnx") for path in sorted(place.glob("*.onnx"))]
    if not graphs:
        raise Failure(
            "graph_missing",
            f"{model.name} has no .onnx file in its folder or in onnx/.",
            "Import the model again with its ONNX graph at the top or in a folder named onnx.",
            permanent=True,
        )
    graph = next((path for path in graphs if path.name == "model.onnx"), graphs[0])
    places = (model.path, graph.parent)
    tokenizer = next((place / "tokenizer.json" for place in places if (place / "tokenizer.json").is_file()), None)
    return Layout(graph, [path for path in graphs if path != graph], tokenizer, _config(places))


def _config(places: Sequence[Path]) -> dict[str, Any]:
    path = next((place / "config.json" for place in places if (place / "config.json").is_file()), None)
    if path is None or path.stat().st_size > MAX_CONFIG_BYTES:
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def header(layout: Layout) -> GraphHeader:
    """What the graph declares; raises Failure where it isn't one."""
    try:
        return read_graph(layout.graph)
    except MalformedGraph as error:
        raise Failure(
            "graph_invalid",
            f"{layout.graph.name} is not an ONNX model: {error}.",
            "Export the model to ONNX again and import that file.",
            permanent=True,
        ) from error
    except OSError as error:
        raise Failure(
            "graph_unreadable",
            f"{layout.graph.name} can't be read: {error.strerror or error}.",
            "Check that the platform's user may read the model's folder.",
        ) from error


def text_output(layout: Layout, graph: GraphHeader, options: OnnxOptions) -> Declared | None:
    """The output that embeddings are made from, None where this model doesn't embed text."""
    if layout.tokenizer is None:
        return None
    return embedding_output(graph.inputs, graph.outputs, config_number(layout, "hidden_size"), options.pooling)


def labels(layout: Layout, graph: GraphHeader) -> list[str]:
    """What a text model's scores stand for; one: it ranks documents, none: it doesn't score texts."""
    output = score_output(graph.inputs, graph.outputs)
    if layout.tokenizer is None or output is None:
        return []
    return label_names(layout.config, output.shape[-1] if output.shape else -1)


def purpose(layout: Layout, graph: GraphHeader, options: OnnxOptions) -> str:
    """What the model does with texts: `embed`, `rank` or `classify`; "" for one that only takes tensors."""
    if text_output(layout, graph, options) is not None:
        return "embed"
    found = labels(layout, graph)
    return "" if not found else "rank" if len(found) == 1 else "classify"


def config_number(layout: Layout, key: str) -> int:
    """A whole number of config.json, 0 where it isn't stated."""
    value = layout.config.get(key)
    return value if isinstance(value, int) and value > 0 else 0
