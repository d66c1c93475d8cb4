"""What a deployment on ONNX Runtime can be told."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from modelyard.runtimes import Options

ADVANCED: JsonDict = {"advanced": True}
HARDWARE: JsonDict = {"step": "hardware"}


class OnnxOptions(Options):
    """Options of the ONNX engine; every default suits the machine and the model."""

    workers: int = Field(
        0,
        ge=0,
        le=256,
        title="Workers",
        json_schema_extra=HARDWARE,
        description="Inferences at a time. 0 chooses by cores and model size.",
    )
    intra_op_threads: int = Field(
        0,
        ge=0,
        le=256,
        title="Threads per inference",
        json_schema_extra=HARDWARE,
        description="0 chooses: one for small models, up to four else.",
    )
    max_batch_size: int = Field(
        0,
        ge=0,
        le=1024,
        title="Largest batch",
        description="Rows or short texts that run together; a text fills one place for each 64 tokens. "
        "0 measures at start whether batches pay on this machine, 1 turns them off.",
    )
    max_batch_delay_ms: int = Field(
        0,
        ge=0,
        le=1000,
        title="Wait for a batch (ms)",
        json_schema_extra=ADVANCED,
        description="How long a request may wait for others to run with. 0 never waits on an idle worker.",
    )
    max_queue: int = Field(
        256,
        ge=1,
        le=100_000,
        title="Longest queue",
        json_schema_extra=ADVANCED,
        description="Requests that may wait; beyond it callers get 429 and are told to try again.",
    )
    pooling: Literal["auto", "mean", "cls", "max", "none"] = Field(
        "auto",
        title="Pooling",
        description="How token vectors become a text's embedding. Auto follows the model's own files, else the "
        "mean; none takes the graph's own output of two axes.",
    )
    normalize: Literal["auto", "yes", "no"] = Field(
        "auto",
        title="Normalise",
        description="Scale embeddings to length 1. Auto follows the model's modules.json and else scales.",
    )
    max_length: int = Field(
        0,
        ge=0,
        le=1_000_000,
        title="Longest text (tokens)",
        description="Longer texts are cut. 0 keeps the model's own.",
    )
