"""What crosses the border between Modelyard and a runtime plugin: frozen dataclasses and one abstract class."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pydantic

CONTRACT_VERSION = 1
"""A plugin made for another version of this contract is shown as incompatible and never called."""


class Level(enum.StrEnum):
    """How much a finding matters: BLOCK stops a deployment, WARN is shown before it, INFO beside it."""

    BLOCK = "block"
    WARN = "warn"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """One thing that `check` found out about a model, its options or the host."""

    level: Level
    code: str
    message: str
    fix: str = ""


class Failure(Exception):
    """Why an engine did not start, died, or cannot be used: the cause in one line and what to do next.

    Returned by `Runtime.failure`; any other verb may raise it. `permanent` says that trying again unchanged is no use.
    """

    def __init__(self, code: str, message: str, next_step: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step
        self.permanent = permanent


@dataclass(frozen=True)
class ModelFile:
    """One file of a model: its path inside the model's folder, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Adapter:
    """A PEFT adapter (LoRA) as a runtime sees it: a read-only folder with `adapter_config.json` and its weights."""

    id: str
    name: str
    path: Path


@dataclass(frozen=True)
class Model:
    """An imported model as a runtime sees it: a read-only folder and what the import found out about it.

    `format` is `onnx`, `safetensors` or `gguf`; `task` a Hugging Face pipeline tag such as `feature-extraction`, or "";
    `parameters` the number of weights and `context_length` tokens, where known. With an `adapter`, all of that is of
    its base model, and callers who send the served name are to be answered by the adapter.
    """

    id: str
    name: str
    path: Path
    format: str
    task: str = ""
    architecture: str = ""
    parameters: int | None = None
    context_length: int | None = None
    files: Sequence[ModelFile] = ()
    adapter: Adapter | None = None


@dataclass(frozen=True)
class Gpu:
    """One accelerator of the host; memory in bytes."""

    name: str
    memory_total: int
    memory_free: int


@dataclass(frozen=True)
class Host:
    """The machine that the engine will run on; memory in bytes."""

    cpus: int
    memory_total: int
    memory_available: int
    gpus: Sequence[Gpu] = ()


@dataclass(frozen=True)
class EstimatePart:
    """One term of an estimate in bytes, and the formula that gave it, with its numbers filled in."""

    name: str
    bytes: int
    formula: str


@dataclass(frozen=True)
class Estimate:
    """Memory that an engine will need, in bytes: at least, probably, at most. `device` says whose: `host` or `gpu`."""

    low: int
    likely: int
    high: int
    parts: Sequence[EstimatePart] = ()
    device: Literal["host", "gpu"] = "host"


class Options(pydantic.BaseModel):
    """Base of a runtime's options. The admin's form, the API's validation and the reference page come from its fields.

    Give every field a default, a title and a description; use units in names (`_seconds`, `_bytes`). Where the deploy
    wizard asks for it stands in `json_schema_extra`: `step`, which is `parameters` (unless said: how it answers) or
    `hardware` (what it needs), and `advanced`, true for what few people change (unless said: false).
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class LaunchContext[O: Options]:
    """One launch of an engine.

    The engine must listen on `host`:`port` and refuse requests without `Authorization: Bearer <secret>`. `workdir` is
    the launch's own writable folder (caches, temporary files, sockets); it is removed with the replica.
    """

    model: Model
    options: O
    host: str
    port: int
    secret: str
    workdir: Path
    served_name: str

    @property
    def base_url(self) -> str:
        """The engine's address, such as `http://127.0.0.1:20000`."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True)
class Command:
    """How to start an engine: an argument list (never a shell string) and what to add to its environment.

    The process gets a minimal environment plus `env`. SIGTERM asks it to stop; after `stop_seconds` its whole session
    is killed.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 10.0


@dataclass(frozen=True)
class Route:
    """A path of the engine that callers may use through the gateway, such as `POST /v1/embeddings`.

    A segment written `{name}` matches any one segment. Everything not listed is unreachable from outside.
    """

    method: str
    path: str
    summary: str = ""


@dataclass(frozen=True)
class SampleRequest:
    """A request that shows what a deployment does: what Copy cURL and the test console use."""

    path: str
    body: Mapping[str, Any]
    method: str = "POST"


@dataclass(frozen=True)
class Recipe:
    """An optimization that a runtime offers: its name is stored, title and description are what people read.

    With `artifact` it makes a new model folder (see `Runtime.optimize`); without, the engine applies it while it loads.
    `options` are set over the deployment's own, such as `{"quantization": "fp8"}`.
    """

    name: str
    title: str
    description: str
    options: Mapping[str, Any] = field(default_factory=dict)
    artifact: bool = True


@dataclass(frozen=True)
class OptimizeContext:
    """One run of a recipe. What it makes depends on the model and the recipe alone, so that it can be used again.

    It goes to `output`, an empty folder, which becomes a model folder of its own with everything that the engine
    needs. `workdir` is for whatever else is written; `model.path` is only read.
    """

    model: Model
    recipe: Recipe
    output: Path
    workdir: Path


PROGRESS = "progress"
"""A line `progress 40 Quantizing` that a recipe's process prints is shown to people: percent, then what it does."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one request, as the engine counted them."""

    prompt_tokens: int
    completion_tokens: int = 0


