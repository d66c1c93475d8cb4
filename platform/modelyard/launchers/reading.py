"""Reads an engine's log as one text over its rotated files: from the end, from where a reader was, or by a word."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.launchers.log import KEPT, rotated

BLOCK = 256 * 1024  # bytes that are read at once
START = re.compile(rb"^--- start (\d{1,9}), ", re.MULTILINE)
"""What the shim writes before each launch."""


@dataclass(frozen=True)
class Piece:
    """A stretch of the log. `cursor` is where it ends and the next reading begins, `begin` where it begins.

    `text` has whole lines only; `rest` is what was printed of a line that hasn't ended. `lost` says that the place
    to go on from is gone: the files were rotated away meanwhile.
    """

    text: bytes
    cursor: str
    begin: str
    rest: bytes = b""
    lost: bool = False
    first: bool = False


@dataclass(frozen=True)
class Matches:
    """Lines that have a word, oldest first, with the cursor before each; `more` says that there are older ones."""

    lines: Sequence[tuple[str, bytes]]
    more: bool
    searched: int  # bytes


@dataclass(frozen=True)
class Part:
    """One opened file: its inode is what a cursor finds it by, wherever a rotation puts it."""

    descriptor: int
    inode: int
    size: int


class LogReader:
    """The log as it is at this moment; places in it count bytes from its oldest file on. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.parts: list[Part] = []
        for number in range(KEPT):  # newest first: a rotation in between shows a file twice, but hides none
            with contextlib.suppress(OSError):
                self._add(os.open(rotated(path, number), os.O_RDONLY))
        self.parts.reverse()
        self.size = sum(part.size for part in self.parts)

    def _add(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if any(part.inode == found.st_ino for part in self.parts):
            os.close(descriptor)
            return
        self.parts.append(Part(descriptor, found.st_ino, found.st_size))

    def __enter__(self) -> "LogReader":
        return self

    def __exit__(self, *_: object) -> None:
        for part in self.parts:
            os.close(part.descriptor)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one place to another, over the files."""
        found, base = b"", 0
        for part in self.parts:
            low, high = max(start - base, 0), min(end - base, part.size)
            if low < high:
                found += os.pread(part.descriptor, high - low, low)
            base += part.size
        return found

    def cursor(self, place: int) -> str:
        """A place in words that hold when the files are rotated."""
        base = 0
        for part in self.parts:
            if place < base + part.size or part is self.parts[-1]:
                return f"{part.inode}-{place - base}"
            base += part.size
        return "0-0"

    def place(self, cursor: str) -> int | None:
        """The place that a cursor means now; None if it is gone."""
        inode, _, offset = cursor.partition("-")
        if cursor == "0-0":
            return 0
        base = 0
        for part in self.parts:
            if inode == str(part.inode) and offset.isdecimal() and int(offset) <= part.size:
                return base + int(offset)
            base += part.size
        return None

    def before(self, place: int, most: int) -> Piece:
        """The last whole lines before a place, so many bytes at most."""
        start = max(place - most, 0)
        text = self.read(start, place)
        if start:
            cut = text.find(b"\n") + 1
            start, text = start + cut, text[cut:]
        end = text.rfind(b"\n") + 1
        rest, text = text[end:], text[:end]
        return Piece(text, self.cursor(start + end), self.cursor(start), rest, first=start == 0)

    def after(self, cursor: str, most: int) -> Piece:
        """What was printed since, so many bytes at most; the end of the log if the place is gone."""
        start = self.place(cursor)
        if start is None:
            found = self.before(self.size, most)
            return Piece(found.text, found.cursor, found.begin, found.rest, lost=True)
        text = self.read(start, min(start + most, self.size))
        end = text.rfind(b"\n") + 1 or (len(text) if len(text) == most else 0)
        rest = text[end:] if start + len(text) == self.size else b""
        return Piece(text[:end], self.cursor(start + end), cursor, rest)

    def stretch(self, launch: int) -> tuple[int, int]:
        """From where to where a launch printed; nothing if its beginning was rotated away or never was."""
        begin, end = None, self.size
        for place, number in self.starts():
            if number == launch:
                begin = place
            elif begin is not None and number > launch:
                end = place
                break
        return (end, end) if begin is None else (begin, end)

    def starts(self) -> Iterator[tuple[int, int]]:
        """Where each launch begins, oldest first."""
        for base, text in self._blocks():
            for found in START.finditer(text):
                yield base + found.start(), int(found[1])

    def search(self, word: str, most: int, start: int = 0, end: int | None = None) -> Matches:
        """The newest lines with that word, whatever its case, in a stretch or the whole log."""
        needle = word.lower().encode()
        end = self.size if end is None else end
        found: list[tuple[str, bytes]] = []
        upper = end
        for base, text in self._blocks_back(start, end):
            upper = base
            if needle not in text.lower():
                continue
            for place, line in reversed(list(_lines(text, base))):
                if needle in line.lower():
                    if len(found) == most:
                        return Matches(found[::-1], True, end - base)
                    found.append((self.cursor(place), line))
        return Matches(found[::-1], False, end - upper)

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        """The log in blocks of whole lines, from its beginning."""
        place = 0
        while place < self.size:
            text = self.read(place, min(place + BLOCK, self.size))
            if not text:
                return  # cut off under us
            keep = text.rfind(b"\n") + 1 or len(text)
            yield place, text[:keep]
            place += keep

    def _blocks_back(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """The same from the end."""
        while end > start:
            begin = max(end - BLOCK, start)
            text = self.read(begin, end)
            if begin > start:
                cut = text.find(b"\n", 0, -1) + 1
                begin, text = begin + cut, text[cut:]
            if not text:
                return
            yield begin, text
            end = begin


def _lines(text: bytes, base: int) -> Iterator[tuple[int, bytes]]:
    for line in text.split(b"\n"):
        if line:
            yield base, line
        base += len(line) + 1
