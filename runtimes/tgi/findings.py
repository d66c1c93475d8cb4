"""Can TGI serve this model here? Why not, and what would help."""

from collections.abc import Iterator

from modelyard.runtimes import Estimate, Failure, Finding, Host, Level, Model
from runtimes.tgi.estimate import estimate
from runtimes.tgi.installed import DEVICE, device, installed
from runtimes.tgi.options import TgiOptions
from runtimes.transformers_folder import config, context_length, has_chat_template, weights

GB = 1e9
MAINTENANCE = Finding(
    Level.WARN, "maintenance_mode",
    "TGI's makers have only kept it in repair since December 2025, and suggest vLLM.",
    "Choose vLLM for new deployments.",
)  # fmt: skip


def check(model: Model, options: TgiOptions, host: Host) -> Iterator[Finding]:
    """In the order in which somebody would mend things."""
    if model.format != "safetensors":
        message = f"TGI loads safetensors folders, and this model is {model.format or 'of an unknown format'}."
        yield Finding(Level.BLOCK, "wrong_format", message, "Import the model's safetensors version.")
        return
    yield MAINTENANCE
    try:
        installed()
        config(model), weights(model)
        yield from _hardware(options, host)
        yield from _model(model, options)
        yield from _memory(estimate(model, options, host, cpu=device() == "cpu"), host)
    except Failure as failure:
        yield Finding(Level.BLOCK, failure.code, failure.message, failure.next_step)


def _hardware(options: TgiOptions, host: Host) -> Iterator[Finding]:
    if device() == "cpu":
        message = "TGI runs on the CPU, which is slow."
        yield Finding(Level.WARN, "cpu", message, "Use a host with a GPU, or vLLM's CPU build.")
        if options.num_shard > 1 or options.quantize:
            yield Finding(
                Level.BLOCK, "needs_gpu", "Shards and quantization need GPUs.", "Set Shards to 1, and no Quantization."
            )
    elif device() == "cuda" and not host.gpus:
        yield Finding(
            Level.BLOCK, "no_gpu", "TGI needs an NVIDIA GPU, and this host has none.",
            f"Use a host with a GPU; set {DEVICE} to cpu, rocm or xpu if this TGI was built for it.",
        )  # fmt: skip
    elif host.gpus and options.num_shard > len(host.gpus):
        message = f"{options.num_shard} shards need as many GPUs, and this host has {len(host.gpus)}."
        yield Finding(Level.BLOCK, "too_few_gpus", message, "Lower Shards.")


def _model(model: Model, options: TgiOptions) -> Iterator[Finding]:
    if not any((model.path / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        message = "The model has no tokenizer."
        yield Finding(Level.BLOCK, "no_tokenizer", message, "Import the whole repository of the model.")
    if config(model).get("auto_map") and not options.trust_remote_code:
        message = "The model brings Python code of its own, which isn't run unless you allow it."
        yield Finding(Level.WARN, "remote_code", message, "Read that code; then turn on Run code of the model.")
    if options.trust_remote_code:
        message = "Python files of the model will run in the engine."
        yield Finding(Level.WARN, "remote_code_runs", message, "Turn it off unless you trust who made the model.")
    longest = context_length(model)
    if longest and options.max_total_tokens > longest and not options.rope_scaling:
        message = f"The context of {options.max_total_tokens} tokens is longer than the model's {longest}."
        yield Finding(Level.BLOCK, "context_too_long", message, f"Set it to {longest} at most, or RoPE scaling.")
    if not has_chat_template(model):
        message = "The model has no chat template: it completes texts, and /v1/chat/completions refuses."
        yield Finding(Level.INFO, "no_chat_template", message)
    for adapter in options.lora_adapters:
        yield from _adapter(model, adapter.partition("=")[2])


def _adapter(model: Model, adapter: str) -> Iterator[Finding]:
    if not (model.path.parent / adapter / "adapter_config.json").is_file():
        message = f"{adapter} isn't an imported adapter."
        yield Finding(Level.BLOCK, "no_adapter", message, "Import the adapter, and give its ID.")


def _memory(needed: Estimate, host: Host) -> Iterator[Finding]:
    gpu = needed.device == "gpu"
    if gpu and not host.gpus:
        return  # of another maker: what they have free isn't known
    free = sum(each.memory_free for each in host.gpus) if gpu else host.memory_available
    where = "on the GPUs" if gpu else "in memory"
    if needed.low > free:
        message = f"It needs at least {needed.low / GB:.1f} GB {where}, and {free / GB:.1f} GB are free."
        fix = "Free memory, lower the context, quantize, or use a smaller model."
        yield Finding(Level.BLOCK, "memory", message, fix)
    elif needed.likely > free:
        message = f"It needs about {needed.likely / GB:.1f} GB {where}, and {free / GB:.1f} GB are free."
        yield Finding(Level.WARN, "memory", message, "Lower Context, Batch or the share of GPU memory.")
