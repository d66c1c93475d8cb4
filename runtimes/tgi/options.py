"""What people set when they deploy a model on TGI."""

import re
from typing import Annotated, Literal, Self

import pydantic
from pydantic.config import JsonDict

from modelyard.runtimes import Options

ALLOWED = frozenset(
    {
        "max-batch-size", "max-client-batch-size", "max-best-of", "max-stop-sequences", "max-top-n-tokens",
        "waiting-served-ratio", "max-waiting-tokens", "validation-workers", "payload-limit", "json-output",
        "enable-prefill-logprobs",
    }
)  # fmt: skip
"""Every other argument is set by the plug, has an option of its own, or would load or open something."""

ADVANCED: JsonDict = {"advanced": True}
HARDWARE: JsonDict = {"step": "hardware"}
HARDWARE_ADVANCED: JsonDict = HARDWARE | ADVANCED
FLAG = re.compile(r"--([a-z][a-z0-9-]*)(?:=[^\x00-\x1f]+)?")
GRAPHS = re.compile(r"|0|[1-9]\d{0,4}(,[1-9]\d{0,4})*")
Adapter = Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*=mdl_[0-9a-z_]+$")]
Tokens = Annotated[int, pydantic.Field(ge=0, le=2**24)]
AUTO = "0: TGI's own choice by the model and the GPU's memory."


