"""What engines printed, for people: followed, searched, by replica and by start; without secrets and control codes."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apps.deployments.masking import masked
from apps.deployments.models import Deployment, Replica
from apps.deployments.reconciler.engines import secrets_of
from modelyard import launchers
from modelyard.launchers.reading import BLOCK, LogReader, Piece

PAGE_BYTES = 96 * 1024  # of one look
FOUND = 200  # lines that a search shows
LINE = 4000  # characters of a line that are shown; the download has all
STARTS = 50  # that can be chosen from
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
LEVEL = re.compile(
    r"^(?:[^A-Za-z]*|.{0,40}?[\s\[(|:-])\b(CRITICAL|FATAL|ERROR|WARNING|WARN|INFO|DEBUG|TRACE)\b(?=[\s\]):|-]|$)"
)
"""A level where loggers write it: near the line's beginning, in capitals. A line without one has none."""
LETTER = re.compile(r"^\d[\d.:]* ([EWID]) ")
LEVELS = {"CRITICAL": "error", "FATAL": "error", "ERROR": "error", "WARNING": "warn", "WARN": "warn",
          "INFO": "info", "DEBUG": "debug", "TRACE": "debug",
          "E": "error", "W": "warn", "I": "info", "D": "debug"}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """The log of one replica, or of one of its starts."""

    replica: Replica
    launch: int = 0

    def stretch(self, log: LogReader) -> tuple[int, int]:
        """The part of the log that is meant."""
        return log.stretch(self.launch) if self.launch else (0, log.size)


def source(deployment: Deployment, replica: str = "", launch: str = "") -> Source | None:
    """What a page asks for; the newest replica unless it says. None if there is none."""
    rows = deployment.replicas.order_by("-created_at")
    found = rows.filter(pk=replica).first() if replica else rows.first()
    if found is None:
        return None
    number = int(launch) if launch.isascii() and launch.isdecimal() and len(launch) < 10 else 0
    return Source(found, number)


def starts(source: Source) -> list[int]:
    """The starts whose beginning is still in the log, newest first."""
    with launchers.default().log(source.replica.pk) as log:
        found = {number for _, number in log.starts() if 0 < number <= source.replica.launches}
    return sorted(found, reverse=True)[:STARTS]


def tail(source: Source) -> dict[str, Any]:
    """The last lines, and where to go on."""
    with launchers.default().log(source.replica.pk) as log:
        begin, end = source.stretch(log)
        return _shown(source, log.before(end, min(PAGE_BYTES, end - begin)))


def follow(source: Source, cursor: str) -> dict[str, Any]:
    """What was printed since."""
    with launchers.default().log(source.replica.pk) as log:
        return _shown(source, log.after(cursor, PAGE_BYTES))


def earlier(source: Source, cursor: str) -> dict[str, Any]:
    """The lines before those that a page shows."""
    with launchers.default().log(source.replica.pk) as log:
        begin, _ = source.stretch(log)
        place = log.place(cursor)
        if place is None:
            return {"lines": [], "begin": "", "first": True, "lost": True}
        piece = log.before(place, min(PAGE_BYTES, max(place - begin, 0)))
        return _shown(source, piece)


def search(source: Source, word: str) -> dict[str, Any]:
    """The newest lines that have a word; what is secret can't be found either."""
    with launchers.default().log(source.replica.pk) as log:
        begin, end = source.stretch(log)
        found = log.search(word, FOUND, begin, end)
    pairs = [(cursor, lines_of(line, source.replica)) for cursor, line in found.lines]
    shown = [
        {**line, "at": cursor} for cursor, lines in pairs for line in lines if word.lower() in line["text"].lower()
    ]
    return {"lines": shown, "more": found.more, "searched": found.searched}


def around(source: Source, cursor: str) -> dict[str, Any]:
    """What stands around a line that a search found."""
    with launchers.default().log(source.replica.pk) as log:
        place = log.place(cursor)
        if place is None:
            return {**_shown(source, log.before(log.size, PAGE_BYTES)), "lost": True}
        begin, end = source.stretch(log)
        upper = min(place + PAGE_BYTES // 2, end)
        return _shown(source, log.before(upper, min(PAGE_BYTES, upper - begin)))


def download(source: Source) -> Iterator[str]:
    """All of it, in parts."""
    with launchers.default().log(source.replica.pk) as log:
        place, end = source.stretch(log)
        while place < end:
            part = log.read(place, min(place + BLOCK, end))
            if not part:
                return
            whole = part.rfind(b"\n") + 1 or len(part)
            place += whole
            yield _plain(part[:whole], source.replica)


def lines_of(text: bytes, replica: Replica) -> list[dict[str, str]]:
    """Lines as a page shows them, with their level."""
    return [_line(line) for line in _plain(text, replica).removesuffix("\n").split("\n")] if text else []


def clean_tail(deployment: Deployment, lines: int) -> Sequence[str]:
    """The newest engine's last lines as text."""
    newest = source(deployment)
    if newest is None:
        return []
    with launchers.default().log(newest.replica.pk) as log:
        piece = log.before(log.size, PAGE_BYTES)
    return _plain(piece.text + piece.rest, newest.replica).splitlines()[-lines:]


def _shown(source: Source, piece: Piece) -> dict[str, Any]:
    first = piece.first
    if source.launch and not first:
        first = not piece.text
    return {
        "lines": lines_of(piece.text, source.replica), "rest": "".join(each["text"] for each in
        lines_of(piece.rest, source.replica)), "cursor": piece.cursor, "begin": piece.begin, "lost": piece.lost,
        "first": first,
    }  # fmt: skip


def _plain(text: bytes, replica: Replica) -> str:
    decoded = ANSI.sub("", text.decode(errors="replace").replace("\r\n", "\n"))
    # A progress bar is drawn over itself: what stood last is what people would see.
    drawn = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in decoded.split("\n"))
    return masked(CONTROL.sub("", drawn), secrets_of(replica))


def _line(text: str) -> dict[str, str]:
    found = LETTER.match(text) or LEVEL.match(text[:120])
    start = text.startswith("--- start ")
    cut = text if len(text) <= LINE else f"{text[:LINE]} … [+{len(text) - LINE}]"
    return {"text": cut, "level": "start" if start else LEVELS[found[1]] if found else ""}
