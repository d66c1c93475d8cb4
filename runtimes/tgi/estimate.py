"""How much memory TGI takes for a model: on the GPUs, or in the host's memory where it is told to do without."""

from collections.abc import Mapping
from typing import Any

from modelyard.runtimes import Estimate, EstimatePart, Host, Model
from runtimes.tgi.options import TgiOptions
from runtimes.transformers_folder import config, context_length, text_config, weights

CONTEXT = 4096
"""TGI's own choice where neither the options nor the model say more."""
GPU_PROCESS = 1_200_000_000
"""A CUDA context, kernels and captured graphs on each GPU: NVIDIA's own context alone takes about half of it."""
SHARD_PROCESS = 1_500_000_000
"""Launcher, router and one Python shard with PyTorch in the host's memory: assumed, not measured."""
BYTES = {"": 0.0, "eetq": 1.0, "fp8": 1.0, "bitsandbytes": 1.0, "bitsandbytes-nf4": 0.55, "bitsandbytes-fp4": 0.55}
"""Of a number, by the quantizations that TGI applies while it loads."""


def estimate(model: Model, options: TgiOptions, host: Host, *, cpu: bool) -> Estimate:
    """The parts that the memory is made of."""
    return _on_cpu(model, options) if cpu else _on_gpu(model, options, host)


def context(model: Model, options: TgiOptions) -> int:
    """Tokens of one request."""
    return options.max_total_tokens or context_length(model) or CONTEXT


def loaded(model: Model, options: TgiOptions, *, cpu: bool = False) -> EstimatePart:
    """The weights as TGI keeps them: a CPU computes in 32 bits unless a data type is set."""
    found = weights(model)
    if found.packed > found.stored // 2:
        return EstimatePart("weights", found.stored, "as they are stored: they are quantized already")
    each = BYTES.get(options.quantize, 0.0) or (4.0 if cpu and not options.dtype else 2.0)
    formula = f"{found.wide / 1e6:.1f} M numbers × {each:g} bytes"
    return EstimatePart("weights", int(found.wide * each) + found.packed, formula)


def token_bytes(model: Model, options: TgiOptions, *, cpu: bool = False) -> tuple[int, str]:
    """Of one token in the KV cache, and the formula."""
    about = text_config(config(model))
    layers, heads = _number(about, "num_hidden_layers"), _number(about, "num_attention_heads", 1)
    kv_heads = _number(about, "num_key_value_heads", heads)
    size = _number(about, "head_dim") or _number(about, "hidden_size") // max(heads, 1)
    each = 1 if options.kv_cache_dtype else 4 if cpu and not options.dtype else 2
    return 2 * layers * kv_heads * size * each, f"2 × {layers} layers × {kv_heads} KV heads × {size} × {each} bytes"


def _cache(model: Model, options: TgiOptions, tokens: int, *, cpu: bool) -> EstimatePart:
    each, formula = token_bytes(model, options, cpu=cpu)
    return EstimatePart("KV cache", each * tokens, f"{formula} × {tokens} tokens")


def _on_cpu(model: Model, options: TgiOptions) -> Estimate:
    kept = loaded(model, options, cpu=True)
    cache = _cache(model, options, options.max_batch_total_tokens or context(model, options), cpu=True)
    processes = EstimatePart("processes", SHARD_PROCESS * options.num_shard, "launcher, router and shards: assumed")
    likely = kept.bytes + cache.bytes + processes.bytes
    low = kept.bytes + processes.bytes // 2
    return Estimate(low, likely, likely + kept.bytes + likely // 4, [kept, cache, processes])


def _on_gpu(model: Model, options: TgiOptions, host: Host) -> Estimate:
    kept, count = loaded(model, options), options.num_shard
    cuda = EstimatePart("CUDA", GPU_PROCESS * count, f"context, kernels and graphs on {count} GPU")
    one = _cache(model, options, context(model, options), cpu=False)
    cache = _gpu_cache(model, options, host, kept.bytes + cuda.bytes, one)
    likely = kept.bytes + cache.bytes + cuda.bytes
    least = min(kept.bytes + one.bytes + cuda.bytes // 2, likely)
    return Estimate(least, likely, likely, [kept, cache, cuda], device="gpu")


def _gpu_cache(model: Model, options: TgiOptions, host: Host, rest: int, one: EstimatePart) -> EstimatePart:
    """What is set, or all that is left of TGI's share, but one request's at least."""
    if options.max_batch_total_tokens:
        return _cache(model, options, options.max_batch_total_tokens, cpu=False)
    gpus = list(host.gpus)[: options.num_shard]
    share = int(sum(gpu.memory_total for gpu in gpus) * options.cuda_memory_fraction)
    if share - rest <= one.bytes:
        return one
    formula = f"the rest of {options.cuda_memory_fraction:.0%} of {len(gpus)} GPU; one request takes {one.formula}"
    return EstimatePart("KV cache", share - rest, formula)


def _number(about: Mapping[str, Any], name: str, default: int = 0) -> int:
    found = about.get(name)
    return found if isinstance(found, int) and found > 0 else default
