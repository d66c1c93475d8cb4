"""The engine's log: rotated while it is written, and its end read without reading the whole."""

import contextlib
import os
import threading
from pathlib import Path

SIZE = 10 * 2**20  # bytes of one file
KEPT = 3  # files, the one being written included
TAIL_BYTES = 512 * 1024  # read at most for a tail, per file


class RotatingLog:
    """Writes bytes as they come. Never raises: an engine must not block or die because its log can't be written."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self.path = path
        self.size = size
        self.lock = threading.Lock()
        self.file = self._open()

    def write(self, data: bytes) -> None:
        """Append; what the disk doesn't take is lost."""
        with self.lock, contextlib.suppress(OSError):
            if self.file is None:
                self.file = self._open()
            if self.file is not None:
                os.write(self.file, data)
                if os.fstat(self.file).st_size > self.size:
                    self._rotate()

    def _open(self) -> int | None:
        with contextlib.suppress(OSError):
            return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return None

    def _rotate(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None
        for number in range(KEPT - 1, 0, -1):
            older = rotated(self.path, number - 1)
            if older.exists():
                older.replace(rotated(self.path, number))
        self.file = self._open()


def rotated(path: Path, number: int) -> Path:
    """The file that was rotated so many times."""
    return path.with_name(f"{path.name}.{number}") if number else path


def tail(path: Path, lines: int) -> list[str]:
    """The last lines, oldest first, over rotated files; what isn't UTF-8 is replaced."""
    found = b""
    for number in range(KEPT):
        read, whole = _last_bytes(rotated(path, number))
        found = read + found  # joined before it is split: a rotation may have come in the middle of a line
        if not whole or found.count(b"\n") > lines:
            break
    return found.decode(errors="replace").splitlines()[-lines:] if lines > 0 else []


def _last_bytes(path: Path) -> tuple[bytes, bool]:
    """The end of a file, and whether that is all of it."""
    try:
        with path.open("rb") as file:
            start = max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0)
            file.seek(start)
            return file.read(TAIL_BYTES), start == 0
    except OSError:
        return b"", True
