"""What people set when they deploy a GGUF model."""

from typing import Annotated, Literal

import pydantic
from pydantic.config import JsonDict

from modelyard.runtimes import Options

MOST_CONTEXT = 4096
"""Tokens of context where nothing is said: a model's own maximum may take more memory than the machine has."""

ADVANCED: JsonDict = {"advanced": True}
HARDWARE: JsonDict = {"step": "hardware"}
HARDWARE_ADVANCED: JsonDict = HARDWARE | ADVANCED
Text = Annotated[str, pydantic.StringConstraints(min_length=1, max_length=200)]


class LlamaCppOptions(Options):
    """Options of llama.cpp's server."""

    temperature: float | None = pydantic.Field(
        None, ge=0, le=2, title="Temperature",
        description="Where a request doesn't say: 0 takes the likeliest token, more varies. Empty: llama.cpp's own.",
    )  # fmt: skip
    max_tokens: int = pydantic.Field(
        0, ge=0, le=2**24, title="Maximum length (tokens)",
        description="Of an answer, where a request doesn't say. 0: what the context leaves.",
    )  # fmt: skip
    top_p: float | None = pydantic.Field(
        None, gt=0, le=1, title="Top p",
        description="Where a request doesn't say: tokens that make up this share of the likelihood. "
        "Empty: llama.cpp's own.",
    )  # fmt: skip
    top_k: int | None = pydantic.Field(
        None, ge=0, le=1000, title="Top k",
        description="Where a request doesn't say: so many of the likeliest tokens; 0: all. Empty: llama.cpp's own.",
    )  # fmt: skip
    stop: tuple[Text, ...] = pydantic.Field(
        (), max_length=16, title="Stop sequences",
        description="Where a request doesn't say: an answer ends before any of these.",
    )  # fmt: skip
    context_tokens: int = pydantic.Field(
        0, ge=0, le=2**24, title="Context (tokens)", json_schema_extra=HARDWARE,
        description=f"Of each slot. 0: the model's own, {MOST_CONTEXT} at most. The KV cache grows with it.",
    )  # fmt: skip
    slots: int = pydantic.Field(
        4, ge=1, le=64, title="Slots",
        description="Requests that are worked on at the same time; more wait. The KV cache grows with it.",
    )  # fmt: skip
    threads: int = pydantic.Field(
        0,
        ge=0,
        le=512,
        title="Threads",
        json_schema_extra=HARDWARE,
        description="0: half of the cores, so that several engines on one host do not stand in each other's way.",
    )
    batch_tokens: int = pydantic.Field(
        512,
        ge=32,
        le=8192,
        title="Batch (tokens)",
        json_schema_extra=HARDWARE_ADVANCED,
        description="Prompt tokens worked on in one step.",
    )
    gpu_layers: int = pydantic.Field(
        -1,
        ge=-1,
        title="GPU layers",
        json_schema_extra=HARDWARE,
        description="Layers kept on the GPU, if there is one. -1: as many as fit.",
    )
    kv_cache_type: Literal["f16", "q8_0", "q4_0"] = pydantic.Field(
        "f16",
        title="KV cache type",
        json_schema_extra=HARDWARE_ADVANCED,
        description="Numbers of the KV cache: fewer bits take less memory.",
    )
    flash_attention: Literal["auto", "on", "off"] = pydantic.Field(
        "auto",
        title="Flash attention",
        json_schema_extra=HARDWARE_ADVANCED,
        description="A quantized KV cache needs it.",
    )
    prompt_cache_mib: int = pydantic.Field(
        64, ge=0, le=1_000_000, title="Prompt cache (MiB)", json_schema_extra=HARDWARE_ADVANCED,
        description="Memory for the state of earlier prompts, so that a conversation goes on without reading it again.",
    )  # fmt: skip
    chat_template: str = pydantic.Field(
        "", max_length=100_000, title="Chat template", json_schema_extra=ADVANCED,
        description="A Jinja template, or the name of one of llama.cpp's own; empty: the model's.",
    )  # fmt: skip

    @pydantic.model_validator(mode="after")
    def _quantized_cache_needs_flash_attention(self) -> "LlamaCppOptions":
        if self.kv_cache_type != "f16" and self.flash_attention == "off":
            raise ValueError("a quantized KV cache needs flash attention: set it to auto or on")
        return self


def context_of(options: LlamaCppOptions, of_model: int | None) -> int:
    """Tokens of context that one slot gets."""
    return options.context_tokens or min(of_model or MOST_CONTEXT, MOST_CONTEXT)
