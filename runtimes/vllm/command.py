"""How `vllm serve` is started."""

import json
from collections.abc import Iterator
from pathlib import Path

from modelyard.runtimes import Command, LaunchContext
from runtimes.transformers_folder import context_length, task
from runtimes.vllm.adapter import base_name, least_rank
from runtimes.vllm.estimate import CPU_CONTEXT, context, cpu_cache, sequences
from runtimes.vllm.installed import installed
from runtimes.vllm.options import VllmOptions

GUARD = Path(__file__).resolve().parent / "engine"
STOP_SECONDS = 20.0
"""Idle it ends in a second; told while it starts, it may not hear it, and is killed after this."""
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "auto",
    "VLLM_RPC_BASE_PATH": ".",  # sockets in the launch's own folder, with names short enough for the system
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_LOOPBACK_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "TOKENIZERS_PARALLELISM": "false",
}


def command(launch: LaunchContext[VllmOptions]) -> Command:
    """Arguments and environment; the secret is in the environment only."""
    engine = installed()
    cpu = engine.cpu
    argv = [*engine.command, "serve", str(launch.model.path), "--served-model-name", base_name(launch)]
    argv += ["--host", launch.host, "--port", str(launch.port), "--middleware", "modelyard_vllm_guard.Guard"]
    argv += [*_sizes(launch, cpu=cpu), *_model(launch), *_features(launch), *launch.options.extra_args]
    caches = {
        name: str(launch.workdir / "cache" / folder)
        for name, folder in (
            ("VLLM_CACHE_ROOT", "vllm"),
            ("XDG_CACHE_HOME", "xdg"),
            ("HF_HOME", "hf"),
            ("TRITON_CACHE_DIR", "triton"),
            ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
        )
    }
    env = ENVIRONMENT | caches | {"VLLM_API_KEY": launch.secret, "PYTHONPATH": str(GUARD)}
    return Command(argv, env, STOP_SECONDS)


def _sizes(launch: LaunchContext[VllmOptions], *, cpu: bool) -> Iterator[str]:
    options = launch.options
    if options.max_model_len or (cpu and (context_length(launch.model) or 0) > CPU_CONTEXT):
        yield f"--max-model-len={context(launch.model, options, cpu=cpu)}"
    if options.max_num_seqs or cpu:
        yield f"--max-num-seqs={sequences(options)}"
    if cpu:
        yield f"--kv-cache-memory-bytes={cpu_cache(launch.model, options).bytes}"
    elif options.kv_cache_memory_bytes:
        yield f"--kv-cache-memory-bytes={options.kv_cache_memory_bytes}"
    if not cpu:
        yield f"--gpu-memory-utilization={options.gpu_memory_utilization}"
    if options.enforce_eager == "on" or (options.enforce_eager == "auto" and cpu):
        yield "--enforce-eager"
    yield f"--tensor-parallel-size={options.tensor_parallel_size}"
    yield f"--pipeline-parallel-size={options.pipeline_parallel_size}"


def _model(launch: LaunchContext[VllmOptions]) -> Iterator[str]:
    options = launch.options
    runner = "generate" if task(launch.model) == "generate" else "pooling"
    yield f"--runner={runner if options.runner == 'auto' else options.runner}"
    yield f"--dtype={options.dtype}"
    yield f"--seed={options.seed}"
    if options.quantization:
        yield f"--quantization={options.quantization}"
    if options.trust_remote_code:
        yield "--trust-remote-code"
    yield "--enable-prefix-caching" if options.enable_prefix_caching else "--no-enable-prefix-caching"


def generation(options: VllmOptions) -> dict[str, float]:
    """What holds where a request doesn't say, in the names of a generation_config.json."""
    given = options.model_dump(include={"temperature", "top_p", "top_k", "repetition_penalty"}, exclude_none=True)
    return given | ({"max_new_tokens": options.max_tokens} if options.max_tokens else {})


def _features(launch: LaunchContext[VllmOptions]) -> Iterator[str]:
    options = launch.options
    if task(launch.model) == "generate":
        yield f"--generation-config={options.generation_config}"
        if defaults := generation(options):
            yield f"--override-generation-config={json.dumps(defaults)}"
    if options.tool_call_parser:
        yield from ("--enable-auto-tool-choice", f"--tool-call-parser={options.tool_call_parser}")
    if options.reasoning_parser:
        yield f"--reasoning-parser={options.reasoning_parser}"
    if options.structured_outputs_backend != "auto":
        yield f"--structured-outputs-config={json.dumps({'backend': options.structured_outputs_backend})}"
    if options.chat_template:
        template = launch.workdir / "chat_template.jinja"
        template.write_text(options.chat_template)
        yield f"--chat-template={template}"
    yield from _adapters(launch)


def _adapters(launch: LaunchContext[VllmOptions]) -> Iterator[str]:
    options = launch.options
    if own := launch.model.adapter:
        yield f"--max-lora-rank={least_rank(own)}"
    if own or options.lora_adapters:
        yield from ("--enable-lora", "--lora-modules")
    if own:
        yield f"{launch.served_name}={own.path}"
    for adapter in options.lora_adapters:
        name, _, model_id = adapter.partition("=")
        yield f"{name}={launch.model.path.parent / model_id}"
