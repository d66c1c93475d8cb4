"""What a catalogue file may say: the classes that read it, and that its published JSON Schema is made from.

Every figure names its source. `docs/reference/catalogue.md` explains the fields; a test compares the two.
"""

import json
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

VERSION = 1
SLUG = r"^[a-z0-9][a-z0-9._-]{0,99}$"
RUNTIME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
Source = Annotated[
    str,
    Field(
        pattern=r"^(https?://\S+|computed: .+|files: .+|operator: .+)$",
        max_length=500,
        description="Where the value is from: an address, or `computed: …`, `files: …` (read from the model's own "
        "files), `operator: …` (said by whoever runs this installation).",
    ),
]


class Task(StrEnum):
    """What a model is for."""

    CHAT = "chat"
    CODE = "code"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    CLASSIFICATION = "classification"
    VISION = "vision"
    SPEECH = "speech"


class Dtype(StrEnum):
    """What one weight is stored as."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT8 = "float8"
    INT8 = "int8"


class Strict(BaseModel):
    """Fields that aren't known are mistakes, not to be passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Count(Strict):
    """A number and where it is from."""

    value: int = Field(gt=0, lt=2**53)
    source: Source


class Text(Strict):
    """A text and where it is from."""

    value: str = Field(min_length=1, max_length=128)
    source: Source


class Flag(Strict):
    """Yes or no, and where it is from."""

    value: bool
    source: Source


class Commit(Strict):
    """A commit of the repository and where it is from."""

    value: str = Field(pattern=r"^[0-9a-f]{40}$", description="The whole hash, as the repository's history shows it.")
    source: Source


class WeightType(Strict):
    """The type of the weights and where that is from."""

    value: Dtype
    source: Source


class Entry(Strict):
    """One model of a catalogue. It comes from a `repository`, or from a `directory` of a bundle."""

    id: str = Field(pattern=SLUG, description="Of two entries with one id, that of the later file counts.")
    name: str = Field(min_length=1, max_length=120, description="What people see; the imported model is named so.")
    summary: str = Field(min_length=1, max_length=400, description="One sentence on what it is good at.")
    task: Task
    languages: tuple[str, ...] = Field(default=(), max_length=50)
    repository: str = Field(
        default="", pattern=r"^([A-Za-z0-9][\w.-]*/[\w.-]+)?$", max_length=200, description="owner/name on the hub."
    )
    revision: Commit | None = Field(default=None, description="The pinned commit; without it, the newest is resolved.")
    directory: str = Field(default="", max_length=500, description="A folder that the bundle's manifest names.")
    base_model: str = Field(default="", max_length=255, description="Of an adapter: the name of its base model here.")
    files: tuple[str, ...] = Field(default=(), max_length=50, description="Patterns of the files to take; empty: all.")
    parameters: Count | None = Field(default=None, description="How many weights.")
    dtype: WeightType | None = None
    licence: Text | None = Field(default=None, description="The SPDX id, or the name that its owner gave it.")
    gated: Flag | None = Field(default=None, description="Whether its owner asks for an agreement first.")
    context_length: Count | None = Field(default=None, description="Tokens it was made for.")
    memory: Count | None = Field(
        default=None, description="Bytes it needs at least; without it, computed from parameters and dtype."
    )
    runtime: str = Field(default="", pattern=rf"^$|{RUNTIME}", description="The recommended runtime's name.")
    options: dict[str, Any] = Field(default={}, description="The recommended options of that runtime.")

    @model_validator(mode="after")
    def _one_place(self) -> "Entry":
        if not (self.repository or self.directory):
            raise ValueError("it needs a repository or a directory")
        if self.options and not self.runtime:
            raise ValueError("options need a runtime")
        try:
            text = json.dumps(self.options, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError):
            raise ValueError("options must be what JSON can say") from None
        if b"\\u0000" in text:
            raise ValueError("options have a NUL character in a text")
        return self


class Catalogue(Strict):
    """A catalogue file."""

    version: Literal[1] = Field(description="The version of this schema.")
    models: tuple[Entry, ...] = Field(max_length=5000)


def json_schema() -> dict[str, Any]:
    """The published schema."""
    schema = Catalogue.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:modelyard:catalogue:{VERSION}",
        **schema,
        "title": f"Modelyard catalogue, version {VERSION}",
    }
