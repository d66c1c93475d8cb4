"""Where the files of models and uploads are: one folder or file each under the data directory."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import date
from pathlib import Path

from django.conf import settings

from apps.models import blobs

BEING_MADE = ".importing"
ASIDE = ".strays"
TEMPORARY = "tmp"  # what Python and Django begin the names of temporary files with
OURS = ("mdl_", "upl_", TEMPORARY)
"""What names begin with that Modelyard makes here; whatever else somebody put here stays."""


def folder(model_id: str, revision: int = 1) -> Path:
    """The folder of the files of one revision of a model."""
    return Path(settings.MODELS_DIR) / (model_id if revision == 1 else f"{model_id}.r{revision}")


def upload(model_id: str) -> Path:
    """The archive that a model is imported from; gone once the import has ended well."""
    return Path(settings.UPLOADS_DIR) / f"{model_id}.zip"


def free_bytes() -> int:
    """Free bytes of the disk that models are on."""
    return shutil.disk_usage(settings.MODELS_DIR).free


def begun(model_id: str) -> Path:
    """The folder beside the model's own with whatever an earlier try left in it: for imports that go on."""
    path = half_made(model_id)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def half_made(model_id: str) -> Path:
    """Where that folder is, if there is one."""
    return folder(model_id).with_name(f"{model_id}{BEING_MADE}")


def fresh(model_id: str) -> Path:
    """An empty folder to unpack into, beside the model's own; what an interrupted import left there is removed."""
    path = half_made(model_id)
    discard(path)
    path.mkdir(mode=0o700)
    return path


def publish(made: Path, model_id: str, revision: int, hashes: Mapping[str, str]) -> None:
    """Make the unpacked folder that of a revision, in one step; its files can't be written any more.

    `hashes` has the SHA-256 of each file: what another model has already is kept once. Other files go.
    """
    for path in list(made.rglob("*")):
        if path.is_file():
            known = hashes.get(path.relative_to(made).as_posix())
            if known is None:
                path.unlink()  # nobody has looked at it
                continue
            path.chmod(0o400)
            blobs.share(path, known)
    discard(folder(model_id, revision))
    made.replace(folder(model_id, revision))
    _sync_entry(made.parent)


def sync(made: Path, alive: Callable[[], None]) -> None:
    """Wait until a folder is on the disk itself, so that no power cut takes it; `alive` is called meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(_sync, made)
        while not wait([written], timeout=1).done:
            alive()
        written.result()


def _sync(made: Path) -> None:
    for path in (*made.rglob("*"), made):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        _sync_entry(path)


def _sync_entry(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def discard(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove(model_id: str) -> None:
    """Remove everything of a model."""
    own = folder(model_id)
    for path in (own, *own.parent.glob(f"{model_id}.r*"), own.with_name(f"{model_id}{BEING_MADE}"), upload(model_id)):
        discard(path)


def take(source: Path, model_id: str) -> None:
    """Keep a received archive for the import: the same file where possible, copied from another file system.

    What it was received as stays (where there are hard links), for whoever has to go back.
    """
    target = upload(model_id)
    try:
        os.link(source, target)
    except OSError:
        _move(source, target)
    target.chmod(0o600)
    os.utime(target)  # however old the file is, it came now: `strays` and others go by that


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError:
            discard(target)  # on a full disk, a part of it is in the way
            raise


def archives() -> dict[str, Path]:
    """Every archive that is kept for an import, by the model's ID."""
    return {path.stem: path for path in Path(settings.UPLOADS_DIR).glob("*.zip")}


def half_made_before(moment: float) -> dict[str, Path]:
    """Folders of imports in which nothing was made since that moment (epoch seconds), by the model's ID."""
    found = {}
    for path in Path(settings.MODELS_DIR).glob(f"*{BEING_MADE}"):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_mtime < moment:  # noqa: PTH116
                found[path.name.removesuffix(BEING_MADE)] = path
    return found


def strays(known: Iterable[str], older_than: float) -> list[Path]:
    """Files and folders of ours that the database doesn't know, last changed before that moment (epoch seconds)."""
    names = set(known)
    found = []
    for root in _roots():
        for path in root.iterdir():
            model_id = path.name.split(".", 1)[0]
            with contextlib.suppress(FileNotFoundError):
                if path.name.startswith(OURS) and model_id not in names and os.stat(path).st_mtime < older_than:  # noqa: PTH116
                    found.append(path)
    return found


def set_aside(path: Path) -> None:
    """Move a stray into a folder of today's beside it; what a request that was cut off had put down just goes."""
    if path.name.startswith(TEMPORARY):
        discard(path)
        return
    aside = path.parent / ASIDE / date.today().isoformat()
    aside.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(OSError):  # gone meanwhile, or one of that name was set aside today: it waits
        path.rename(aside / path.name)


def forget_aside(days: int) -> None:
    """Remove what was set aside so many days ago."""
    for root in _roots():
        for path in (root / ASIDE).glob("*-*-*"):
            with contextlib.suppress(ValueError):  # somebody's own folder
                if (date.today() - date.fromisoformat(path.name)).days > days:
                    discard(path)


def _roots() -> tuple[Path, Path]:
    return Path(settings.MODELS_DIR), Path(settings.UPLOADS_DIR)
