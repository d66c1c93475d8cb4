"""Watches a target while it has an input: what it writes, starts and loads, and how much memory it takes."""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MEMORY = 300 * 2**20  # bytes that reading one small file may add to the process
NEVER = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "os.fork",
         "os.symlink", "os.link")  # fmt: skip
CHANGES = {"os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.rename": 1, "os.chmod": 0, "shutil.rmtree": 0}
"""Events that change the disk, and which argument is the path."""


class Escaped(BaseException):
    """A target did what reading a file never does; no `except Exception` of the target hides it."""


class Guard:
    """The folder that may be written to while it is on."""

    box: Path | None = None
    installed = False


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    box = Guard.box
    if box is None:
        return
    if event in NEVER:
        raise Escaped(f"{event} {arguments!r:.200}")
    path: Any = None
    if event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        path = arguments[0]
    elif event in CHANGES:
        path = arguments[CHANGES[event]]
        path = path if os.path.isabs(str(path)) else None  # below a folder that was opened, and checked then
    if isinstance(path, (str, bytes)) and not os.path.realpath(os.fsdecode(path)).startswith(f"{box}{os.sep}"):
        raise Escaped(f"{event} {path!r:.200}")


@contextmanager
def guarded(box: Path) -> Iterator[None]:
    """Escaped, if what runs inside writes outside `box`, starts or loads something, or takes too much memory."""
    if not Guard.installed:
        sys.addaudithook(_see)
        Guard.installed = True
    before = _peak()
    Guard.box = box.resolve()
    try:
        yield
    finally:
        Guard.box = None
    if _peak() > before + MEMORY:
        raise Escaped(f"it took {(_peak() - before) // 2**20} MiB")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
