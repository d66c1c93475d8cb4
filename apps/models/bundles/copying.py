"""The files of a bundled model into a folder of ours, each checked against the bundle's manifest on the way."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

from apps.models import archive, hashing, names
from apps.models.archive import FREE_RESERVE, Unpacked
from apps.models.bundles import manifest
from apps.models.bundles.manifest import BundledFile, BundledModel
from apps.models.rules import Blocked

RULE = "MYI035"
STEP = "Copy the bundle again, or make it again with `modelyard bundle`; then retry the import."


def copy(root: Path, directory: str, folder: Path, limit: int, progress: Callable[[int, int], None]) -> list[Unpacked]:
    """Every file that the manifest names, and no other. Blocked at the first that isn't what the manifest says."""
    try:
        model = manifest.model_of(root, directory)
    except manifest.Broken as error:
        raise Blocked(RULE, f"The bundle in {root} can't be used: {error}.", STEP) from None
    source = root / directory
    try:
        _names(model, source)
    except OSError as error:
        raise _unreadable(directory, error) from None
    total = sum(file.size for file in model.files)
    _room(folder, total, limit)
    done: list[Unpacked] = []
    written = 0
    for file in model.files:
        start = written
        done.append(_one(source, file, folder, lambda size, start=start: progress(start + size, total)))  # type: ignore[misc]
        written += file.size
    return done


class Source:
    """A file of the bundle. That it can't be read is said of the bundle, and not of the disk that is written."""

    def __init__(self, stream: IO[bytes], path: str) -> None:
        self.stream, self.path = stream, path

    def read(self, size: int) -> bytes:
        """The next bytes."""
        try:
            return self.stream.read(size)
        except OSError as error:
            raise _unreadable(self.path, error) from None


def _unreadable(path: str, error: OSError) -> Blocked:
    step = "Attach the bundle's disk again if it was taken away, or copy the bundle again; then retry the import."
    return Blocked(RULE, f"{path} can't be read ({error.strerror or error}).", step)


def _names(model: BundledModel, source: Path) -> None:
    """No name twice, in no spelling; and nothing in the folder that the manifest doesn't name."""
    named = {file.path for file in model.files}
    if double := names.double([file.path for file in model.files]):
        raise Blocked("MYI004", f"The name {double} stands in the bundle twice.", "Rename one, and bundle again.")
    there = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_symlink() or not path.is_dir()}
    if strange := sorted(there - named):
        raise Blocked(RULE, f"{strange[0]} is in the bundle's folder, but not in its manifest.", STEP)


def _room(folder: Path, total: int, limit: int) -> None:
    if total > limit:
        step = "Ask the operator to raise MODELYARD_MAX_UNPACKED_BYTES."
        raise Blocked("MYI006", f"The model has {total} bytes, {limit} are allowed.", step)
    free = shutil.disk_usage(folder).free
    if free < total + FREE_RESERVE:
        said = f"The model needs {total / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free."
        raise Blocked("MYI008", said, "Free some space in the data directory, then retry the import.")


def _one(source: Path, file: BundledFile, folder: Path, progress: Callable[[int], None]) -> Unpacked:
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with _opened(source, file) as opened, target.open("xb") as made:
        data = Source(opened, file.path)

        def each(size: int) -> None:
            if size > file.size:
                raise Blocked(RULE, f"{file.path} is longer than the manifest says.", STEP)
            progress(size)

        size, sha256 = hashing.copy(data, lambda piece: archive.write(made, piece), archive.CHUNK, each)
    if size != file.size:
        raise Blocked(RULE, f"{file.path} has {size} bytes, the manifest says {file.size}.", STEP)
    if sha256 != file.sha256:
        raise Blocked(RULE, f"{file.path} isn't the file of the manifest: its SHA-256 is another.", STEP)
    return Unpacked(file.path, size, sha256)


def _opened(source: Path, file: BundledFile) -> IO[bytes]:
    """The file itself. A link, at any step of the way, would lead out of the bundle; a pipe would never end."""
    path = source / file.path
    try:
        if path.resolve() != source.resolve() / file.path:
            raise Blocked("MYI003", f"{file.path} is a link, or lies behind one.", STEP)
        opened = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise _unreadable(file.path, error) from None
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise Blocked("MYI003", f"{file.path} is no ordinary file.", STEP)
    return opened
