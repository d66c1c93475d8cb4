"""What a deployconfig.json may say: the classes that read and write it, and that its published schema is made from."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME = "deployconfig.json"
VERSION = 1
Tag = Annotated[str, Field(min_length=1, max_length=50)]


class Strict(BaseModel):
    """Fields that aren't known are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Origin(Strict):
    """The model that it was written for; to be read by people, not compared."""

    name: str = Field(default="", max_length=255)
    task: str = Field(default="", max_length=64)
    format: str = Field(default="", max_length=16)


class Optimization(Strict):
    """The recipe that the version was optimized with, and how its proof was asked for."""

    recipe: str = Field(min_length=1, max_length=64)
    threshold: float = Field(default=0.98, ge=0, le=1, description="Least agreement with the original's answers.")
    samples: str = Field(default="", max_length=1_000_000, description="Own samples, JSONL.")


class Scaling(Strict):
    """How many engines, and how long a start may take."""

    replicas: int = Field(default=1, ge=1, le=50)
    ready_seconds: int | None = Field(default=None, ge=1, le=86_400)


class DeployConfig(Strict):
    """How a model was deployed."""

    version: Literal[1] = Field(description="The version of this schema.")
    made_by: str = Field(default="", max_length=100)
    model: Origin = Origin()
    runtime: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9_-]{0,63})?$", description="Empty: chosen anew.")
    options: dict[str, Any] = Field(default={}, description="The runtime's options: parameters of model and engine.")
    optimization: Optimization | None = None
    scaling: Scaling = Scaling()
    description: str = Field(default="", max_length=10_000)
    tags: tuple[Tag, ...] = Field(default=(), max_length=20)


def json_schema() -> dict[str, Any]:
    """The published schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:modelyard:deployconfig:{VERSION}",
        **DeployConfig.model_json_schema(),
        "title": f"Modelyard deployconfig.json, version {VERSION}",
    }
