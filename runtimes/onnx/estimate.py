"""How much memory an ONNX engine will need, from the graph's own declarations.

The factors were measured with onnxruntime 1.32 on x86-64: resident memory after load against weights as stored.
"""

import math
from collections.abc import Sequence

from modelyard.runtimes import Estimate, EstimatePart, Host
from runtimes.onnx.engine.modelproto import GraphHeader
from runtimes.onnx.folder import Layout, config_number
from runtimes.onnx.options import OnnxOptions

MIB = 1 << 20
PROCESS_BYTES = 76 * MIB
TOKENIZER_FACTOR = 20
FLOAT_FACTOR = 1.2
"""Weights plus what onnxruntime packs at load."""

HALF_FACTOR = 4.1
"""On a CPU half-precision weights are kept beside a float32 copy."""

DEQUANTIZED_FACTOR = 7.3
"""Integer weights that the graph casts to float32 are unfolded at load and packed again."""

INTEGER_FACTOR = 1.5
INTEGER_OPERATORS = frozenset(
    {"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "QuantizeLinear", "com.microsoft:MatMulNBits"}
)
HALF_TYPES = frozenset({10, 16})
BYTE_TYPES = frozenset({2, 3})
DEFAULT_HIDDEN, DEFAULT_HEADS, DEFAULT_TOKENS = 768, 12, 512
TRIAL_BATCH = 8


def estimate(layout: Layout, graph: GraphHeader, options: OnnxOptions, host: Host, *, text: bool) -> Estimate:
    """Process, weights, tokenizer and the activations of what runs at a time."""
    parts = [
        EstimatePart("process", PROCESS_BYTES, "Python, onnxruntime and the HTTP server: 76 MiB measured"),
        *_weights(graph),
        *_tokenizer(layout, text=text),
        _activations(layout, graph, options, host, text=text),
    ]
    likely = sum(part.bytes for part in parts)
    stored = graph.weight_bytes
    low = PROCESS_BYTES + stored
    # while it loads, the file's content and the unpacked weights are there at once
    high = likely + stored + 2 * parts[-1].bytes
    return Estimate(min(low, likely), likely, high, parts)


def _weights(graph: GraphHeader) -> Sequence[EstimatePart]:
    groups = (
        ("half-precision weights", HALF_TYPES, HALF_FACTOR),
        ("8-bit weights", BYTE_TYPES, INTEGER_FACTOR if graph.operators & INTEGER_OPERATORS else DEQUANTIZED_FACTOR),
    )
    special = HALF_TYPES | BYTE_TYPES
    rest = sum(weights.bytes for weights in graph.weights if weights.elem_type not in special)
    parts = [_scaled("weights", rest, FLOAT_FACTOR)]
    for name, types, factor in groups:
        size = sum(weights.bytes for weights in graph.weights if weights.elem_type in types)
        parts.append(_scaled(name, size, factor))
    return [part for part in parts if part.bytes]


def _scaled(name: str, size: int, factor: float) -> EstimatePart:
    return EstimatePart(name, int(size * factor), f"{size / MIB:.1f} MiB stored x {factor}")


def _tokenizer(layout: Layout, *, text: bool) -> Sequence[EstimatePart]:
    if not text or layout.tokenizer is None:
        return []
    size = layout.tokenizer.stat().st_size
    return [_scaled("tokenizer", size, TOKENIZER_FACTOR)]


def _activations(layout: Layout, graph: GraphHeader, options: OnnxOptions, host: Host, *, text: bool) -> EstimatePart:
    workers = options.workers or (host.cpus if not options.intra_op_threads else 1)
    each, how = _text_run(layout, options) if text else _tensor_run(graph, options)
    return EstimatePart("activations", max(1, workers) * each, f"{max(1, workers)} at a time x ({how})")


def _text_run(layout: Layout, options: OnnxOptions) -> tuple[int, str]:
    tokens = options.max_length or config_number(layout, "max_position_embeddings") or DEFAULT_TOKENS
    hidden = config_number(layout, "hidden_size") or DEFAULT_HIDDEN
    heads = config_number(layout, "num_attention_heads") or DEFAULT_HEADS
    size = 4 * (12 * tokens * hidden + 2 * heads * tokens * tokens)
    return size, f"4 B x (12 x {tokens} tokens x {hidden} wide + 2 x {heads} heads x {tokens}²)"


def _tensor_run(graph: GraphHeader, options: OnnxOptions) -> tuple[int, str]:
    rows = options.max_batch_size or TRIAL_BATCH
    shapes = [tensor.shape or () for tensor in (*graph.inputs, *graph.outputs)]
    values = sum(math.prod(abs(size) for size in shape) for shape in shapes)
    size = max(8 * MIB, 16 * 4 * rows * values)
    return size, f"16 x 4 B x {rows} rows x {values} values in and out, at least 8 MiB"
