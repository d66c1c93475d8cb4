"""Who a process is (pid and start time together), and everything that belongs to it."""

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

SAME_START = 0.02  # seconds; the kernel counts start times in ticks of 10 ms
MARK = "ENGINE_LAUNCH"  # environment variable that an engine and all it starts inherit: which launch they belong to


def started_at(pid: int) -> float | None:
    """The process' start in seconds (on Linux since boot, so that a clock set anew can't confuse it).

    None if it is gone, or a zombie.
    """
    if sys.platform != "linux":
        return _started_elsewhere(pid)
    try:
        # The name in parentheses may hold anything; the fields after it are numbers.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # Nothing else means that it is gone: who has run out of file descriptors, say, knows nothing about it.
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


def left_of(pid: int, start: float | None, mark: str, work: Path) -> list[psutil.Process]:
    """What is left of an engine whose owner is gone.

    Once the engine's main process is gone too, its session's number may have become a stranger's: then a member counts
    only if it works in the engine's folder. That holds for engines that overwrite their environment with a title.
    """
    if alive(pid, start):
        return members(pid, mark)
    return _with_descendants(
        process
        for process in psutil.process_iter()
        if _marked(process, mark) or (_in_session(process, pid) and _works_in(process, work))
    )


def members(session: int, mark: str) -> list[psutil.Process]:
    """Every process of a session or with that mark, and their descendants, whatever group or session they moved to."""
    return _with_descendants(
        process for process in psutil.process_iter() if _in_session(process, session) or _marked(process, mark)
    )


def _in_session(process: psutil.Process, session: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        return os.getsid(process.pid) == session
    return False


def _marked(process: psutil.Process, mark: str) -> bool:
    with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
        return process.environ().get(MARK) == mark
    return False


def _works_in(process: psutil.Process, work: Path) -> bool:
    with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
        return Path(process.cwd()).is_relative_to(work)
    return False


def _with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
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


def memory(pid: int) -> tuple[int, int] | None:
    """Resident bytes of a process and its descendants, now and the sum of their peaks; None if it is gone."""
    try:
        top = psutil.Process(pid)
        tree = [top, *top.children(recursive=True)]
    except psutil.Error:
        return None
    now = peak = 0
    for process in tree:
        with contextlib.suppress(psutil.Error):
            resident = process.memory_info().rss
            now += resident
            peak += max(resident, _most(process.pid))
    return now, peak


def _most(pid: int) -> int:
    """The most that a process had resident, as Linux counts it; 0 elsewhere."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def wait_gone(pid: int, start: float, seconds: float) -> bool:
    """True once it is gone, False if it still is there after so many seconds."""
    end_at = time.monotonic() + seconds
    while alive(pid, start):
        if time.monotonic() > end_at:
            return False
        time.sleep(0.02)
    return True
