"""The runtime class."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from modelyard.runtimes import (
    Command,
    Estimate,
    Failure,
    Finding,
    Host,
    LaunchContext,
    Level,
    Model,
    Recipe,
    Route,
    Runtime,
    SampleRequest,
    Usage,
)
from modelyard_llamacpp import estimate, failures, gguf, probing
from modelyard_llamacpp.interpreter import ENGINE, interpreter
from modelyard_llamacpp.options import LlamaCppOptions, context_of

EMBEDDING, RANKING = {"feature-extraction", "sentence-similarity"}, {"text-ranking"}
GENERATE_ROUTES = (
    Route("POST", "/v1/chat/completions", "Chat, with streaming and tools"),
    Route("POST", "/v1/completions", "Completion of a text"),
    Route("POST", "/v1/responses", "OpenAI's Responses API"),
)
SHARED_ROUTES = (
    Route("POST", "/tokenize", "Text to token ids"),
    Route("POST", "/detokenize", "Token ids to text"),
    Route("GET", "/v1/models", "The served model"),
)
GENERATING = ("temperature", "max_tokens", "top_p", "top_k", "stop", "chat_template")
"""Options that only answers of text have a use for."""
KV_8BIT = Recipe(
    "kv-q8",
    "KV cache in 8 bits",
    "Keeps the context of running requests in 8 bits instead of 16: half the memory of the KV cache.",
    {"kv_cache_type": "q8_0"},
    artifact=False,
)


class LlamaCppRuntime(Runtime[LlamaCppOptions]):
    """llama.cpp's own server, in a process of its own."""

    title = "llama.cpp"
    options = LlamaCppOptions
    ready_seconds = 300
    metrics: Mapping[str, str] = {}

    def idle_options(self, model: Model) -> Collection[str]:
        """What is for answers of text, where there are none."""
        return () if _task(model) == "generate" else GENERATING

    def check(self, model: Model, options: LlamaCppOptions, host: Host) -> Sequence[Finding]:
        """Format, engine, the header, context and memory."""
        if model.format != "gguf":
            message = f"llama.cpp serves GGUF files, and this model is {model.format or 'of an unknown format'}."
            return [Finding(Level.BLOCK, "wrong_format", message, "Import the model's GGUF version.")]
        try:
            interpreter()
            header = gguf.read(gguf.graph(model))
        except Failure as failure:
            return [Finding(Level.BLOCK, failure.code, failure.message, failure.next_step)]
        return [*_context(options, header), *_memory(estimate.estimate(model, options, host), host)]

    def estimate(self, model: Model, options: LlamaCppOptions, host: Host) -> Estimate:
        """From the header of the file."""
        return estimate.estimate(model, options, host)

    def recipes(self, model: Model, options: LlamaCppOptions, host: Host) -> Sequence[Recipe]:
        """A smaller KV cache, where text is generated."""
        return [KV_8BIT] if _task(model) == "generate" and options.kv_cache_type == "f16" else []

    def command(self, context: LaunchContext[LlamaCppOptions]) -> Command:
        """The engine's script, in the interpreter that has llama.cpp."""
        path = gguf.graph(context.model)
        of_model = gguf.read(path).context_length
        options = context.options.model_dump() | {"context_tokens": context_of(context.options, of_model)}
        address = [context.host, str(context.port), context.served_name, _task(context.model)]
        env = {"MODELYARD_LLAMACPP_OPTIONS": json.dumps(options), "MODELYARD_LLAMACPP_SECRET": context.secret}
        return Command([interpreter(), "-P", str(ENGINE), str(path), *address], env, stop_seconds=10)

    def probe(self, context: LaunchContext[LlamaCppOptions], timeout_seconds: float) -> None:
        """One token, embedding or ranking."""
        sample = self.sample(context.model, context.options, context.served_name)
        probing.probe(context, sample, timeout_seconds)

    def failure(self, exit_code: int, log_tail: Sequence[str]) -> Failure:
        """By signs in the log, then the signal."""
        return failures.classify(exit_code, log_tail)

    def routes(self, model: Model, options: LlamaCppOptions) -> Sequence[Route]:
        """By the model's task; llama.cpp's own pages, slots and adapters stay inside."""
        task = _task(model)
        if task == "embed":
            return [Route("POST", "/v1/embeddings", "Embeddings of texts"), *SHARED_ROUTES]
        if task == "rank":
            return [Route("POST", "/v1/rerank", "Ranking of documents"), *SHARED_ROUTES]
        return [*GENERATE_ROUTES, *SHARED_ROUTES]

    def sample(self, model: Model, options: LlamaCppOptions, served_name: str) -> SampleRequest:
        """A chat, or a completion for a model without a chat template."""
        task = _task(model)
        if task == "embed":
            return SampleRequest("/v1/embeddings", {"model": served_name, "input": "A small cat."})
        if task == "rank":
            body = {"query": "What is a cat?", "documents": ["A cat is a small animal.", "Ships sail."]}
            return SampleRequest("/v1/rerank", {"model": served_name, **body})
        said = {"max_tokens": 64}
        if options.chat_template or gguf.read(gguf.graph(model)).has_chat_template:
            messages = [{"role": "user", "content": "Say in one sentence what a model registry is."}]
            return SampleRequest("/v1/chat/completions", {"model": served_name, "messages": messages, **said})
        return SampleRequest("/v1/completions", {"model": served_name, "prompt": "A model registry is", **said})

    def usage(self, path: str, body: Mapping[str, Any]) -> Usage | None:
        """OpenAI's shape; the Responses API has names of its own, and its stream wraps the response."""
        if path.endswith("/responses"):
            whole = body.get("response", body)
            usage = whole.get("usage") if isinstance(whole, Mapping) else None
            if isinstance(usage, Mapping):
                return Usage(int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0))
            return None
        return super().usage(path, body)


def _task(model: Model) -> str:
    return "embed" if model.task in EMBEDDING else "rank" if model.task in RANKING else "generate"


def _context(options: LlamaCppOptions, header: gguf.Header) -> list[Finding]:
    if not header.context_length or options.context_tokens <= header.context_length:
        return []
    message = f"The context of {options.context_tokens} tokens is longer than the model's {header.context_length}."
    return [Finding(Level.WARN, "context_too_long", message, f"Set it to {header.context_length} at most.")]


def _memory(needed: Estimate, host: Host) -> list[Finding]:
    free = host.memory_available + sum(gpu.memory_free for gpu in host.gpus)
    if needed.likely <= free:
        return []
    message = f"It needs about {needed.likely / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free."
    return [Finding(Level.WARN, "memory", message, "Lower slots or context, or use a smaller model.")]
