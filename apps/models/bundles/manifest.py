"""The manifest of a bundle: which models are in it, and the size and SHA-256 of each of their files."""

import json
import re
import unicodedata
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from apps.models import names

VERSION = 1
NAME, CATALOGUE, SUMS = "manifest.json", "catalogue.yaml", "SHA256SUMS"
MAX_MANIFEST = 64 * 2**20  # bytes
MAX_FILES = 20_000  # of one model
DRIVE = re.compile(r"^[A-Za-z]:")


class Broken(Exception):
    """What is wrong with a bundle; names the file."""


def inside(path: str) -> str:
    """A path that leads below a folder, as one wrote it on any system; ValueError for any other."""
    if names.too_long(path):
        raise ValueError(f"it has more than {names.MAX_PARTS} parts or {names.MAX_PATH} characters")
    parts = PurePosixPath(path).parts
    if (
        not parts or path.startswith("/") or "\\" in path or ".." in parts or DRIVE.match(path)
        or not path.isprintable() or str(PurePosixPath(*parts)) != path or unicodedata.normalize("NFC", path) != path
    ):  # fmt: skip
        raise ValueError("it isn't a plain path below the folder")
    return path


Inside = Annotated[str, Field(min_length=1, max_length=names.MAX_PATH), AfterValidator(inside)]


class Strict(BaseModel):
    """Fields that aren't known are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BundledFile(Strict):
    """One file."""

    path: Inside
    size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class BundledModel(Strict):
    """One model: the folder of its files."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$", description="The id of its catalogue entry.")
    name: str = Field(min_length=1, max_length=120)
    directory: Inside = Field(description="Its folder in the bundle.")
    files: tuple[BundledFile, ...] = Field(min_length=1, max_length=MAX_FILES, description="Paths below that folder.")


class Manifest(Strict):
    """What `modelyard bundle` wrote."""

    version: Literal[1] = Field(description="The version of this schema.")
    made_by: str = Field(max_length=100)
    made_at: str = Field(max_length=40, description="ISO 8601, UTC.")
    catalogue: BundledFile = Field(description="The catalogue file of the bundle.")
    models: tuple[BundledModel, ...] = Field(max_length=5000)


def json_schema() -> dict[str, Any]:
    """The published schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:modelyard:bundle:{VERSION}",
        **Manifest.model_json_schema(),
        "title": f"Modelyard bundle manifest, version {VERSION}",
    }


def load(root: Path) -> Manifest:
    """The manifest of a bundle. Broken if there is none that can be used."""
    path = root / NAME
    try:
        state = path.stat()
    except OSError as error:
        raise Broken(f"{NAME} can't be read ({error.strerror})") from None
    if state.st_size > MAX_MANIFEST:
        raise Broken(f"{NAME} is larger than {MAX_MANIFEST // 2**20} MiB")
    return _load(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _load(path: Path, _changed: int, _size: int) -> Manifest:
    try:
        text = path.read_bytes()
        found = json.loads(text)
        if isinstance(found, dict) and found.get("version") != VERSION:
            raise Broken(f"{NAME} is of version {found.get('version')!s:.20}, this Modelyard reads {VERSION}")
        return Manifest.model_validate_json(text)
    except OSError as error:
        raise Broken(f"{NAME} can't be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Broken(f"{NAME} can't be used: {where}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise Broken(f"{NAME} isn't JSON ({str(error)[:100]})") from None


def model_of(root: Path, directory: str) -> BundledModel:
    """The model in that folder of a bundle. Broken if the manifest doesn't name it."""
    found = next((model for model in load(root).models if model.directory == directory), None)
    if found is None:
        raise Broken(f"{NAME} names no model in {directory!r:.200}")
    return found
