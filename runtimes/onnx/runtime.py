"""The runtime class: each verb of the contract, answered without importing the engine."""

from collections.abc import Sequence
from typing import ClassVar

from modelyard.runtimes import (
    Command,
    Estimate,
    Failure,
    Finding,
    Host,
    LaunchContext,
    Model,
    OptimizeContext,
    Recipe,
    Route,
    Runtime,
    SampleRequest,
)
from runtimes.onnx import failures, findings, probing, recipes
from runtimes.onnx.estimate import estimate
from runtimes.onnx.folder import header, locate, purpose
from runtimes.onnx.interpreter import ENGINE, interpreter
from runtimes.onnx.options import OnnxOptions

STOP_SECONDS = 30.0
"""A little more than the engine gives itself to finish what runs."""

PROTOCOL_ROUTES = (
    Route("GET", "/v2", "Server metadata"),
    Route("GET", "/v2/health/live", "Is the server alive"),
    Route("GET", "/v2/health/ready", "Is the server ready"),
    Route("GET", "/v2/models/{name}", "Inputs and outputs of the model"),
    Route("GET", "/v2/models/{name}/ready", "Is the model ready"),
    Route("POST", "/v2/models/{name}/infer", "Inference on tensors"),
    Route("GET", "/v2/models/{name}/versions/{version}", "Inputs and outputs of the model"),
    Route("GET", "/v2/models/{name}/versions/{version}/ready", "Is the model ready"),
    Route("POST", "/v2/models/{name}/versions/{version}/infer", "Inference on tensors"),
)
MODELS_ROUTE = Route("GET", "/v1/models", "The served model")
TEXT_ROUTES = {
    "embed": Route("POST", "/v1/embeddings", "Embeddings of texts"),
    "rank": Route("POST", "/v1/rerank", "Ranking of documents"),
    "classify": Route("POST", "/v1/classify", "Labels of texts"),
}


class OnnxRuntime(Runtime[OnnxOptions]):
    """ONNX Runtime on the CPU, in an engine process of its own."""

    title: ClassVar[str] = "ONNX Runtime"
    options = OnnxOptions
    ready_seconds: ClassVar[float] = 300.0
    metrics: ClassVar[dict[str, str]] = {
        "modelyard_onnx_queue_depth": "queue",
        "modelyard_onnx_running": "running",
        "modelyard_onnx_prompt_tokens_total": "prompt_tokens",
    }

    def check(self, model: Model, options: OnnxOptions, host: Host) -> Sequence[Finding]:
        """Reads the folder and the graph's declarations, and asks the engine's interpreter for its packages."""
        return list(findings.check(model, options, host))

    def estimate(self, model: Model, options: OnnxOptions, host: Host) -> Estimate:
        """From the weights that the graph declares, external data included."""
        layout = locate(model)
        graph = header(layout)
        return estimate(layout, graph, options, host, text=bool(purpose(layout, graph, options)))

    def recipes(self, model: Model, options: OnnxOptions, host: Host) -> Sequence[Recipe]:  # noqa: ARG002 (by the graph)
        """By the types of the graph's weights and its operators."""
        return recipes.offered(header(locate(model)))

    def optimize(self, context: OptimizeContext) -> Command:
        """A process in the engine's interpreter, which has the package onnx too."""
        return recipes.command(context)

    def command(self, context: LaunchContext[OnnxOptions]) -> Command:
        """The engine's folder run by path, so that its interpreter needs no part of Modelyard."""
        layout = locate(context.model)
        place = ["--folder", str(context.model.path), "--graph", str(layout.graph), "--name", context.served_name]
        address = ["--host", context.host, "--port", str(context.port)]
        return Command(
            [interpreter(), str(ENGINE), *place, *address, *_flags(context.options)],
            _environment(context),
            STOP_SECONDS,
        )

    def probe(self, context: LaunchContext[OnnxOptions], timeout_seconds: float) -> None:
        """One embedding, ranking or label where the model is for texts, else one inference on made-up tensors."""
        layout = locate(context.model)
        graph = header(layout)
        sample = probing.SAMPLES.get(purpose(layout, graph, context.options))
        name = context.served_name
        request = sample(name) if sample else probing.infer_request(graph, name)
        probing.probe(context, request, timeout_seconds)

    def failure(self, exit_code: int, log_tail: Sequence[str]) -> Failure:
        """By the engine's error line, exit status, signal or signs in the log."""
        return failures.classify(exit_code, log_tail)

    def routes(self, model: Model, options: OnnxOptions) -> Sequence[Route]:
        """The Open Inference Protocol, and what the model does with texts."""
        layout = locate(model)
        route = TEXT_ROUTES.get(purpose(layout, header(layout), options))
        return [*([route] if route else []), MODELS_ROUTE, *PROTOCOL_ROUTES]

    def sample(self, model: Model, options: OnnxOptions, served_name: str) -> SampleRequest:
        """An embedding, ranking or label of a sentence, or a small infer request that fits the graph."""
        layout = locate(model)
        graph = header(layout)
        sample = probing.SAMPLES.get(purpose(layout, graph, options))
        return sample(served_name) if sample else probing.infer_sample(graph, served_name)

    def samples(
        self, model: Model, options: OnnxOptions, served_name: str, texts: Sequence[str]
    ) -> Sequence[SampleRequest]:
        """The texts where the model takes any, else made-up tensors that differ."""
        layout = locate(model)
        graph = header(layout)
        if purpose(layout, graph, options):
            return super().samples(model, options, served_name, texts)
        return probing.varied(graph, served_name, len(texts))


def _flags(options: OnnxOptions) -> list[str]:
    """Every option is a flag of the same name."""
    flags = []
    for name, value in options.model_dump().items():
        flags += [f"--{name.replace('_', '-')}", str(value)]
    return flags


def _environment(context: LaunchContext[OnnxOptions]) -> dict[str, str]:
    folder = str(context.workdir)
    return {
        "MODELYARD_ENGINE_SECRET": context.secret,
        "HOME": folder,
        "TMPDIR": folder,
        "XDG_CACHE_HOME": folder,
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
