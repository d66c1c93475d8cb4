"""The arguments of TGI that don't depend on where it runs."""

from collections.abc import Iterator
from pathlib import Path

from runtimes.tgi.options import TgiOptions

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Nothing is fetched while a model is served."""
GIVEN = ("max_input_tokens", "max_total_tokens", "max_batch_prefill_tokens", "max_batch_total_tokens", "dtype",
         "quantize", "kv_cache_dtype", "cuda_graphs", "speculate", "rope_scaling", "rope_factor")  # fmt: skip
"""Options that are arguments of the same name where they are set; unset they are TGI's own choice."""


def arguments(options: TgiOptions) -> Iterator[str]:
    """What the options say."""
    yield from ("--usage-stats", "off", "--num-shard", str(options.num_shard))
    yield from ("--sharded", "true" if options.num_shard > 1 else "false")
    yield from ("--max-concurrent-requests", str(options.max_concurrent_requests))
    yield from ("--cuda-memory-fraction", f"{options.cuda_memory_fraction:g}")
    yield from ("--graceful-termination-timeout", str(options.graceful_seconds))
    for name in GIVEN:
        if value := getattr(options, name):
            yield from (f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value))
    if options.trust_remote_code:
        yield "--trust-remote-code"
    if options.disable_grammar_support:
        yield "--disable-grammar-support"
    yield from options.extra_args


def adapters(options: TgiOptions, folder: Path) -> str:
    """Names and folders of the adapters, whose models lie in that folder."""
    pairs = (adapter.partition("=") for adapter in options.lora_adapters)
    return ",".join(f"{name}={folder / model_id}" for name, _, model_id in pairs)
