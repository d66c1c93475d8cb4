"""The runtime class: each verb of the contract, answered without TGI."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from modelyard.runtimes import (
    Command,
    Estimate,
    Failure,
    Finding,
    Host,
    LaunchContext,
    Model,
    Route,
    Runtime,
    SampleRequest,
    Usage,
)
from runtimes.probing import probe
from runtimes.tgi import failures, findings
from runtimes.tgi.command import command
from runtimes.tgi.estimate import estimate
from runtimes.tgi.installed import device
from runtimes.tgi.options import TgiOptions
from runtimes.tgi.probing import sample

ROUTES = (
    Route("POST", "/v1/chat/completions", "Chat, with streaming, tools and guided output"),
    Route("POST", "/v1/completions", "Completion of a text"),
    Route("POST", "/generate", "TGI's own completion"),
    Route("POST", "/generate_stream", "TGI's own completion, token by token"),
    Route("POST", "/tokenize", "Text to token ids"),
)
"""Those that TGI's key guards: /v1/models, /info, /metrics and /chat_tokenize answer to everybody on the host."""


class TgiRuntime(Runtime[TgiOptions]):
    """Text Generation Inference's own launcher, which owns its router and shards."""

    title: ClassVar[str] = "Text Generation Inference"
    options = TgiOptions
    ready_seconds: ClassVar[float] = 900.0
    metrics: ClassVar[dict[str, str]] = {
        "tgi_request_mean_time_per_token_duration": "tpot",
        "tgi_queue_size": "queue",
        "tgi_batch_current_size": "running",
        "tgi_request_input_length": "prompt_tokens",
        "tgi_request_generated_tokens": "tokens",
    }

    def check(self, model: Model, options: TgiOptions, host: Host) -> Sequence[Finding]:
        """That it is kept in repair only, format, launcher, hardware, context and memory."""
        return list(findings.check(model, options, host))

    def estimate(self, model: Model, options: TgiOptions, host: Host) -> Estimate:
        """From the headers of the weights and the configuration."""
        return estimate(model, options, host, cpu=device() == "cpu")

    def command(self, context: LaunchContext[TgiOptions]) -> Command:
        """The launcher, with ports and sockets of its own."""
        return command(context)

    def probe(self, context: LaunchContext[TgiOptions], timeout_seconds: float) -> None:
        """A real generation of one token."""
        probe(context, sample(context.model, context.served_name), timeout_seconds)

    def failure(self, exit_code: int, log_tail: Sequence[str]) -> Failure:
        """By signs in the log, then the stage in its last line, then the signal."""
        return failures.classify(exit_code, log_tail)

    def routes(self, model: Model, options: TgiOptions) -> Sequence[Route]:  # noqa: ARG002 (the same for every model)
        """What TGI guards with its key."""
        return ROUTES

    def sample(self, model: Model, options: TgiOptions, served_name: str) -> SampleRequest:  # noqa: ARG002 (by the model)
        """A chat, or a completion."""
        return sample(model, served_name)

    def usage(self, path: str, body: Mapping[str, Any]) -> Usage | None:
        """OpenAI's shape; TGI's own paths tell tokens in `details`, where they were asked for."""
        if not path.startswith("/generate"):
            return super().usage(path, body)
        details = body.get("details")
        if not isinstance(details, Mapping):
            return None
        prompt = details.get("input_length") or len(details.get("prefill") or ())
        return Usage(int(prompt), int(details.get("generated_tokens") or 0))
