"""What a launcher does, whatever it starts processes with."""

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from modelyard.launchers.reading import LogReader

TAIL_LINES = 200
"""Of an engine's log, when nothing else is asked: engines print the cause of their end far above their last line."""


class ProcessState(enum.StrEnum):
    """ABSENT: never started, or removed. STARTING: accepted, no engine process yet. RUNNING. EXITED: it has ended."""

    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True)
class Launch:
    """One start of one engine. `id` is the replica's; `number` counts its launches from 1."""

    id: str
    number: int
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 10.0


@dataclass(frozen=True)
class Observation:
    """What is so, read from the operating system at this moment.

    `exit_code` is negative for a signal (-9: SIGKILL), None while running. `requested` says that `stop` asked for the
    end, so that the exit is no crash; `lost` that the engine's owner was killed with it: nobody saw how it ended.
    Memory is the resident set of the engine's whole process tree, in bytes; the peak is the sum of what each of its
    processes took at most, where the system counts that.
    """

    state: ProcessState
    number: int = 0
    pid: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    requested: bool = False
    lost: bool = False
    memory: int | None = None
    peak_memory: int | None = None


class NoFreePort(Exception):
    """Every port of the configured range is taken."""


class Launcher(Protocol):
    """Starts, watches and ends engines. Every verb is idempotent and safe to call from several processes at once."""

    def pick_port(self, taken: Collection[int]) -> int:
        """A port of the range that is free now and not in `taken`; NoFreePort if there is none."""

    def workdir(self, replica: str) -> Path:
        """The replica's own writable folder, made if it isn't there."""

    def start(self, launch: Launch) -> None:
        """Start this launch, unless it was started already. Returns once the start is recorded, not when ready."""

    def observe(self, replica: str) -> Observation:
        """The state of the replica's newest launch."""

    def stop(self, replica: str, *, now: bool = False) -> None:
        """Ask the engine to end: SIGTERM, then after its `stop_seconds` (at once with `now`) SIGKILL to all of it."""

    def remove(self, replica: str) -> None:
        """Forget an ended replica: its folder and log. Does nothing while it runs."""

    def known(self) -> Sequence[str]:
        """IDs of all replicas that have a record here, running or not."""

    def log_tail(self, replica: str, lines: int = TAIL_LINES) -> Sequence[str]:
        """The last lines that the engine printed, oldest first, over all its launches."""

    def log(self, replica: str) -> LogReader:
        """The whole log as it is now, over all launches and rotated files."""
