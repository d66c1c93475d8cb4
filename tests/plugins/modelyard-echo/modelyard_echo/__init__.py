"""A runtime plugin as a third party would write it; its engine is a small server that breaks on request."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import httpx
import pydantic

from modelyard.runtimes import (
    Command,
    Estimate,
    EstimatePart,
    Failure,
    Finding,
    Host,
    LaunchContext,
    Level,
    Model,
    OptimizeContext,
    Options,
    Recipe,
    Route,
    Runtime,
    SampleRequest,
)

RECIPES = ("copy", "shout", "crash", "empty", "endless")


class EchoOptions(Options):
    """How the engine misbehaves."""

    fault: Literal[
        "",
        "exit",
        "exit_permanent",
        "never_ready",
        "deaf",
        "port_taken",
        "die_after_ready",
        "hang_after_ready",
        "queue_after_ready",
        "refuse_after_ready",
    ] = pydantic.Field("", title="Fault", description="What breaks, and when.")
    start_seconds: float = pydantic.Field(0, title="Start time (s)", description="How long loading takes.", ge=0)
    words_per_second: float = pydantic.Field(20, title="Speed", description="Words a second of a stream.", gt=0)
    loud: bool = pydantic.Field(False, title="Loud", description="Answer in capitals.")
    refuse: bool = pydantic.Field(False, title="Refuse", description="Let the check find that it can't serve.")


class EchoRuntime(Runtime[EchoOptions]):
    """Repeats the last message, one word at a time."""

    title = "Echo"
    adapters = True
    options = EchoOptions
    ready_seconds = 30

    def check(self, model: Model, options: EchoOptions, host: Host) -> Sequence[Finding]:
        if options.refuse:
            return [Finding(Level.BLOCK, "refused", "Echo was told to refuse.", "Set refuse to false.")]
        if model.format != "onnx" and model.adapter is None:
            return [Finding(Level.BLOCK, "wrong_format", f"Echo can't repeat {model.format}.", "Import an ONNX model.")]
        return []

    def estimate(self, model: Model, options: EchoOptions, host: Host) -> Estimate:
        return Estimate(20_000_000, 25_000_000, 40_000_000, [EstimatePart("process", 25_000_000, "one Python process")])

    def command(self, context: LaunchContext[EchoOptions]) -> Command:
        argv = [sys.executable, str(Path(__file__).with_name("engine.py")), context.host, str(context.port)]
        options = context.options
        argv += [options.fault or "-", str(options.start_seconds), str(options.words_per_second), str(context.workdir)]
        argv += [str(context.model.path), str(int(options.loud))]
        return Command(argv, {"ECHO_SECRET": context.secret}, stop_seconds=5)

    def recipes(self, model: Model, options: EchoOptions, host: Host) -> Sequence[Recipe]:
        return [
            *(Recipe(name, name.title(), f"A recipe that does {name}.") for name in RECIPES),
            Recipe("loud", "Loud", "Answers in capitals.", {"loud": True}, artifact=False),
        ]

    def optimize(self, context: OptimizeContext) -> Command:
        if context.recipe.name not in RECIPES:
            return super().optimize(context)
        script = str(Path(__file__).with_name("recipe.py"))
        return Command([sys.executable, script, context.recipe.name, str(context.output)], stop_seconds=2)

    def probe(self, context: LaunchContext[EchoOptions], timeout_seconds: float) -> None:
        body = {"messages": [{"role": "user", "content": "ping"}]}
        headers = {"Authorization": f"Bearer {context.secret}"}
        try:
            answer = httpx.post(
                f"{context.base_url}/v1/chat/completions", json=body, headers=headers, timeout=timeout_seconds
            )
        except httpx.TimeoutException:
            raise Failure("too_slow", f"No answer came within {timeout_seconds:g} s.", "Wait.") from None
        except httpx.HTTPError as error:
            raise Failure("not_answering", f"The engine doesn't answer: {error}", "Wait, or look at its log.") from None
        if answer.status_code == 429:
            raise Failure("busy", "The engine has enough to do.", "Wait.")
        if answer.status_code != 200:
            raise Failure("bad_answer", f"The engine answered {answer.status_code}.", "Look at its log.")

    def failure(self, exit_code: int, log_tail: Sequence[str]) -> Failure:
        text = "\n".join(log_tail[-20:])
        if "Address already in use" in text:
            return Failure("port_in_use", "The engine's port was taken.", "It is started again on another port.")
        if exit_code == 3:
            return Failure("bad_model", "The engine can't load this model.", "Import another one.", permanent=True)
        return Failure("engine_died", f"The engine ended with code {exit_code}.", "Look at the log's last lines.")

    def routes(self, model: Model, options: EchoOptions) -> Sequence[Route]:
        return [Route("POST", "/v1/chat/completions", "Chat"), Route("GET", "/v1/models", "Models")]

    def sample(self, model: Model, options: EchoOptions, served_name: str) -> SampleRequest:
        message = {"role": "user", "content": 'Say it\'s "me"'}
        return SampleRequest("/v1/chat/completions", {"model": served_name, "messages": [message]})
