"""What is on disk of one launch: written by the shim, read by every launcher. Without Django, and quick to import."""

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

LOST = -9  # the exit code told for an engine whose end nobody saw


@dataclass
class State:
    """One launch as its shim knows it. `start`s are those of `processes.started_at`; `at`s are epoch seconds."""

    number: int
    shim_pid: int | None = None
    shim_start: float | None = None
    pid: int | None = None
    start: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    requested: bool = False
    error: str = ""
    epoch: str = ""


class Folder:
    """The record of one replica: `launch-<n>.json`, `state-<n>.json`, `stop-<n>`, `engine.log*`, `work/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / "work"
        self.log = path / "engine.log"

    def launch(self, number: int) -> Path:
        """What to start: argv, environment, patience. Holds the engine's secret: mode 0600."""
        return self.path / f"launch-{number}.json"

    def mark(self, number: int) -> str:
        """What an engine of this launch has in its environment, and everything that it starts."""
        return f"{self.path}/{number}"

    def stop_request(self, number: int) -> Path:
        """Exists once the end of this launch was asked for; says `now` when it is not to wait."""
        return self.path / f"stop-{number}"

    def forget_before(self, number: int) -> None:
        """Remove the records of launches before that one; the log stays."""
        for path in self.path.glob("*-*"):
            stem = path.name.partition("-")[2].partition(".")[0]
            if stem.isdecimal() and int(stem) < number:
                path.unlink(missing_ok=True)

    def newest(self) -> int:
        """The number of the newest launch; 0 if there was none."""
        numbers = [int(path.stem.partition("-")[2]) for path in self.path.glob("launch-*.json")]
        return max(numbers, default=0)

    def state(self, number: int) -> State | None:
        """What the shim wrote last; None if it hasn't written yet."""
        try:
            values: dict[str, Any] = json.loads((self.path / f"state-{number}.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            # Damaged, as a power loss may leave it: nothing of it runs, and nobody saw how it ended.
            return State(number, ended_at=time.time(), exit_code=LOST, error="lost")
        known = {field.name for field in fields(State)}
        return State(**{name: value for name, value in values.items() if name in known})

    def write_state(self, state: State) -> None:
        """Replace the state in one step: a reader sees the old one or the new one."""
        write(self.path / f"state-{state.number}.json", json.dumps(asdict(state)))


def write(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step."""
    _written_beside(path, text).replace(path)


def create(path: Path, text: str) -> bool:
    """Write a file that wasn't there; False if somebody else was first. Whole or not at all."""
    if path.exists():
        return False
    temporary = _written_beside(path, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    return True


def _written_beside(path: Path, text: str) -> Path:
    """A temporary file with that text, on the disk for good: a power loss must not leave an empty record."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk isn't filled up with halves
        raise
    return temporary
