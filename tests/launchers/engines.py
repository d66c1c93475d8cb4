"""Small scripts as engines, and ways to wait for what they do."""

import sys
import time
from collections.abc import Callable

import psutil

from modelyard import ids
from modelyard.launchers import Launch, Observation
from modelyard.launchers.local import LocalLauncher
from modelyard.launchers.processes import MARK
from modelyard.launchers.records import Folder, State

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
# A child in a process group of its own, and a daemon in a session of its own.
FAMILY = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0)
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    print('daemon up', flush=True)
    time.sleep(600)
time.sleep(600)
"""


def start(launcher: LocalLauncher, code: str, number: int = 1, replica: str = "", **more: object) -> str:
    replica = replica or ids.replica()
    launcher.start(Launch(replica, number, [sys.executable, "-c", code], **more))  # type: ignore[arg-type]
    return replica


def wait(true: Callable[[], object], what: object = "") -> None:
    end = time.monotonic() + 15
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def until(launcher: LocalLauncher, replica: str, true: Callable[[Observation], bool]) -> Observation:
    end = time.monotonic() + 15
    while not true(seen := launcher.observe(replica)):
        assert time.monotonic() < end, seen
        time.sleep(0.02)
    return seen


def running(seen: Observation) -> bool:
    return seen.state == "running"


def exited(seen: Observation) -> bool:
    return seen.state == "exited"


def printed(launcher: LocalLauncher, replica: str, text: str) -> None:
    wait(lambda: any(text in line for line in launcher.log_tail(replica)), f"{text} was not printed")


def state_of(launcher: LocalLauncher, replica: str) -> State:
    state = Folder(launcher.root / replica).state(1)
    assert state
    return state


def shim_of(launcher: LocalLauncher, replica: str) -> psutil.Process:
    return psutil.Process(state_of(launcher, replica).shim_pid)


def processes_of(launcher: LocalLauncher) -> list[psutil.Process]:
    """Every shim and engine of this launcher that runs now, whatever became of their records."""
    root = f"{launcher.root}/"
    return [
        process
        for process in psutil.process_iter()
        if any(root in word for word in _words(process)) or _environment(process).get(MARK, "").startswith(root)
    ]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}
