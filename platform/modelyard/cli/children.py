"""One supervised process: started, its log kept, its end noticed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from modelyard.cli import output
from modelyard.launchers.log import RotatingLog

BOUND = Path(__file__).with_name("bound.py")
SERIOUS = re.compile(r"(?!.* /readyz$).*\b(ERROR|CRITICAL)\b")  # that it isn't ready is for whoever asked
QUIET = 10.0  # seconds between two serious lines of one process in the terminal; the log has them all


def bound(command: Sequence[str]) -> list[str]:
    """A command that isn't one of Modelyard's own, so that it ends with this process."""
    return [sys.executable, "-I", "-S", str(BOUND), str(os.getpid()), *command]


class Child:
    """A process of the group. `command` is run as it is; `name` is what people read and what its log is called."""

    def __init__(self, name: str, command: Sequence[str], logs: Path, *, echo: bool = False) -> None:
        self.name = name
        self.command = list(command)
        self.log = RotatingLog(logs / f"{name}.log")
        self.echo = echo
        self.last_lines: deque[str] = deque(maxlen=15)
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.restart_at: float | None = None
        self.failures = 0
        self.ready = threading.Event()
        self.said_at = 0.0
        self.reader: threading.Thread | None = None

    def start(self, pass_fds: Sequence[int] = ()) -> None:
        """Start it. `ready` is set when it says that it serves."""
        self.ready.clear()
        self.restart_at = None
        reading, writing = os.pipe()
        env = {**os.environ, "MODELYARD_SUPERVISOR": str(os.getpid()), "MODELYARD_READY_FD": str(writing)}
        env["PYTHONUNBUFFERED"] = "1"
        self.started_at = time.monotonic()
        try:
            self.process = subprocess.Popen(
                self.command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[*pass_fds, writing],
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which ends the group in order
            )
        finally:
            os.close(writing)
        threading.Thread(target=self._await_ready, args=(reading,), daemon=True).start()
        self.reader = threading.Thread(target=self._copy, args=(self.process,), daemon=True)
        self.reader.start()

    @property
    def pid(self) -> int:
        """Its process ID; 0 if it never ran."""
        return self.process.pid if self.process else 0

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.poll() if self.process else -1

    def last_words(self) -> str:
        """The last line it printed: of a Python error, what it says."""
        return next((line.strip() for line in reversed(list(self.last_lines)) if line.strip()), "It said nothing.")

    def wait_for_log(self) -> None:
        """A moment for the last lines of what has ended to be read."""
        if self.reader:
            self.reader.join(0.5)

    def ask_to_end(self) -> None:
        """SIGTERM, if it still runs."""
        self._signal(signal.SIGTERM)

    def hurry(self) -> None:
        """SIGINT, if it still runs: a web process then cuts what it answers, and writes down what that was."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self._signal(signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """True once it has ended."""
        if self.process is None:
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
            return True
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)

    def _await_ready(self, reading: int) -> None:
        if os.read(reading, 1):
            self.ready.set()
        os.close(reading)

    def _copy(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 (Popen was told to make the pipe)
        for line in process.stdout:
            self.log.write(line)
            text = line.decode(errors="replace").rstrip()
            self.last_lines.append(text)
            if self.echo:
                output.log(self.name, text)
            elif SERIOUS.match(text) and time.monotonic() - self.said_at > QUIET:
                self.said_at = time.monotonic()
                output.warn(f"{self.name}: {text}")


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Wait until it is so; False if it isn't after so many seconds."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
