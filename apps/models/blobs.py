"""The same content is on disk once: files of models are hard links to one file a SHA-256.

Whoever deletes a model deletes its names; a content that no model names any more is swept. No counts are kept, so none
can be wrong: the file system knows how many names a file has.
"""

import contextlib
import os
import re
import uuid
from pathlib import Path

from django.conf import settings

SHA256 = re.compile("[0-9a-f]{64}")


def share(path: Path, sha256: str) -> bool:
    """Make the file a link to the stored content of that hash, or store it; True if there was one already.

    On a file system without hard links the file stays as it is.
    """
    stored = _path(sha256)
    stored.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, stored)
    except FileExistsError:
        return _take(stored, path)
    except OSError:
        return False  # a file system without hard links
    return False


def has(sha256: str, size: int) -> bool:
    """Is the content of that hash stored, with that size? The hash may be anybody's word."""
    try:
        return bool(SHA256.fullmatch(sha256)) and _path(sha256).stat().st_size == size
    except OSError:
        return False


def take(sha256: str, size: int, path: Path) -> bool:
    """Make `path` the stored content of that hash, if there is one of that size; True if there was."""
    if not has(sha256, size):
        return False
    stored = _path(sha256)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(stored, path)
    except OSError:
        return False
    return True


def _take(stored: Path, path: Path) -> bool:
    beside = path.with_name(f".{uuid.uuid4().hex}")
    try:
        if stored.stat().st_size != path.stat().st_size:
            return False  # whatever that is, it isn't the same
        if stored.samefile(path):
            return True
        os.link(stored, beside)
    except OSError:
        return False  # swept at this moment, or too many names
    beside.replace(path)
    return True


def sweep() -> int:
    """Remove what no model names any more; bytes that were freed."""
    freed = 0
    for path in _root().glob("??/*"):
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            if found.st_nlink == 1:
                path.unlink()
                freed += found.st_size
    return freed


def _root() -> Path:
    return Path(settings.MODELS_DIR) / ".content"


def _path(sha256: str) -> Path:
    return _root() / sha256[:2] / sha256
