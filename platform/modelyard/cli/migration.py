"""The migration of an upgrade, beside what runs: it may wait long for what holds a lock on the database."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

from modelyard.cli import output
from modelyard.cli.children import bound, until
from modelyard.cli.output import Stop

COMMAND = [sys.executable, "-m", "modelyard.cli", "migrate", "--verbosity", "0"]
PATIENCE = 5  # seconds that one that is interrupted has to take back what it was at
INTERRUPTED = (
    "The migration of the database was interrupted, as the end was asked for; the next start goes on with it. "
    "If it takes long, another program holds a lock on the database."
)


def anew(stopping: threading.Event, meanwhile: Callable[[], None]) -> bool:
    """In a process of its own, as this one still has the old code. False if `stopping` was set meanwhile.

    Stop, with its last words, if the database can't be migrated.
    """
    process = subprocess.Popen(bound(COMMAND), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)  # fmt: skip
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            out, err = process.communicate(timeout=0.2)
            break
        if stopping.is_set():
            _interrupt(process)
            return False
        meanwhile()
    if process.returncode:
        said = (err.strip() or out.strip() or "it said nothing").splitlines()[-1]
        raise Stop(f"The database can't be migrated: {said}")
    return True


def _interrupt(process: subprocess.Popen[str]) -> None:
    """SIGINT, at which it also takes back what it asked the database server for; then SIGKILL."""
    process.send_signal(signal.SIGINT)
    with process:
        until(lambda: process.poll() is not None, PATIENCE)
        process.kill()
    output.warn(INTERRUPTED)
