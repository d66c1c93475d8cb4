"""The runtime class: each verb of the contract, answered without importing vLLM."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from modelyard.runtimes import (
    Command,
    Estimate,
    Failure,
    Finding,
    Host,
    LaunchContext,
    Model,
    Recipe,
    Route,
    Runtime,
    SampleRequest,
    Usage,
)
from runtimes.probing import probe
from runtimes.transformers_folder import task, weights
from runtimes.vllm import failures, findings, probing
from runtimes.vllm.command import command
from runtimes.vllm.estimate import estimate
from runtimes.vllm.installed import installed
from runtimes.vllm.options import VllmOptions

TEXT_ROUTES = (
    Route("POST", "/v1/chat/completions", "Chat, with streaming, tools and guided output"),
    Route("POST", "/v1/completions", "Completion of a text"),
    Route("POST", "/v1/responses", "OpenAI's Responses API"),
)
POOLING_ROUTES: Mapping[str, Sequence[Route]] = {
    "embed": (Route("POST", "/v1/embeddings", "Embeddings of texts"),),
    "rank": (
        Route("POST", "/v1/rerank", "Ranking of documents"),
        Route("POST", "/v1/score", "Scores of pairs of texts"),
    ),
    "classify": (Route("POST", "/classify", "Labels of texts"),),
}
SHARED_ROUTES = (
    Route("POST", "/tokenize", "Text to token ids"),
    Route("POST", "/detokenize", "Token ids to text"),
    Route("GET", "/v1/models", "The served model and its adapters"),
)
GENERATING = (
    "temperature", "max_tokens", "top_p", "top_k", "repetition_penalty", "generation_config", "tool_call_parser",
    "reasoning_parser", "structured_outputs_backend",
)  # fmt: skip
"""Options that only answers of text have a use for."""
RECIPES = (
    Recipe(
        "fp8", "8-bit floating point",
        "Weights and activations in FP8, applied while loading: half the memory; fast on GPUs from Ada and Hopper on.",
        {"quantization": "fp8"}, artifact=False,
    ),
    Recipe(
        "int8-weights", "8-bit integer weights",
        "Weights in 8 bits with a scale per channel, applied while loading: half the memory, on older GPUs too.",
        {"quantization": "int8_per_channel_weight_only"}, artifact=False,
    ),
)  # fmt: skip


class VllmRuntime(Runtime[VllmOptions]):
    """vLLM's own server, in an interpreter of its own."""

    title: ClassVar[str] = "vLLM"
    adapters: ClassVar[bool] = True
    options = VllmOptions
    ready_seconds: ClassVar[float] = 900.0
    metrics: ClassVar[dict[str, str]] = {
        "vllm:time_to_first_token_seconds": "ttft",
        "vllm:inter_token_latency_seconds": "tpot",
        "vllm:request_queue_time_seconds": "queue_seconds",
        "vllm:num_requests_waiting": "queue",
        "vllm:num_requests_running": "running",
        "vllm:prompt_tokens_total": "prompt_tokens",
        "vllm:generation_tokens_total": "tokens",
        "vllm:kv_cache_usage_perc": "kv_cache_usage",
    }

    def idle_options(self, model: Model) -> Collection[str]:
        """What is for answers of text, where there are none."""
        try:
            return () if model.format != "safetensors" or task(model) == "generate" else GENERATING
        except Failure:
            return ()  # `check` says what is wrong with the folder

    def check(self, model: Model, options: VllmOptions, host: Host) -> Sequence[Finding]:
        """Format, engine, hardware, architecture, context and memory."""
        return list(findings.check(model, options, host))

    def estimate(self, model: Model, options: VllmOptions, host: Host) -> Estimate:
        """From the headers of the weights and the configuration."""
        return estimate(model, options, host, cpu=_cpu(host))

    def recipes(self, model: Model, options: VllmOptions, host: Host) -> Sequence[Recipe]:
        """Quantizations that vLLM applies while it loads, on a GPU, to weights that aren't quantized yet."""
        found = weights(model)
        if _cpu(host) or not host.gpus or options.quantization or found.packed > found.stored // 2:
            return []
        return RECIPES

    def command(self, context: LaunchContext[VllmOptions]) -> Command:
        """`vllm serve`, with everything that it writes in the launch's own folder."""
        return command(context)

    def probe(self, context: LaunchContext[VllmOptions], timeout_seconds: float) -> None:
        """A real generation, embedding, ranking or label."""
        request = probing.sample(context.model, context.options, context.served_name)
        probe(context, request, timeout_seconds)

    def failure(self, exit_code: int, log_tail: Sequence[str]) -> Failure:
        """By signs in the log, then the signal; status 0 that nobody asked for is a death too."""
        return failures.classify(exit_code, log_tail)

    def routes(self, model: Model, options: VllmOptions) -> Sequence[Route]:
        """By what the model is for; vLLM's paths for operators stay inside."""
        wanted = probing.purpose(model, options)
        return [*POOLING_ROUTES.get(wanted, TEXT_ROUTES), *SHARED_ROUTES]

    def sample(self, model: Model, options: VllmOptions, served_name: str) -> SampleRequest:
        """A chat, or what the model is for."""
        return probing.sample(model, options, served_name)

    def usage(self, path: str, body: Mapping[str, Any]) -> Usage | None:
        """OpenAI's shape; the Responses API has names of its own, and rankings count all tokens together."""
        whole = body.get("response", body) if path.endswith("/responses") else body
        usage = whole.get("usage") if isinstance(whole, Mapping) else None
        if not isinstance(usage, Mapping):
            return None
        completion = int(usage.get("completion_tokens") or usage.get("output_tokens") or 0)
        prompt = usage.get("prompt_tokens") or usage.get("input_tokens") or usage.get("total_tokens")
        return Usage(int(prompt or 0), completion)


def _cpu(host: Host) -> bool:
    try:
        return installed().cpu
    except Failure:
        return not host.gpus
