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
MAX_MARKS = 100  # that may stand for the end of a directory; honest archives have one, and what a comment quotes
IN_64 = 0xFFFFFFFF  # as the size of a directory: the record of 64 bits says it


def plausible(file: IO[bytes]) -> bool:
    """Is the directory no larger than that of an honest archive? True too for what is no zip at all.

    Every mark in the tail counts, since readers differ in which one they believe.
    """
    size = file.seek(0, os.SEEK_END)
    start = max(size - COMMENT - 22 - 20 - 56, 0)
    file.seek(start)
    tail = file.read()
    ends, locators = _all(tail, END), _all(tail, LOCATOR64)
    sizes = [_directory(tail, at) for at in ends]
    for at in locators:
        file.seek(min(struct.unpack("<Q", (tail[at + 8 : at + 16] + bytes(8))[:8])[0], size))
        sizes.append(_directory64(file.read(56)))
        sizes.append(_directory64(tail[max(at - 56, 0) : at]))  # where readers look that don't believe the locator
    file.seek(0)
    return max(len(ends), len(locators)) < MAX_MARKS and all(each <= MAX_DIRECTORY for each in sizes)


def _all(tail: bytes, mark: bytes) -> list[int]:
    found: list[int] = []
    at = tail.find(mark)
    while at >= 0 and len(found) < MAX_MARKS:
        found.append(at)
        at = tail.find(mark, at + 1)
    return found


def _directory(tail: bytes, at: int) -> int:
    """As the end says it; 0 where it leaves that to a record of 64 bits that is there."""
    size = int(struct.unpack("<L", (tail[at + 12 : at + 16] + bytes(4))[:4])[0])
    record, locator = tail[max(at - 76, 0) : max(at - 20, 0)], tail[max(at - 20, 0) : at]
    return 0 if size == IN_64 and record[:4] == END64 and locator[:4] == LOCATOR64 else size


def _directory64(record: bytes) -> int:
    return int(struct.unpack("<Q", record[40:48])[0]) if record[:4] == END64 and len(record) >= 48 else 0
