"""Owns one engine, as `conmon` owns a container: `python shim.py <record folder> <launch number>`.

It is nobody's child (workers come and go), starts the engine in a session of its own, writes its log, records pid,
start time and exit code, and passes a stop on. When the engine's main process has ended, what it left behind is ended.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from modelyard.launchers import processes
from modelyard.launchers.log import RotatingLog
from modelyard.launchers.records import Folder, State

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
REMIND_AFTER = 1.0  # seconds; vLLM loses a SIGTERM that comes while its engine core starts
LOOK_EVERY = 0.2  # seconds between looks at the engine and at the stop request


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


class Shim:
    """The owner of one launch."""

    def __init__(self, folder: Folder, number: int) -> None:
        self.folder = folder
        self.launch: dict[str, Any] = json.loads(folder.launch(number).read_text())
        self.state = State(number, shim_pid=os.getpid(), shim_start=processes.started_at(os.getpid()))
        self.state.epoch = processes.epoch()
        self.log = RotatingLog(folder.log)
        self.woken = threading.Event()

    def run(self) -> None:
        """From the start to the recorded end of the engine."""
        signal.signal(signal.SIGTERM, self._wake)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
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

    def _wake(self, _number: int, _frame: FrameType | None) -> None:
        self.woken.set()

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
            preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 (single-threaded here)
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
        asked_at: float | None = None
        reminded = False
        while (code := engine.poll()) is None:
            if asked_at is None:
                # SIGTERM wakes it at once; the file is what counts, so a lost signal only costs a moment.
                self.woken.wait(LOOK_EVERY)
                self.woken.clear()
                if self._stop_asked():
                    asked_at = time.monotonic()
                    self._note_request()
                    engine.send_signal(signal.SIGTERM)
                continue
            waited = time.monotonic() - asked_at
            if waited > self._patience():
                engine.kill()
                self._end_rest(engine.pid, at_once=True)
            elif waited > REMIND_AFTER and not reminded:
                reminded = True
                engine.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        return code

    def _note_request(self) -> None:
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
        rest = {process.pid: process for process in processes.members(session)}
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
