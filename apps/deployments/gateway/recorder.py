"""The ledger's rows between the calls and the database: bounded, written in batches, every loss counted.

What a process accepted and what it has written stand in a small file that survives its `kill -9`: whoever finds the
file without its owner knows how many calls the ledger lacks.
"""

import asyncio
import fcntl
import logging
import mmap
import os
import struct
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections

from apps.deployments.usage import capture, ledger
from apps.deployments.usage.models import Batch, Gap

logger = logging.getLogger(__name__)
EVERY = 1.0  # seconds between two batches at most
AT_ONCE = 1000  # rows of a batch
CAPTURES = 200  # captures that wait at most
COUNTS = struct.Struct("<QQQ")  # accepted or dropped, written or noted as lost, rows of the batch under way
ID_LENGTH = 32
KILLED, FULL = "killed", "full"


class Tally:
    """Accepted and written rows, in a file that is locked for as long as its process lives."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"usage-{uuid.uuid4().hex}.tally"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.ftruncate(self._file, COUNTS.size + ID_LENGTH)
        self._map = mmap.mmap(self._file, COUNTS.size + ID_LENGTH)
        self.accepted = self.written = 0

    def accept(self) -> None:
        """One more call is to be in the ledger, or among what it lacks."""
        self.accepted += 1
        self._map[:8] = self.accepted.to_bytes(8, "little")

    def begin(self, batch: str, rows: int) -> None:
        """A batch is about to be written."""
        self._map[8:] = struct.pack("<QQ", self.written, rows) + batch.encode()

    def end(self, rows: int) -> None:
        """It was written, or its rows are counted as lost."""
        self.written += rows
        self._map[8:24] = struct.pack("<QQ", self.written, 0)

    def close(self) -> None:
        """Nothing was lost."""
        self._map.close()
        self.path.unlink(missing_ok=True)
        os.close(self._file)


def collect(folder: Path) -> int:
    """Count what killed processes took with them; how many rows that were."""
    return sum(_collect(path) for path in folder.glob("usage-*.tally"))


def _collect(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        content = os.read(file, COUNTS.size + ID_LENGTH)
        if len(content) < COUNTS.size + ID_LENGTH or not path.exists():
            return 0
        accepted, written, pending = COUNTS.unpack_from(content)
        batch = content[COUNTS.size :].rstrip(b"\0").decode("ascii", "replace")
        if pending and Batch.objects.filter(pk=batch).exists():
            written += pending  # it was killed between writing them and saying so
        lost: int = max(accepted - written, 0)
        if lost:
            Gap.objects.create(lost=lost, reason=KILLED)
            logger.warning("a web process was killed: %d calls are missing in the usage ledger", lost)
        path.unlink(missing_ok=True)
        return lost
    except BlockingIOError:
        return 0  # its process lives
    finally:
        os.close(file)


class Recorder:
    """Rows that wait for the database."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self.rows: list[ledger.Row] = []
        self.captures: list[tuple[Any, ...]] = []
        self.tally = Tally(settings.RUN_DIR)
        self.dropped = 0
        self.noted = 0  # of those, what the database knows of
        self.full = settings.USAGE_BUFFER
        self._pending: tuple[str, list[ledger.Row]] | None = None
        self._enough: asyncio.Event | None = None

    @property
    def missing(self) -> int:
        """Dropped, and not yet noted in the database."""
        return self.dropped - self.noted

    @property
    def depth(self) -> int:
        """Rows that wait."""
        return len(self.rows) + (len(self._pending[1]) if self._pending else 0)

    def add(self, row: ledger.Row) -> None:
        """Keep a row for the next batch; drop and count it if too many wait."""
        waiting = len(self.rows)
        if waiting >= self.full:
            self.dropped += 1
            self.tally.accept()
            return
        self.rows.append(row)
        self.tally.accept()
        if waiting == AT_ONCE and self._enough:
            self._enough.set()

    def capture(self, row: tuple[Any, ...]) -> None:
        """Keep input and output of a call, if not too many wait already."""
        if len(self.captures) < CAPTURES:
            self.captures.append(row)

    async def run(self) -> None:
        """Write for as long as the process lives."""
        loop = asyncio.get_running_loop()
        self._enough = asyncio.Event()
        await loop.run_in_executor(self._threads, self._collect)
        while True:
            try:
                async with asyncio.timeout(EVERY):
                    await self._enough.wait()
            except TimeoutError:
                pass
            self._enough.clear()
            while await self.flush() and len(self.rows) >= AT_ONCE:
                pass

    async def flush(self) -> bool:
        """Write one batch; False if the database is away, which loses nothing before the buffer is full."""
        if self._pending is None and self.rows:
            rows, self.rows = self.rows[:AT_ONCE], self.rows[AT_ONCE:]
            self._pending = (uuid.uuid4().hex, rows)
        captures, self.captures = self.captures, []
        if self._pending is None and not captures and not self.missing:
            return True
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._write, captures)
        except DatabaseError as error:
            logger.warning("usage isn't written, %d calls wait: %s", self.depth, error)
            return False
        return True

    def _write(self, captures: list[tuple[Any, ...]]) -> None:
        try:
            if self._pending:
                batch, rows = self._pending
                self.tally.begin(batch, len(rows))
                ledger.write(batch, rows)
                self.tally.end(len(rows))
                self._pending = None
            if self.missing:
                lost = self.missing
                Gap.objects.create(lost=lost, reason=FULL)
                self.tally.end(lost)
                self.noted += lost
            if captures:
                capture.write(captures)
        finally:
            close_old_connections()

    @staticmethod
    def _collect() -> None:
        try:
            collect(settings.RUN_DIR)
        except (DatabaseError, OSError) as error:
            logger.warning("what killed processes left can't be counted: %s", error)
        finally:
            close_old_connections()

    async def close(self) -> None:
        """Write what waits; what can't be written is counted by whoever finds the tally."""
        while self.depth or self.captures or self.missing:
            if not await self.flush():
                return
        self.tally.close()
