"""The optimizations that make a new graph: which fit a model, and how they are run."""

from collections.abc import Sequence

from modelyard.runtimes import Command, Failure, OptimizeContext, Recipe
from runtimes.onnx.engine.modelproto import GraphHeader
from runtimes.onnx.estimate import HALF_TYPES, INTEGER_OPERATORS
from runtimes.onnx.folder import header, locate
from runtimes.onnx.interpreter import ENGINE, interpreter

GRAPH = Recipe(
    "graph",
    "Graph optimization",
    "Folds constants and fuses operators once, instead of at every start. The numbers stay as they are.",
)
DYNAMIC_INT8 = Recipe(
    "dynamic-int8",
    "8-bit integers (dynamic)",
    "Weights in 8 bits with a scale per channel: about a quarter of the size and faster on most processors.",
)
FP16 = Recipe(
    "fp16",
    "16-bit floating point",
    "Half of the size on disk. A CPU computes in 32 bits all the same: no faster there, and no less memory.",
)
QUANTIZABLE = frozenset({"MatMul", "Gemm", "Conv", "Gather", "Attention", "LSTM", "com.microsoft:Attention"})
FLOAT = 1
SMALLEST = 1_000_000
"""Bytes of float weights below which another type of numbers isn't worth it."""
STOP_SECONDS = 5.0


def offered(graph: GraphHeader) -> Sequence[Recipe]:
    """What makes sense for this graph."""
    floats = sum(weights.bytes for weights in graph.weights if weights.elem_type == FLOAT)
    plain = floats > graph.weight_bytes // 2 and not graph.operators & INTEGER_OPERATORS
    if not plain or floats < SMALLEST or any(weights.elem_type in HALF_TYPES for weights in graph.weights):
        return [GRAPH]
    return [GRAPH, DYNAMIC_INT8, FP16] if graph.operators & QUANTIZABLE else [GRAPH, FP16]


def command(context: OptimizeContext) -> Command:
    """The recipe's process: the engine's folder, in the engine's interpreter."""
    layout = locate(context.model)
    names = {recipe.name for recipe in offered(header(layout))}
    if context.recipe.name not in names:
        raise Failure(
            "no_such_recipe",
            f"ONNX Runtime has no recipe {context.recipe.name!r} for this graph.",
            f"Choose {', '.join(sorted(names))}, or none.",
            permanent=True,
        )
    places = ["--folder", str(context.model.path), "--graph", str(layout.graph), "--output", str(context.output)]
    work = str(context.workdir)
    env = {"HOME": work, "TMPDIR": work, "XDG_CACHE_HOME": work, "PYTHONUNBUFFERED": "1"}
    return Command([interpreter(), str(ENGINE), "optimize", context.recipe.name, *places], env, STOP_SECONDS)
