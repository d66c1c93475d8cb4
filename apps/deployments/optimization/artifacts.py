"""What recipes made: folders that are found again by what they were made from, and never written afterwards."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from apps.deployments.models import Artifact, Replica
from apps.deployments.statuses import ReplicaState
from apps.models.installation import operations as installation
from modelyard import ids
from modelyard.runtimes import Failure, Model, Recipe

MAKING = ".making"
SPARE_BYTES = 64 << 20
CHUNK = 1 << 20


def key(model: Model, runtime: str, distribution: str, recipe: Recipe) -> str:
    """What an artifact is made from, as one digest: the model's contents, the plugin and its version, the recipe."""
    contents = sorted((file.path, file.sha256) for file in model.files)
    made_from = [contents or model.id, runtime, distribution, recipe.name, dict(recipe.options)]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def find(wanted: str) -> Artifact | None:
    """The artifact made from that, if its files are all there."""
    artifact = Artifact.objects.filter(key=wanted).first()
    if artifact and not intact(artifact):
        artifact.delete()
        return None
    return artifact


def folder(artifact: Artifact) -> Path:
    """Where its files are."""
    return Path(settings.ARTIFACTS_DIR) / artifact.pk


def intact(artifact: Artifact) -> bool:
    """Whether each file is there in its size."""
    root = folder(artifact)
    return all(_size(root / file["path"]) == file["size"] for file in artifact.files)


def output(replica: Replica) -> Path:
    """Where a recipe's process writes."""
    return Path(settings.ARTIFACTS_DIR) / f"{replica.pk}{MAKING}"


def fresh_output(replica: Replica, model: Model) -> Path:
    """An empty folder for a recipe's process. Failure if the disk has no room for another copy of the model."""
    root = Path(settings.ARTIFACTS_DIR)
    need, free = sum(file.size for file in model.files) + SPARE_BYTES, shutil.disk_usage(root).free
    if free < need:
        raise Failure(
            "disk_full",
            f"The artifact may need {need / 2**20:.0f} MiB of disk; {free / 2**20:.0f} MiB are free. "
            "The model is as it was.",
            "Free space on the data directory's disk, then re-trigger.",
            permanent=True,
        )
    path = output(replica)
    discard(path)
    path.mkdir(mode=0o700)
    return path


def adopt(
    made: Path, wanted: str, hold_on: Callable[[], None], *, model_id: str, runtime: str, recipe: str
) -> Artifact:
    """Make what a recipe wrote an artifact: checksums taken, write-protected, moved to its place in one step.

    `hold_on` is called all the while, and may raise to end it. What was adopted before, by a worker that was killed
    then, is used; so is the same if another deployment has made it meanwhile. Failure if it is empty.
    """
    if not made.exists() and (found := find(wanted)):
        return found
    files = list(_described(made, hold_on))
    if not files:
        raise Failure(
            "artifact_empty",
            "The recipe ended well but wrote nothing. The model is as it was.",
            "This is a fault of the runtime plugin: report it, and deploy without the optimization.",
            permanent=True,
        )
    artifact = Artifact(id=ids.artifact(), key=wanted, model_id=model_id, runtime=runtime, recipe=recipe)
    artifact.files, artifact.size = files, sum(file["size"] for file in files)
    made.replace(folder(artifact))
    try:
        with transaction.atomic():
            artifact.save(force_insert=True)
    except IntegrityError:
        discard(folder(artifact))
        return Artifact.objects.get(key=wanted)
    return artifact


def _described(made: Path, hold_on: Callable[[], None]) -> Iterator[Mapping[str, Any]]:
    for path in sorted(made.rglob("*")):
        if path.is_symlink():
            path.unlink()
        elif path.is_file():
            path.chmod(0o400)
            yield {"path": str(path.relative_to(made)), "size": path.stat().st_size, "sha256": _sha256(path, hold_on)}


def _sha256(path: Path, hold_on: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            hold_on()
    return digest.hexdigest()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def discard(path: Path) -> None:
    """Remove a folder or file, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep() -> None:
    """Remove what nobody needs: artifacts of deleted models, and what recipes that have ended left."""
    if not installation.ours():
        return  # the artifacts are another database's
    kept = set(Artifact.objects.values_list("pk", flat=True))
    kept |= {
        f"{replica}{MAKING}"
        for replica in Replica.objects.exclude(state=ReplicaState.ENDED).values_list("pk", flat=True)
    }
    for path in Path(settings.ARTIFACTS_DIR).glob("*_*"):
        if path.name not in kept and path.name.startswith(("art_", "rep_")):
            discard(path)
