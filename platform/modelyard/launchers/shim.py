"""Owns one engine, as `conmon` owns a container: `python shim.py <record folder> <launch number>`.

It is nobody's child (workers come and go), starts the engine in a session of its own, writes its log, records pid,
start time and exit code, and passes a stop on. When the engine's main process has ended, what it left behind is ended.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from modelyard.launchers import processes
from modelyard.launchers.log import RotatingLog
from modelyard.launchers.records import Folder, State

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
REMIND_AFTER = 1.0  # seconds; vLLM loses a SIGTERM that comes while its engine core starts
FIRST_START = 900.0  # seconds; an engine that has run longer has heard the first SIGTERM and may be finishing its work
LOOK_EVERY = 0.5  # seconds between looks at the stop request; signals and ends of children are seen at once


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _listen() -> int:
    """Take the signals that a shim cares about, or must survive, as bytes of a pipe: nothing can be lost or blocked."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        # A handler instead of SIG_IGN, since what is ignored here would stay ignored in the engine.
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return readable


def _pause(signals: int, seconds: float) -> None:
    """Until a signal comes, so many seconds at most."""
    select.select([signals], [], [], seconds)
    with contextlib.suppress(BlockingIOError):
        os.read(signals, 4096)


def _end_with(owner: int | None) -> None:
    """Runs in the engine's process before the engine does: it ends when its owner is killed."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner:
        os._exit(1)  # killed before the line above


def _reap_all_but(engine: int) -> None:
    """Collect the ended among what came to this process as its subreaper; the engine's own end is `poll`'s to see."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != engine:
            os.waitpid(ended.si_pid, os.WNOHANG)


class Shim:
    """The owner of one launch."""

    def __init__(self, folder: Folder, number: int) -> None:
        self.folder = folder
        self.launch: dict[str, Any] = json.loads(folder.launch(number).read_text())
        self.state = State(number, shim_pid=os.getpid(), shim_start=processes.started_at(os.getpid()))
        self.state.epoch = processes.epoch()
        self.log = RotatingLog(folder.log)
        self.signals = _listen()
        self.began = time.monotonic()
        self.asked_at: float | None = None
        self.sent = 0  # SIGTERMs

    def run(self) -> None:
        """From the start to the recorded end of the engine."""
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.folder.write_state(self.state)
        if self._stop_asked():
            self._finish(None)
            return
        try:
            engine = self._start()
        except OSError as error:
            self.log.write(f"modelyard: can't start {self.launch['argv'][0]}: {error.strerror}\n".encode())
            self.state.error = str(error)
            self._finish(127)
            return
        reader = threading.Thread(target=self._copy_log, args=(engine,), daemon=True)
        reader.start()
        code = self._wait(engine)
        self._end_rest(engine.pid)
        reader.join(2)
        self._finish(code)

    def _stop_asked(self) -> bool:
        return self.folder.stop_request(self.state.number).exists()

    def _start(self) -> subprocess.Popen[bytes]:
        self.folder.work.mkdir(exist_ok=True, mode=0o700)
        (self.folder.work / "tmp").mkdir(exist_ok=True)
        self.log.write(f"--- start {self.state.number}, {time.strftime('%Y-%m-%d %H:%M:%S %z')}\n".encode())
        engine = subprocess.Popen(
            self.launch["argv"],
            env=self.launch["env"],
            cwd=self.folder.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: _end_with(self.state.shim_pid),  # noqa: PLW1509 (single-threaded here)
        )
        self.state.pid, self.state.start = engine.pid, processes.started_at(engine.pid)
        self.state.started_at = time.time()
        self._record()
        return engine

    def _copy_log(self, engine: subprocess.Popen[bytes]) -> None:
        assert engine.stdout is not None  # noqa: S101 (Popen was told to make the pipe)
        descriptor = engine.stdout.fileno()
        while data := os.read(descriptor, 65536):
            self.log.write(data)

    def _wait(self, engine: subprocess.Popen[bytes]) -> int:
        """The engine's exit code, however long it runs. A stop that was asked for is carried out in between."""
        while (code := engine.poll()) is None:
            # SIGTERM wakes it at once; the file is what counts, so a lost signal only costs a moment.
            if self.asked_at is None and self._stop_asked():
                self._note_request()
            if self.asked_at is not None:
                self._stop(engine, time.monotonic() - self.asked_at)
            _pause(self.signals, LOOK_EVERY if self.asked_at is None else 0.1)
            _reap_all_but(engine.pid)
        return code

    def _stop(self, engine: subprocess.Popen[bytes], waited: float) -> None:
        """The next step of a stop that was asked for so many seconds ago."""
        if waited >= self._patience():
            engine.kill()
            self._end_rest(engine.pid, at_once=True)
        elif self.sent == 0 or (self.sent == 1 and waited > REMIND_AFTER and self._starts()):
            self.sent += 1
            engine.send_signal(signal.SIGTERM)

    def _starts(self) -> bool:
        return time.monotonic() - self.began < FIRST_START

    def _note_request(self) -> None:
        self.asked_at = time.monotonic()
        self.state.requested = True
        self._record()

    def _record(self) -> None:
        try:
            self.folder.write_state(self.state)
        except OSError as error:
            # A full disk must not take the engine down with its owner; what isn't recorded is read as lost.
            self.log.write(f"modelyard: can't write the engine's record: {error.strerror}\n".encode())

    def _patience(self) -> float:
        with contextlib.suppress(OSError):
            if self.folder.stop_request(self.state.number).read_text() == "now":
                return 0.0
        return float(self.launch["stop_seconds"])

    def _end_rest(self, session: int, *, at_once: bool = False) -> None:
        """End what is left of the engine: its session, and what came to this process as its subreaper."""
        mark = self.folder.mark(self.state.number)
        rest = {process.pid: process for process in processes.members(session, mark)}
        rest.update({process.pid: process for process in psutil.Process().children(recursive=True)})
        rest.pop(session, None)  # the main process itself: waiting for it here would lose its exit code
        processes.end(rest.values(), patience=0.0 if at_once else 2.0)

    def _finish(self, code: int | None) -> None:
        self.state.exit_code = code
        self.state.requested = self.state.requested or self._stop_asked()
        self.state.ended_at = time.time()
        self._record()


def main(path: str, number: str) -> None:
    """Run as a process of its own."""
    folder = Folder(Path(path))
    with (folder.path / f"shim-{number}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it with the process
        except OSError:
            return  # another shim owns this launch
        state = folder.state(int(number))
        if state is None or (state.pid is None and state.ended_at is None):
            Shim(folder, int(number)).run()


if __name__ == "__main__":
    main(*sys.argv[1:3])
