"""The end of a zip, read before anything else: how large a directory would opening it read into memory?"""

import os
import struct
import zipfile
import zlib
from typing import IO

MAX_DIRECTORY = 32 * 2**20  # bytes; 20,000 entries with long names have a quarter of that
END, END64, LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, struct.error, RuntimeError)
"""What Python's zip reader raises for an archive that isn't what it says."""
COMMENT = 64 * 1024


def plausible(file: IO[bytes]) -> bool:
    """Is the directory no larger than that of an honest archive? True too for what is no zip at all."""
    size = file.seek(0, os.SEEK_END)
    start = max(size - COMMENT - 22 - 20, 0)
    file.seek(start)
    tail = file.read()
    sizes = [_directory(tail, at) for at in _all(tail, END)]
    for at in _all(tail, LOCATOR64):
        file.seek(min(struct.unpack("<Q", (tail[at + 8 : at + 16] + bytes(8))[:8])[0], size))
        sizes.append(_directory64(file.read(56)))
        file.seek(max(start + at - 56, 0))  # where readers look that don't believe the locator
        sizes.append(_directory64(file.read(56)))
    file.seek(0)
    return all(each <= MAX_DIRECTORY or each == 0xFFFFFFFF for each in sizes)


def _all(tail: bytes, mark: bytes) -> list[int]:
    found: list[int] = []
    at = tail.find(mark)
    while at >= 0 and len(found) < 1000:
        found.append(at)
        at = tail.find(mark, at + 1)
    return found


def _directory(tail: bytes, at: int) -> int:
    return int(struct.unpack("<L", (tail[at + 12 : at + 16] + bytes(4))[:4])[0])


def _directory64(record: bytes) -> int:
    return int(struct.unpack("<Q", record[40:48])[0]) if record[:4] == END64 and len(record) >= 48 else 0