def with_text(body: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The body of an OpenAI-shaped request with another text to work on, and no randomness in the answer."""
    if "messages" in body:
        return {**body, "messages": [{"role": "user", "content": text}], "temperature": 0, "seed": 0, "stream": False}
    if "prompt" in body:
        return {**body, "prompt": text, "temperature": 0, "seed": 0, "stream": False}
    for name in ("query", "input", "inputs", "text"):
        if isinstance(body.get(name), str) or (name == "input" and name in body):
            return {**body, name: text}
    return dict(body)


class Runtime[O: Options](ABC):
    """One kind of engine. Instances hold no state: one object serves every deployment, from several threads.

    Verbs, in the order they are called: `idle_options`, `check`, `estimate`, `recipes`, `optimize`, `command`, `probe`,
    `failure`, `routes`, `sample`, `samples`, `usage`; and the names in `metrics`. Those with a body here may
    be left as they are.
    """

    contract_version: ClassVar[int] = CONTRACT_VERSION
    title: ClassVar[str]
    """What people read, such as `ONNX Runtime`."""
    options: type[O]
    ready_seconds: ClassVar[float] = 600.0
    """How long a start may take before it has failed, unless the deployment says otherwise."""
    adapters: ClassVar[bool] = False
    """Whether it serves adapters. One that doesn't never gets a `Model` with an `adapter`."""
    metrics: ClassVar[Mapping[str, str]] = {}
    """Engine metric names to canonical ones: `ttft`, `tpot`, `queue_seconds`, `queue`, `running`, `prompt_tokens`,
    `tokens`, `kv_cache_usage`. Of a histogram the name is without `_bucket`, `_sum` and `_count`. They are read
    from the engine's `/metrics`, with its secret."""

    @abstractmethod
    def check(self, model: Model, options: O, host: Host) -> Sequence[Finding]:
        """Can this engine serve this model here? A BLOCK finding says why not and what to do."""

    @abstractmethod
    def estimate(self, model: Model, options: O, host: Host) -> Estimate:
        """The memory this will need."""

    def idle_options(self, model: Model) -> Collection[str]:  # noqa: ARG002 (most use all of theirs)
        """Names of options that do nothing for this model, so that nobody is asked for them."""
        return ()

    def recipes(self, model: Model, options: O, host: Host) -> Sequence[Recipe]:  # noqa: ARG002 (most offer none)
        """The optimizations that this runtime can apply to this model here."""
        return ()

    def optimize(self, context: OptimizeContext) -> Command:
        """How to run a recipe that makes an artifact: a process as an engine is one, that ends with 0 once it is done.

        Its death is classified by `failure`. Raises Failure for a recipe that `recipes` doesn't offer.
        """
        raise Failure(
            "no_such_recipe",
            f"{self.title} has no recipe {context.recipe.name!r}.",
            "Choose a recipe that it offers, or none.",
            permanent=True,
        )

    @abstractmethod
    def command(self, context: LaunchContext[O]) -> Command:
        """How to start the engine. Raises Failure where that can't be said."""

    @abstractmethod
    def probe(self, context: LaunchContext[O], timeout_seconds: float) -> None:
        """Do a real inference; return if it worked, raise Failure if it did not (`permanent` if it never will)."""

    @abstractmethod
    def failure(self, exit_code: int, log_tail: Sequence[str]) -> Failure:
        """Classify an engine's death nobody asked for. A negative exit code is the signal that ended it."""

    @abstractmethod
    def routes(self, model: Model, options: O) -> Sequence[Route]:
        """The engine's paths that callers may use for this model."""

    @abstractmethod
    def sample(self, model: Model, options: O, served_name: str) -> SampleRequest:
        """A request that answers on this model."""

    def samples(self, model: Model, options: O, served_name: str, texts: Sequence[str]) -> Sequence[SampleRequest]:
        """Requests that show how well a model answers, one for each text; a runtime of other inputs makes up its own.

        They have to be the same each time: the answers before and after an optimization are compared.
        """
        sample = self.sample(model, options, served_name)
        return [replace(sample, body=with_text(sample.body, text)) for text in texts]

    def usage(self, path: str, body: Mapping[str, Any]) -> Usage | None:  # noqa: ARG002 (for runtimes whose paths differ)
        """Tokens of one answered request, from its JSON body or last stream event; OpenAI's shape unless overridden."""
        usage = body.get("usage")
        if not isinstance(usage, Mapping):
            return None
        return Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
