"""What `modelyard up` does before anything runs: the socket, the directory, the database, the first person."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
from pathlib import Path
from typing import IO

import psutil

from modelyard import environment
from modelyard.cli.output import Stop
from modelyard.launchers import processes

ADMIN = "admin"


def take_lock(run: Path) -> IO[str]:
    """The lock of this data directory; the kernel lets go of it with the process. Stop if somebody has it."""
    file = (run / "up.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        pid = file.read().strip() or "?"
        raise Stop(
            f"Modelyard runs already on {run.parent} (process {pid}): end that one with Ctrl-C, "
            "or set MODELYARD_DATA_DIR to another directory."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def listen(host: str, port: int) -> socket.socket:
    """The web socket, bound before anything else is done. Stop, with who has it, if it is busy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        raise Stop(_why_not(host, port, error)) from None
    listener.set_inheritable(True)
    return listener


def _why_not(host: str, port: int, error: OSError | OverflowError) -> str:
    advice = "set MODELYARD_PORT to another one, for example MODELYARD_PORT=8001"
    if isinstance(error, OverflowError):
        return f"{port} is no port: {advice}."
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is busy{_holder(port)}: end that, or {advice}."
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than you have: {advice}."
    return f"Can't listen on {host}:{port} ({error.strerror}): set MODELYARD_HOST to an address of this machine."


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                return f" (process {connection.pid}, {psutil.Process(connection.pid).name()})"
    return ""


def end_leftovers(run: Path) -> int:
    """End what a killed `up` left behind (web, workers, Valkey; never engines, which are adopted). How many."""
    try:
        known = json.loads((run / "children.json").read_text())
    except (OSError, ValueError):
        return 0
    alive = [psutil.Process(pid) for pid, start in known if processes.alive(pid, start)]
    processes.end(alive, patience=5.0)
    return len(alive)


def remember(run: Path, pids: list[int]) -> None:
    """Write down what runs, for the next `up` should this one be killed."""
    known = [(pid, processes.started_at(pid)) for pid in pids]
    with contextlib.suppress(OSError):
        (run / "children.json").write_text(json.dumps(known))


def migrate() -> None:
    """Bring the database up to date. Stop, in one line, if it can't be."""
    from django.core.management import call_command
    from django.db import DatabaseError, connection

    try:
        call_command("migrate", interactive=False, verbosity=0)
    except (DatabaseError, OSError) as error:
        raise Stop(_database_trouble(str(error))) from None
    finally:
        connection.close()


def _database_trouble(text: str) -> str:
    first = " ".join(text.split())[:200]
    if "full" in text or "No space" in text:
        return f"The disk of {environment.data_directory()} is full: free some space and start again."
    if "readonly" in text or "unable to open" in text:
        return f"The database in {environment.data_directory()} can't be written: check its owner and rights."
    return f"The database can't be used ({first}): check MODELYARD_DATABASE_URL."


def first_person() -> tuple[str, str | None]:
    """The superuser's name, and the password if one was made just now."""
    from django.contrib.auth.models import User
    from django.db import connection

    try:
        found = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
        if found:
            return found.username, None
        password = environment.text("ADMIN_PASSWORD") or secrets.token_urlsafe(12)
        User.objects.create_superuser(ADMIN, password=password)
        return ADMIN, password
    finally:
        connection.close()
