"""Bytes from one place to another with their SHA-256, which a second thread computes meanwhile."""

import hashlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

AHEAD = 8  # pieces that may wait for the hash; with those of 1 MiB a copy holds at most so many MiB


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes; none at the end."""


class Digest:
    """A SHA-256 fed from one thread and computed in another: hashlib, zlib and the disk all let go of the GIL."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._thread = threading.Thread(target=self._work, name="sha256", daemon=True)

    def __enter__(self) -> "Digest":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.put(None)
        self._thread.join()

    def update(self, piece: bytes) -> None:
        """Take a piece; waits while too many are waiting."""
        self._room.acquire()
        self._pieces.put(piece)

    def hexdigest(self) -> str:
        """The sum of everything; to be asked after the end of the `with`."""
        return self._hash.hexdigest()

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._hash.update(piece)
            self._room.release()


def copy(
    source: Readable, write: Callable[[bytes], object], chunk: int, each: Callable[[int], None]
) -> tuple[int, str]:
    """Everything of `source` to `write`: how many bytes and their SHA-256.

    `each` hears the bytes so far before they are written, and ends the copy by raising.
    """
    size = 0
    with Digest() as digest:
        while data := source.read(chunk):
            size += len(data)
            each(size)
            digest.update(data)
            write(data)
    return size, digest.hexdigest()
