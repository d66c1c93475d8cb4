"""Can vLLM serve this model here? Why not, and what would help."""

import platform
from collections.abc import Iterator
from pathlib import Path

from modelyard.runtimes import Estimate, Failure, Finding, Host, Level, Model
from runtimes.transformers_folder import architectures, config, context_length, has_chat_template, task, weights
from runtimes.vllm import adapter as own_adapter
from runtimes.vllm.estimate import context, estimate
from runtimes.vllm.installed import Installed, installed
from runtimes.vllm.options import VllmOptions

GB = 1e9


def check(model: Model, options: VllmOptions, host: Host) -> Iterator[Finding]:
    """In the order in which somebody would mend things."""
    if model.format != "safetensors":
        message = f"vLLM loads safetensors folders, and this model is {model.format or 'of an unknown format'}."
        yield Finding(Level.BLOCK, "wrong_format", message, "Import the model's safetensors version.")
        return
    try:
        engine = installed()
        config(model), weights(model)
        yield from _hardware(engine, options, host)
        yield from _model(model, options, engine)
        yield from _memory(estimate(model, options, host, cpu=engine.cpu), host)
    except Failure as failure:
        yield Finding(Level.BLOCK, failure.code, failure.message, failure.next_step)


def _hardware(engine: Installed, options: VllmOptions, host: Host) -> Iterator[Finding]:
    if engine.cpu:
        yield from _processor()
        return
    if not engine.version:
        message = "What this vLLM was built for can't be told: its command isn't a Python script."
        yield Finding(Level.WARN, "build_unknown", message, "Make sure that it suits this host.")
    elif not host.gpus and not engine.rocm:
        yield Finding(
            Level.BLOCK, "no_gpu", "This vLLM needs an NVIDIA GPU, and this host has none.",
            "Use a host with a GPU, or install vLLM's CPU build and set MODELYARD_VLLM_COMMAND to it.",
        )  # fmt: skip
    wanted = options.tensor_parallel_size * options.pipeline_parallel_size
    if host.gpus and wanted > len(host.gpus):
        message = f"Tensor × pipeline parallel needs {wanted} GPUs, and this host has {len(host.gpus)}."
        yield Finding(Level.BLOCK, "too_few_gpus", message, "Lower tensor or pipeline parallel.")


def _processor() -> Iterator[Finding]:
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return
    if platform.machine() == "x86_64" and "avx2" not in flags.split():
        message = "vLLM's CPU build needs a processor with AVX2, and this one has none."
        yield Finding(Level.BLOCK, "processor", message, "Use a newer host, or a runtime for older processors.")
    elif "avx512f" not in flags.split():
        message = "This processor has no AVX-512: vLLM's CPU build is much slower without it."
        yield Finding(Level.WARN, "processor_slow", message, "Use a host with AVX-512 or a GPU.")


def _model(model: Model, options: VllmOptions, engine: Installed) -> Iterator[Finding]:
    names = architectures(model)
    if engine.architectures and names and not engine.architectures & set(names):
        message = f"The architecture {', '.join(names)} isn't supported by vLLM {engine.version}."
        yield Finding(Level.BLOCK, "architecture_unsupported", message, "Install a newer vLLM, or use another runtime.")
    if config(model).get("auto_map") and not options.trust_remote_code:
        message = "The model brings Python code of its own, which isn't run unless you allow it."
        yield Finding(Level.WARN, "remote_code", message, "Read that code; then turn on Run code of the model.")
    if options.trust_remote_code:
        message = "Python files of the model will run in the engine."
        yield Finding(Level.WARN, "remote_code_runs", message, "Turn it off unless you trust who made the model.")
    longest = context_length(model)
    if longest and options.max_model_len > longest:
        message = f"The context of {options.max_model_len} tokens is longer than the model's {longest}."
        yield Finding(Level.BLOCK, "context_too_long", message, f"Set it to {longest} at most.")
    if engine.cpu and longest and not options.max_model_len and context(model, options, cpu=True) < longest:
        message = f"On a CPU the context is {context(model, options, cpu=True)} tokens of the model's {longest}."
        yield Finding(Level.INFO, "context_shortened", message, "Set Context to have more; the KV cache grows with it.")
    if task(model) == "generate" and not has_chat_template(model) and not options.chat_template:
        message = "The model has no chat template: it completes texts, and /v1/chat/completions refuses."
        yield Finding(Level.INFO, "no_chat_template", message, "Set Chat template if it was trained for chats.")
    if model.adapter:
        yield from own_adapter.check(model.adapter)
    for adapter in options.lora_adapters:
        yield from _adapter(model, adapter)


def _adapter(model: Model, adapter: str) -> Iterator[Finding]:
    if not (model.path.parent / adapter.partition("=")[2] / "adapter_config.json").is_file():
        message = f"{adapter.partition('=')[2]} isn't an imported adapter."
        yield Finding(Level.BLOCK, "no_adapter", message, "Import the adapter, and give its ID.")


def _memory(needed: Estimate, host: Host) -> Iterator[Finding]:
    gpu = needed.device == "gpu"
    free = sum(each.memory_free for each in host.gpus) if gpu else host.memory_available
    if needed.low > free:
        where = "on the GPUs" if gpu else "in memory"
        message = f"It needs at least {needed.low / GB:.1f} GB {where}, and {free / GB:.1f} GB are free."
        yield Finding(
            Level.BLOCK, "memory", message, "Free memory, lower the context, quantize, or use a smaller model."
        )
    elif needed.likely > free:
        message = f"It needs about {needed.likely / GB:.1f} GB, and {free / GB:.1f} GB are free."
        yield Finding(Level.WARN, "memory", message, "Lower the context or the sequences at a time.")
