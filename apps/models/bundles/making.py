"""Makes a bundle of imported models: files, checksums, manifest and catalogue. Whole, or not there."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from django.utils import timezone

from apps.models import hashing, storage
from apps.models.archive import CHUNK
from apps.models.bundles import manifest
from apps.models.bundles.manifest import BundledFile, BundledModel, Manifest
from apps.models.catalogue import memory, schema
from apps.models.deployconfig.schema import NAME as CONFIG
from apps.models.deployconfig.schema import DeployConfig
from apps.models.models import USABLE, Model, ModelFile
from modelyard import __version__
from modelyard.problems import Problem

MADE_BY = f"modelyard {__version__}"
TASKS = {
    "feature-extraction": "embeddings", "text-ranking": "rerank", "text-classification": "classification",
    "token-classification": "classification", "image-classification": "vision", "image-text-to-text": "vision",
    "automatic-speech-recognition": "speech",
}  # fmt: skip
FILES = "files: what the import read from the model's own files"


@dataclass(frozen=True)
class Item:
    """A model to bundle and how it was deployed, if it was."""

    model: Model
    config: DeployConfig | None = None


def make(items: Sequence[Item], target: Path, progress: Callable[[str, int], None]) -> str:
    """Write the bundle into a new folder; the manifest's SHA-256. `progress` hears each file and its bytes so far."""
    items = _with_bases(items)
    for item in items:
        if item.model.status not in USABLE:
            raise Problem("model_not_ready", f"{item.model.name} isn't Ready.", "Bundle it when its import has ended.")
    if target.exists():
        raise Problem("target_exists", f"{target} is there already.", "Name a folder that isn't, or remove it.")
    unfinished = target.with_name(f"{target.name}.unfinished")
    storage.discard(unfinished)
    _room(items, target.parent)
    try:
        (unfinished / "models").mkdir(parents=True)
        found = _write(items, unfinished, progress)
        os.sync()  # a folder with its last name is on the disk: it is about to be pulled out
        unfinished.replace(target)
    except OSError as error:
        storage.discard(unfinished)
        step = "Free some space there, or name another folder."
        raise Problem("disk", f"The bundle can't be written: {error.strerror or error}.", step) from None
    return found


def _with_bases(items: Sequence[Item]) -> list[Item]:
    """Each adapter with its base before it, so that it finds it where it comes in."""
    found = {item.model.pk: item for item in items}
    for base in (item.model.base_model for item in items):
        if base is not None:
            found.setdefault(base.pk, Item(base))
    return sorted(found.values(), key=lambda item: item.model.is_adapter)


def _room(items: Sequence[Item], parent: Path) -> None:
    total = sum(item.model.size for item in items)
    try:
        free = shutil.disk_usage(parent).free
    except OSError as error:
        raise Problem("disk", f"{parent} can't be used: {error.strerror}.", "Name a folder that is there.") from None
    if free < total:
        said = f"The bundle needs {total / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free in {parent}."
        raise Problem("disk", said, "Free some space there, or name another folder.")


def _write(items: Sequence[Item], folder: Path, progress: Callable[[str, int], None]) -> str:
    taken: set[str] = set()
    bundled, entries = [], []
    for item in items:
        slug = _slug(item.model.name, taken)
        taken.add(slug)
        bundled.append(_copied(item, slug, folder, progress))
        entries.append(_entry(item, slug))
    text = yaml.safe_dump({"version": schema.VERSION, "models": entries}, sort_keys=False, allow_unicode=True)
    catalogue = _written(folder, manifest.CATALOGUE, text)
    whole = Manifest(
        version=1, made_by=MADE_BY, made_at=timezone.now().isoformat(timespec="seconds"), catalogue=catalogue,
        models=tuple(bundled),
    )  # fmt: skip
    said = _written(folder, manifest.NAME, whole.model_dump_json(indent=1))
    sums = [(f"{model.directory}/{file.path}", file.sha256) for model in bundled for file in model.files]
    sums += [(manifest.CATALOGUE, catalogue.sha256), (manifest.NAME, said.sha256)]
    _written(folder, manifest.SUMS, "".join(f"{sha256}  {path}\n" for path, sha256 in sums))
    return said.sha256


def _copied(item: Item, slug: str, folder: Path, progress: Callable[[str, int], None]) -> BundledModel:
    """Its files, each compared with what the import wrote down."""
    directory = f"models/{slug}"
    files = [_file(row, item.model, folder / directory, progress) for row in item.model.files.all()]
    if item.config is not None:
        text = json.dumps(item.config.model_dump(mode="json"), indent=1, ensure_ascii=False)
        files.append(_written(folder / directory, CONFIG, text))
    return BundledModel(id=slug, name=item.model.name[:120], directory=directory, files=tuple(files))


def _file(row: ModelFile, model: Model, folder: Path, progress: Callable[[str, int], None]) -> BundledFile:
    target = folder / row.path
    target.parent.mkdir(parents=True, exist_ok=True)
    source = storage.folder(model.pk, row.revision) / row.path
    with source.open("rb") as data, target.open("xb") as made:
        size, sha256 = hashing.copy(data, made.write, CHUNK, lambda done: progress(row.path, done))
    if (size, sha256) != (row.size, row.sha256):
        step = "The disk may be failing: delete the model and import it again."
        raise Problem("damaged", f"{row.path} of {model.name} isn't what was imported any more.", step)
    return BundledFile(path=row.path, size=size, sha256=sha256)


def _written(folder: Path, name: str, text: str) -> BundledFile:
    data = text.encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return BundledFile(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _entry(item: Item, slug: str) -> dict[str, Any]:
    """The catalogue entry of a model: what the import found out, and how it was deployed."""
    model, config = item.model, item.config
    figures = {
        "parameters": model.parameter_count, "licence": model.licence, "context_length": model.context_length,
    }  # fmt: skip
    entry: dict[str, Any] = {
        "id": slug,
        "name": model.name[:120],
        "summary": model.description[:400].strip() or f"{model.name}, from a bundle.",
        "task": _task(model),
        "directory": f"models/{slug}",
        **{name: {"value": value, "source": FILES} for name, value in figures.items() if value},
    }
    if model.base_model:
        entry["base_model"] = model.base_model.name
    size = model.size + (model.base_model.size if model.base_model else 0)
    if size:
        source = f"computed: bytes of the files × {memory.OVERHEAD}"
        entry["memory"] = {"value": round(size * memory.OVERHEAD), "source": source}
    if config is not None and config.runtime:
        entry |= {"runtime": config.runtime, "options": config.options}
    return schema.Entry.model_validate(entry).model_dump(mode="json", exclude_unset=True)


def _task(model: Model) -> str:
    return TASKS.get(model.task, "chat")


def _slug(name: str, taken: set[str]) -> str:
    """An id made of a name; with a number behind it where that is taken."""
    base = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:80] or "model"
    candidates = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)
