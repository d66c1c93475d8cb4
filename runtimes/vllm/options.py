"""What people set when they deploy a model on vLLM."""

import re
from typing import Annotated, Literal

import pydantic
from pydantic.config import JsonDict

from modelyard.runtimes import Options

RESERVED = frozenset(
    {
        "model", "model-tag", "config", "host", "port", "uds", "api-key", "served-model-name", "middleware",
        "headless", "grpc", "root-path", "ssl-keyfile", "ssl-certfile", "ssl-ca-certs", "ssl-cert-reqs",
        "ssl-ciphers", "allowed-origins", "allow-credentials", "data-parallel-address",
        "data-parallel-rpc-port", "master-addr", "master-port", "node-rank", "nnodes", "lora-modules",
        "enable-lora", "chat-template", "trust-remote-code", "dtype", "quantization", "max-model-len",
        "max-num-seqs", "gpu-memory-utilization", "device-memory-utilization", "kv-cache-memory-bytes",
        "tensor-parallel-size", "pipeline-parallel-size", "enforce-eager", "enable-prefix-caching",
        "tool-call-parser", "enable-auto-tool-choice", "reasoning-parser", "structured-outputs-config", "seed",
        "runner", "enable-force-include-usage", "tool-parser-plugin", "reasoning-parser-plugin",
        "logits-processors", "worker-extension-cls", "worker-cls", "allowed-local-media-path", "download-dir",
        "hf-token", "otlp-traces-endpoint", "grpc-port", "data-parallel-supervisor-port", "scheduler-cls",
        "model-class-overrides", "io-processor-plugin", "logging-config", "log-config-file", "hf-config-path",
        "kv-transfer-config", "ec-transfer-config", "weight-transfer-config", "profiler-config", "tool-server",
        "generation-config", "override-generation-config", "enable-log-requests", "enable-log-outputs",
        "enable-log-deltas",
    }
)  # fmt: skip
"""Set by the plug itself or by an option of its own, or such as load code, open the engine or log what callers send.

Forced usage would reach callers who didn't ask: the gateway hides only the usage that it asked for itself.
"""

ADVANCED: JsonDict = {"advanced": True}
HARDWARE: JsonDict = {"step": "hardware"}
HARDWARE_ADVANCED: JsonDict = HARDWARE | ADVANCED
FLAG = re.compile(r"--(?:no-)?([a-z][a-z0-9-]*(?:\.[a-z0-9_-]+)*)(?:=[^\x00-\x1f]*)?")
NAME = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"
Adapter = Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*=mdl_[0-9a-z_]+$")]