class TgiOptions(Options):
    """Options of `text-generation-launcher`."""

    max_input_tokens: Tokens = pydantic.Field(0, title="Longest prompt (tokens)", description=AUTO)
    max_total_tokens: Tokens = pydantic.Field(
        0, title="Context (tokens)", json_schema_extra=HARDWARE, description=f"Prompt and answer together. {AUTO}"
    )
    max_batch_prefill_tokens: Tokens = pydantic.Field(
        0,
        title="Prefill batch (tokens)",
        json_schema_extra=HARDWARE_ADVANCED,
        description=f"Prompts worked on in one step. {AUTO}",
    )
    max_batch_total_tokens: Tokens = pydantic.Field(
        0,
        title="Batch (tokens)",
        json_schema_extra=HARDWARE_ADVANCED,
        description=f"Prompts and answers of all requests at a time. {AUTO}",
    )
    max_concurrent_requests: int = pydantic.Field(
        128, ge=1, le=100_000, title="Requests at a time", description="One more is refused with 429."
    )
    dtype: Literal["", "float16", "bfloat16"] = pydantic.Field(
        "",
        title="Data type",
        json_schema_extra=HARDWARE_ADVANCED,
        description="Of weights and activations. Empty: the model's own; not with Quantization.",
    )
    quantize: Literal[
        "", "awq", "compressed-tensors", "eetq", "exl2", "gptq", "marlin", "bitsandbytes", "bitsandbytes-nf4",
        "bitsandbytes-fp4", "fp8",
    ] = pydantic.Field(
        "", title="Quantization", json_schema_extra=HARDWARE_ADVANCED,
        description="Empty: what the model's configuration says. eetq, bitsandbytes and fp8 are applied while loading.",
    )  # fmt: skip
    kv_cache_dtype: Literal["", "fp8_e4m3fn", "fp8_e5m2"] = pydantic.Field(
        "", title="KV cache type", json_schema_extra=HARDWARE_ADVANCED, description="Empty: the model's data type."
    )
    num_shard: int = pydantic.Field(
        1, ge=1, le=64, title="Shards", json_schema_extra=HARDWARE, description="GPUs that each layer is spread over."
    )
    cuda_memory_fraction: float = pydantic.Field(
        1.0,
        gt=0,
        le=1,
        title="Share of GPU memory",
        json_schema_extra=HARDWARE,
        description="That TGI may take for weights and KV cache together.",
    )
    cuda_graphs: str = pydantic.Field(
        "", max_length=200, title="CUDA graphs", json_schema_extra=HARDWARE_ADVANCED,
        description="Batch sizes such as 1,2,4,8. 0 turns graphs off. Empty: TGI's own choice.",
    )  # fmt: skip
    speculate: int = pydantic.Field(
        0,
        ge=0,
        le=16,
        title="Speculated tokens",
        json_schema_extra=ADVANCED,
        description="Guessed ahead at each step. 0: as the model says.",
    )
    lora_adapters: tuple[Adapter, ...] = pydantic.Field(
        (), max_length=64, title="LoRA adapters", json_schema_extra=ADVANCED,
        description='A list such as ["polite=mdl_…"]: the name that callers send as adapter_id, and an adapter\'s ID.',
    )  # fmt: skip
    rope_scaling: Literal["", "linear", "dynamic"] = pydantic.Field(
        "",
        title="RoPE scaling",
        json_schema_extra=ADVANCED,
        description="Stretches the context beyond the model's. Empty: as the model says.",
    )
    rope_factor: float = pydantic.Field(
        0,
        ge=0,
        le=1024,
        title="RoPE factor",
        json_schema_extra=ADVANCED,
        description="How far RoPE scaling stretches. 0: not at all.",
    )
    trust_remote_code: bool = pydantic.Field(
        False,
        title="Run code of the model",
        json_schema_extra=ADVANCED,
        description="Lets Python files of the model run in the engine.",
    )
    disable_grammar_support: bool = pydantic.Field(
        False,
        title="No guided output",
        json_schema_extra=ADVANCED,
        description="Turns JSON schemas, tools and grammars off.",
    )
    graceful_seconds: int = pydantic.Field(
        20, ge=1, le=120, title="Patience at the end (seconds)", json_schema_extra=HARDWARE_ADVANCED,
        description="For running answers when the engine is told to stop.",
    )  # fmt: skip
    extra_args: tuple[str, ...] = pydantic.Field(
        (), max_length=50, title="More arguments", json_schema_extra=ADVANCED,
        description='A list such as ["--max-best-of=4"]; each as text-generation-launcher --help has it.',
    )  # fmt: skip

    @pydantic.field_validator("cuda_graphs")
    @classmethod
    def _sizes_of_batches(cls, given: str) -> str:
        if not GRAPHS.fullmatch(given):
            raise ValueError("must be batch sizes such as 1,2,4,8, or 0, or empty")
        return given

    @pydantic.field_validator("extra_args")
    @classmethod
    def _each_is_one_allowed_argument(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for argument in given:
            match = FLAG.fullmatch(argument)
            if match is None:
                raise ValueError(f"{argument!r} isn't one argument such as --name or --name=value")
            if match[1] not in ALLOWED:
                raise ValueError(
                    f"--{match[1]} is set by Modelyard, has an option of its own, or isn't allowed; "
                    f"allowed are {', '.join(sorted(ALLOWED))}"
                )
        return given

    @pydantic.model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.max_input_tokens and self.max_total_tokens and self.max_input_tokens >= self.max_total_tokens:
            raise ValueError("Longest prompt must be less than Context, which holds the answer too")
        if self.max_batch_prefill_tokens and self.max_input_tokens > self.max_batch_prefill_tokens:
            raise ValueError("Prefill batch must be at least as much as Longest prompt")
        if self.max_batch_total_tokens and self.max_total_tokens > self.max_batch_total_tokens:
            raise ValueError("Batch must be at least as much as Context")
        if self.max_batch_total_tokens and self.max_batch_prefill_tokens > self.max_batch_total_tokens:
            raise ValueError("Batch must be at least as much as Prefill batch")
        return self

    @pydantic.model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.dtype and self.quantize:
            raise ValueError("Data type can't be set together with Quantization: leave one of them empty")
        if bool(self.rope_scaling) != bool(self.rope_factor):
            raise ValueError("RoPE scaling and RoPE factor go together: set both or neither")
        names = [adapter.partition("=")[0] for adapter in self.lora_adapters]
        if len(set(names)) < len(names):
            raise ValueError("each LoRA adapter needs a name of its own")
        return self
