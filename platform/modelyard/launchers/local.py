"""Engines as processes of this host, each owned by a shim."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from modelyard.launchers import log, ports, processes
from modelyard.launchers.base import TAIL_LINES, Launch, Observation, ProcessState
from modelyard.launchers.reading import LogReader
from modelyard.launchers.records import LOST, Folder, State, create, write

KEPT_LAUNCHES = 3  # records of earlier launches that are kept beside the newest
REPLICA = re.compile(r"rep_[0-9a-z]{1,40}")
PASSED_ON = re.compile(
    r"(PATH|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|(HTTPS?|NO)_PROXY|(https?|no)_proxy"
    r"|(CUDA|NVIDIA|ROCM|ROCR|HIP|HSA|ZE|ONEAPI|HABANA|ASCEND|NEURON|TPU)_\w+"
    r"|SSL_CERT_\w+|REQUESTS_CA_BUNDLE)"
)
"""What of the worker's environment an engine sees: never the platform's database address or secret key."""


class LocalLauncher:
    """The launcher that keeps its records in one folder; every method may be called from any process at any time."""

    def __init__(self, root: Path, engine_ports: str = "20000-29999") -> None:
        self.root = Path(root)
        self.engine_ports = engine_ports

    def pick_port(self, taken: Collection[int]) -> int:
        """A port of the range that is free now and not in `taken`."""
        return ports.pick(self.engine_ports, taken)

    def workdir(self, replica: str) -> Path:
        """The replica's own writable folder."""
        work = self._made(replica).work
        for path in (work, work / "tmp"):
            path.mkdir(exist_ok=True, mode=0o700)
        return work

    def start(self, launch: Launch) -> None:
        """Record the launch, and give it an owner if it has none."""
        folder = self._made(launch.id)
        self._end_earlier(folder, launch.number)
        env = self._environment(folder, launch)
        what = {"argv": list(launch.argv), "env": env, "stop_seconds": launch.stop_seconds}
        create(folder.launch(launch.number), json.dumps(what))
        folder.forget_before(launch.number - KEPT_LAUNCHES)
        state = folder.state(launch.number)
        if state is None or (state.pid is None and state.ended_at is None):
            _spawn_shim(folder.path, launch.number)

    def observe(self, replica: str) -> Observation:
        """The state of the newest launch, compared with the operating system."""
        folder = self._folder(replica)
        number = folder.newest()
        state = folder.state(number) if number else None
        if state is None:
            return Observation(ProcessState.ABSENT if not self._starting(folder, number) else ProcessState.STARTING,
                               number)  # fmt: skip
        if state.ended_at is None and not _owned(state):
            # Look again: it may have ended between the two looks.
            state = folder.state(number) or state
            if state.ended_at is None and not _owned(state):
                return self._lost(folder, state)
        return _observation(state)

    def stop(self, replica: str, *, now: bool = False) -> None:
        """Write the request down, then wake the shim; without one, what is left of the engine ends at once."""
        folder = self._folder(replica)
        number = folder.newest()
        if not number:
            return
        request = folder.stop_request(number)
        if now:
            write(request, "now")
        else:
            create(request, "soon")
        state = folder.state(number)
        if state is None or state.ended_at is not None:
            return
        if state.shim_pid and _owned(state):
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.shim_pid, signal.SIGTERM)
        else:
            self.observe(replica)

    def remove(self, replica: str) -> None:
        """Delete the record and the log of an ended replica."""
        if self.observe(replica).state in {ProcessState.EXITED, ProcessState.ABSENT}:
            shutil.rmtree(self._folder(replica).path, ignore_errors=True)

    def known(self) -> Sequence[str]:
        """IDs of all replicas with a record."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if REPLICA.fullmatch(path.name))

    def log_tail(self, replica: str, lines: int = TAIL_LINES) -> Sequence[str]:
        """The last lines that the engine printed."""
        return log.tail(self._folder(replica).log, lines)

    def log(self, replica: str) -> LogReader:
        """The whole log as it is now."""
        return LogReader(self._folder(replica).log)

    def _folder(self, replica: str) -> Folder:
        if not REPLICA.fullmatch(replica):
            raise ValueError(f"no replica ID: {replica!r}")
        return Folder(self.root / replica)

    def _made(self, replica: str) -> Folder:
        folder = self._folder(replica)
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.path.mkdir(exist_ok=True, mode=0o700)
        return folder

    def _environment(self, folder: Folder, launch: Launch) -> dict[str, str]:
        home = {"HOME": str(folder.work), "TMPDIR": str(folder.work / "tmp"), "PYTHONUNBUFFERED": "1"}
        return {**_passed_on(), **home, **launch.env, processes.MARK: folder.mark(launch.number)}

    def _starting(self, folder: Folder, number: int) -> bool:
        with contextlib.suppress(OSError):
            return bool(number) and time.time() - folder.launch(number).stat().st_mtime < 5
        return False

    def _end_earlier(self, folder: Folder, number: int) -> None:
        """A replica has one engine at a time: what is left of an earlier launch ends before the next one starts."""
        for earlier in range(max(number - 2, 1), number):
            state = folder.state(earlier)
            if state is None or state.ended_at is None:
                # Written even if no shim came up yet: one that still does starts nothing any more.
                write(folder.stop_request(earlier), "now")
            if state and state.ended_at is None:
                processes.end(_left(folder, state), patience=0)

    def _lost(self, folder: Folder, state: State) -> Observation:
        """The shim was killed: end what it owned, and write down that nobody saw how the engine ended."""
        processes.end(_left(folder, state), patience=1.0)
        state.ended_at, state.exit_code = time.time(), LOST
        state.requested = folder.stop_request(state.number).exists()
        state.error = "lost"
        with contextlib.suppress(OSError):
            folder.write_state(state)
        return _observation(state)


def _owned(state: State) -> bool:
    """Does the shim that wrote this still run?"""
    return state.epoch == processes.epoch() and processes.alive(state.shim_pid, state.shim_start)


def _left(folder: Folder, state: State) -> list[psutil.Process]:
    """What is left of the engine. Nothing after a restart of the host: its pids belong to others now."""
    if not state.pid or state.epoch != processes.epoch():
        return []
    return processes.left_of(state.pid, state.start, folder.mark(state.number), folder.work)


def _passed_on() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}


def _observation(state: State) -> Observation:
    running = state.ended_at is None
    taken = processes.memory(state.pid) if running and state.pid else None
    kind = (ProcessState.RUNNING if state.pid else ProcessState.STARTING) if running else ProcessState.EXITED
    return Observation(
        state=kind,
        number=state.number,
        pid=state.pid,
        started_at=_moment(state.started_at),
        ended_at=_moment(state.ended_at),
        exit_code=state.exit_code,
        requested=state.requested,
        lost=state.error == "lost",
        memory=taken[0] if taken else None,
        peak_memory=taken[1] if taken else None,
    )


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _spawn_shim(folder: Path, number: int) -> None:
    """Start a shim that is nobody's child: an intermediate process starts it and ends, so the system adopts it."""
    shim = [sys.executable, "-P", "-m", "modelyard.launchers.shim", str(folder), str(number)]
    # It lives as long as the engine, whose user may read its environment: no secret of the platform stays there.
    env = {**_passed_on(), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    # The doorstep: forks by itself, without importing anything, so that the caller only waits for a moment.
    doorstep = "import os, sys\nif os.fork(): os._exit(0)\nos.setsid()\nos.execv(sys.argv[1], sys.argv[1:])"
    with (folder / "shim.log").open("ab") as output:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", doorstep, *shim],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
        )


def stop_all(root: Path, patience: float = 30.0) -> int:
    """End every engine with a record in this folder, all at once; how many there were. Marked as asked for."""
    launcher = LocalLauncher(root)
    ended = {ProcessState.EXITED, ProcessState.ABSENT}
    seen = {replica: launcher.observe(replica).state for replica in launcher.known()}
    for replica, state in seen.items():
        if state != ProcessState.EXITED:
            launcher.stop(replica)  # an absent one too: its shim may be slow to come up
    running = [replica for replica, state in seen.items() if state not in ended]
    left = _await_end(launcher, running, patience)
    for replica in left:
        launcher.stop(replica, now=True)
    _await_end(launcher, left, 10.0)
    return len(running)


def _await_end(launcher: LocalLauncher, replicas: list[str], seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    ended = {ProcessState.EXITED, ProcessState.ABSENT}
    while replicas and time.monotonic() < deadline:
        replicas = [replica for replica in replicas if launcher.observe(replica).state not in ended]
        time.sleep(0.05)
    return replicas