class VllmOptions(Options):
    """Options of `vllm serve`."""

    temperature: float | None = pydantic.Field(
        None, ge=0, le=2, title="Temperature",
        description="Where a request doesn't say: 0 takes the likeliest token, more varies. Empty: the model's own.",
    )  # fmt: skip
    max_tokens: int = pydantic.Field(
        0, ge=0, le=2**24, title="Maximum length (tokens)",
        description="Of an answer: where a request doesn't say, and the most that one may ask for. "
        "0: what the context leaves.",
    )  # fmt: skip
    top_p: float | None = pydantic.Field(
        None, gt=0, le=1, title="Top p",
        description="Where a request doesn't say: tokens that make up this share of the likelihood. "
        "Empty: the model's own.",
    )  # fmt: skip
    top_k: int | None = pydantic.Field(
        None, ge=0, le=1000, title="Top k",
        description="Where a request doesn't say: so many of the likeliest tokens; 0: all. Empty: the model's own.",
    )  # fmt: skip
    repetition_penalty: float | None = pydantic.Field(
        None, gt=0, le=2, title="Repetition penalty", json_schema_extra=ADVANCED,
        description="Where a request doesn't say: above 1 repeats less. Empty: the model's own.",
    )  # fmt: skip
    generation_config: Literal["auto", "vllm"] = pydantic.Field(
        "auto", title="Defaults of the model", json_schema_extra=ADVANCED,
        description="auto: what its generation_config.json says holds where nothing is set above; vllm: vLLM's own.",
    )  # fmt: skip
    max_model_len: int = pydantic.Field(
        0, ge=0, le=2**24, title="Context (tokens)", json_schema_extra=HARDWARE,
        description="Prompt and answer together. 0: the model's own; on a CPU 4096 at most.",
    )  # fmt: skip
    max_num_seqs: int = pydantic.Field(
        0, ge=0, le=65_536, title="Sequences at a time",
        description="Requests worked on in one batch; more wait. 0: vLLM's own choice; 4 on a CPU.",
    )  # fmt: skip
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = pydantic.Field(
        "auto",
        title="Data type",
        json_schema_extra=HARDWARE_ADVANCED,
        description="Of weights and activations. auto: the model's own.",
    )
    quantization: Literal[
        "", "fp8", "fp8_per_block", "fp8_per_channel", "int8_per_channel_weight_only", "mxfp8", "awq", "gptq",
        "compressed-tensors",
    ] = pydantic.Field(
        "", title="Quantization", json_schema_extra=HARDWARE_ADVANCED,
        description="Empty: what the model's configuration says. fp8, int8 and mxfp8 are applied while loading.",
    )  # fmt: skip
    gpu_memory_utilization: float = pydantic.Field(
        0.9,
        gt=0,
        le=1,
        title="Share of GPU memory",
        json_schema_extra=HARDWARE,
        description="That vLLM takes for weights and KV cache together.",
    )
    kv_cache_memory_bytes: int = pydantic.Field(
        0, ge=0, title="KV cache (bytes)", json_schema_extra=HARDWARE_ADVANCED,
        description="0: what is left of the share of GPU memory; on a CPU what context × sequences need.",
    )  # fmt: skip
    tensor_parallel_size: int = pydantic.Field(
        1,
        ge=1,
        le=64,
        title="Tensor parallel",
        json_schema_extra=HARDWARE,
        description="GPUs that each layer is spread over.",
    )
    pipeline_parallel_size: int = pydantic.Field(
        1,
        ge=1,
        le=64,
        title="Pipeline parallel",
        json_schema_extra=HARDWARE_ADVANCED,
        description="Groups of GPUs that the layers are spread over.",
    )
    enforce_eager: Literal["auto", "on", "off"] = pydantic.Field(
        "auto", title="Eager mode", json_schema_extra=HARDWARE_ADVANCED,
        description="on starts in seconds, off compiles for minutes and answers faster. auto: on for a CPU.",
    )  # fmt: skip
    enable_prefix_caching: bool = pydantic.Field(
        True,
        title="Prefix caching",
        json_schema_extra=HARDWARE_ADVANCED,
        description="Keeps the work on prompts that begin alike.",
    )
    lora_adapters: tuple[Adapter, ...] = pydantic.Field(
        (), max_length=64, title="LoRA adapters", json_schema_extra=ADVANCED,
        description='A list such as ["polite=mdl_…"]: the name that callers send, and the ID of an imported adapter.',
    )  # fmt: skip
    tool_call_parser: str = pydantic.Field(
        "", pattern=f"{NAME}|^$", max_length=64, title="Tool-call parser", json_schema_extra=ADVANCED,
        description="Such as hermes, llama3_json or mistral; turns tool calls on. Empty: no tool calls.",
    )  # fmt: skip
    reasoning_parser: str = pydantic.Field(
        "", pattern=f"{NAME}|^$", max_length=64, title="Reasoning parser", json_schema_extra=ADVANCED,
        description="Such as deepseek_r1 or qwen3. Empty: the answer is not taken apart.",
    )  # fmt: skip
    chat_template: str = pydantic.Field(
        "",
        max_length=100_000,
        title="Chat template",
        json_schema_extra=ADVANCED,
        description="A Jinja template. Empty: the model's own.",
    )
    structured_outputs_backend: Literal["auto", "xgrammar", "guidance", "outlines", "lm-format-enforcer"] = (
        pydantic.Field(
            "auto",
            title="Guided output",
            json_schema_extra=ADVANCED,
            description="What holds answers to a JSON schema or grammar.",
        )
    )
    runner: Literal["auto", "generate", "pooling"] = pydantic.Field(
        "auto",
        title="Runner",
        json_schema_extra=ADVANCED,
        description="What the model is used for. auto: by its task and architecture.",
    )
    trust_remote_code: bool = pydantic.Field(
        False,
        title="Run code of the model",
        json_schema_extra=ADVANCED,
        description="Lets Python files of the model run in the engine.",
    )
    seed: int = pydantic.Field(
        0, ge=0, le=2**31 - 1, title="Seed", json_schema_extra=ADVANCED, description="For answers that can be repeated."
    )
    extra_args: tuple[str, ...] = pydantic.Field(
        (), max_length=100, title="More arguments", json_schema_extra=ADVANCED,
        description='A list such as ["--max-num-batched-tokens=2048"]; each as vllm serve --help has it.',
    )  # fmt: skip

    @pydantic.field_validator("extra_args")
    @classmethod
    def _each_is_one_known_kind_of_argument(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for argument in given:
            match = FLAG.fullmatch(argument)
            if match is None:
                raise ValueError(f"{argument!r} isn't one argument such as --name or --name=value")
            name = match[1].partition(".")[0]
            if any(reserved.startswith(name) for reserved in RESERVED):  # vLLM takes shortened names too
                raise ValueError(f"--{match[1]} is set by Modelyard or has an option of its own")
        return given

    @pydantic.model_validator(mode="after")
    def _adapter_names_are_different(self) -> "VllmOptions":
        names = [adapter.partition("=")[0] for adapter in self.lora_adapters]
        if len(set(names)) < len(names):
            raise ValueError("each LoRA adapter needs a name of its own")
        return self
