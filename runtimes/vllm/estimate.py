"""How much memory vLLM takes for a model: on the GPUs where there are any, else in the host's memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.runtimes import Estimate, EstimatePart, Host, Model
from runtimes.transformers_folder import Weights, config, context_length, task, text_config, weights
from runtimes.vllm.options import VllmOptions

CPU_CONTEXT, CPU_SEQUENCES = 4096, 4
PROCESSES = 1_900_000_000
"""Measured with vLLM 0.32 on x86-64: server 0.7 GB, engine core 0.55 GB and worker 0.65 GB, without a model."""
GPU_PROCESS = 1_200_000_000
"""A CUDA context, kernels and captured graphs on each GPU: NVIDIA's own context alone takes about half of it."""
LOADING = 2
"""Measured on a CPU: weights are laid out anew for the processor, beside those that were read."""
NUMBER = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "auto": 2.0}
QUANTIZED = {"fp8": 1.0, "fp8_per_block": 1.05, "fp8_per_channel": 1.0, "mxfp8": 1.04,
             "int8_per_channel_weight_only": 1.0}  # fmt: skip


@dataclass(frozen=True)
class Cache:
    """The KV cache: its bytes, and how they came about."""

    bytes: int
    formula: str


def context(model: Model, options: VllmOptions, *, cpu: bool) -> int:
    """Tokens of one request."""
    of_model = context_length(model) or CPU_CONTEXT
    return options.max_model_len or (min(of_model, CPU_CONTEXT) if cpu else of_model)


def sequences(options: VllmOptions) -> int:
    """Requests at a time on a CPU."""
    return options.max_num_seqs or CPU_SEQUENCES


def token_bytes(model: Model, options: VllmOptions) -> tuple[int, str]:
    """Of one token in the KV cache, and the formula."""
    about = text_config(config(model))
    layers, heads = _number(about, "num_hidden_layers"), _number(about, "num_attention_heads", 1)
    kv_heads = _number(about, "num_key_value_heads", heads)
    size = _number(about, "head_dim") or _number(about, "hidden_size") // max(heads, 1)
    number = int(NUMBER[options.dtype])
    return 2 * layers * kv_heads * size * number, f"2 × {layers} layers × {kv_heads} KV heads × {size} × {number} bytes"


def cpu_cache(model: Model, options: VllmOptions) -> Cache:
    """On a CPU vLLM has to be told: what the longest context takes for every sequence at a time."""
    if options.kv_cache_memory_bytes:
        return Cache(options.kv_cache_memory_bytes, "as set")
    if task(model) in {"embed", "rank", "classify"}:
        return Cache(64 << 20, "the least: such a model keeps no context between steps")
    each, formula = token_bytes(model, options)
    tokens, at_once = context(model, options, cpu=True), sequences(options)
    return Cache(max(each * tokens * at_once, 64 << 20), f"{formula} × {tokens} tokens × {at_once} sequences")


def loaded(model: Model, options: VllmOptions) -> tuple[int, str]:
    """Bytes of the weights as vLLM keeps them."""
    found: Weights = weights(model)
    number = QUANTIZED.get(options.quantization) or NUMBER[options.dtype]
    if found.packed > found.stored // 2:
        return found.stored, "as they are stored: they are quantized already"
    formula = f"{found.wide / 1e6:.1f} M numbers × {number:g} bytes"
    return int(found.wide * number) + found.packed, formula


def estimate(model: Model, options: VllmOptions, host: Host, *, cpu: bool) -> Estimate:
    """The parts that the memory is made of."""
    return _on_cpu(model, options) if cpu or not host.gpus else _on_gpu(model, options, host)


def _on_cpu(model: Model, options: VllmOptions) -> Estimate:
    kept, formula = loaded(model, options)
    cache = cpu_cache(model, options)
    parts = [
        EstimatePart("weights", kept, formula),
        EstimatePart("laid out for the processor", kept * (LOADING - 1), f"weights × {LOADING - 1} beside them"),
        EstimatePart("KV cache", cache.bytes, cache.formula),
        EstimatePart("processes", PROCESSES, "measured: server, engine core, worker"),
    ]
    likely = sum(part.bytes for part in parts)
    low = kept + PROCESSES * 8 // 10
    return Estimate(low, likely, int(likely * 1.25) + 500_000_000, parts)


def _on_gpu(model: Model, options: VllmOptions, host: Host) -> Estimate:
    kept, formula = loaded(model, options)
    each, each_formula = token_bytes(model, options)
    tokens = context(model, options, cpu=False)
    count = options.tensor_parallel_size * options.pipeline_parallel_size
    share = int(sum(gpu.memory_total for gpu in host.gpus[:count]) * options.gpu_memory_utilization)
    cache = options.kv_cache_memory_bytes * count or max(share - kept - GPU_PROCESS * count, 0)
    parts = [
        EstimatePart("weights", kept, formula),
        EstimatePart(
            "KV cache", cache,
            "as set" if options.kv_cache_memory_bytes
            else f"the rest of {options.gpu_memory_utilization:.0%} of {count} GPU: vLLM takes it all",
        ),
        EstimatePart("CUDA", GPU_PROCESS * count, f"context, kernels and graphs on {count} GPU"),
    ]  # fmt: skip
    likely = sum(part.bytes for part in parts)
    least = kept + each * tokens + GPU_PROCESS * count // 2
    parts[1] = EstimatePart(
        parts[1].name, parts[1].bytes, f"{parts[1].formula}; one request takes {each_formula} × {tokens} tokens"
    )
    return Estimate(min(least, likely), likely, max(likely, least), parts, device="gpu")


def _number(about: Mapping[str, Any], name: str, default: int = 0) -> int:
    found = about.get(name)
    return found if isinstance(found, int) and found > 0 else default
