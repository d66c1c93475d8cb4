"""Who a process is (pid and start time together), and everything that belongs to it."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

SAME_START = 0.02  # seconds; the kernel counts start times in ticks of 10 ms


def started_at(pid: int) -> float | None:
    """The process' start in seconds (on Linux since boot, so that a clock set anew can't confuse it).

    None if it is gone, or a zombie.
    """
    if sys.platform != "linux":
        return _started_elsewhere(pid)
    try:
        # The name in parentheses may hold anything; the fields after it are numbers.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _started_elsewhere(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def alive(pid: int | None, start: float | None) -> bool:
    """Is it still that very process? A pid that was given to another one doesn't count."""
    if pid is None or start is None:
        return False
    now = started_at(pid)
    return now is not None and abs(now - start) < SAME_START


def epoch() -> str:
    """What a pid and a start time belong to: this boot of this machine, and this container if it is one."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{boot.read_text().strip() if boot.exists() else ''}:{started_at(1)}"


def left_of(pid: int, start: float | None) -> list[psutil.Process]:
    """What is left of the session that a process led. Nothing, if its pid was given to somebody else meanwhile."""
    now = started_at(pid)
    if now is not None and not alive(pid, start):
        return []
    return members(pid)


def members(session: int) -> list[psutil.Process]:
    """Every process of a session, and the descendants of those, whatever group or session they moved to."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process
    for process in list(found.values()):
        with contextlib.suppress(psutil.Error):
            found.update({child.pid: child for child in process.children(recursive=True)})
    return list(found.values())


def end(processes: Iterable[psutil.Process], patience: float = 2.0) -> None:
    """SIGTERM, a moment, SIGKILL; returns when they are gone."""
    left = list(processes)
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        _, left = psutil.wait_procs(left, timeout=wait)
        if not left:
            return


def memory(pid: int) -> int | None:
    """Resident bytes of a process and its descendants; None if it is gone."""
    try:
        top = psutil.Process(pid)
        tree = [top, *top.children(recursive=True)]
    except psutil.Error:
        return None
    total = 0
    for process in tree:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def wait_gone(pid: int, start: float, seconds: float) -> bool:
    """True once it is gone, False if it still is there after so many seconds."""
    end_at = time.monotonic() + seconds
    while alive(pid, start):
        if time.monotonic() > end_at:
            return False
        time.sleep(0.02)
    return True
