"""How much memory a GGUF model takes: from its own header."""

from collections.abc import Mapping

from modelyard.runtimes import Estimate, EstimatePart, Host, Model
from modelyard_llamacpp import gguf
from modelyard_llamacpp.options import LlamaCppOptions, context_of

BYTES: Mapping[str, float] = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Of one number of the KV cache: blocks of 32 numbers with a scale of two bytes."""
PROCESS = 60_000_000
"""Measured: interpreter, libraries and the server's own structures, with xllamacpp 2026.10 on x86-64."""
BUFFERS = 12
"""Measured: intermediate results of a batch, in vectors of the model's width per token."""


def estimate(model: Model, options: LlamaCppOptions, _host: Host) -> Estimate:
    """Weights, KV cache, compute buffers and the process."""
    path = gguf.graph(model)
    header = gguf.read(path)
    files = sorted(path.parent.glob(path.name.replace("-00001-of-", "-*-of-"))) or [path]
    weights = sum(file.stat().st_size for file in files)
    context = context_of(options, header.context_length)
    number = BYTES[options.kv_cache_type]
    cache = int(header.kv_width * number * context * options.slots)
    compute = options.batch_tokens * header.embedding * 4 * BUFFERS
    parts = [
        EstimatePart("weights", weights, " + ".join(file.name for file in files[:3])),
        EstimatePart(
            "KV cache", cache,
            f"{header.kv_formula} numbers × {number:.2f} bytes × {context} tokens × {options.slots} slots",
        ),
        EstimatePart(
            "compute buffers", compute, f"{options.batch_tokens} tokens × {header.embedding} × 4 bytes × {BUFFERS}"
        ),
        EstimatePart("process", PROCESS, "measured: interpreter and server"),
    ]  # fmt: skip
    likely = sum(part.bytes for part in parts)
    logits = options.batch_tokens * header.vocabulary * 4
    repacked = weights // 2  # some types of weights are laid out anew for the processor, beside the mapped file
    high = likely + compute + logits + repacked + (options.prompt_cache_mib << 20)
    return Estimate(likely - cache // 2 - compute // 2, likely, high, parts)
