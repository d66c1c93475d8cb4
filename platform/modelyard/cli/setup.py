"""What `modelyard up` does before anything runs: the socket, the directory, the database, the first person."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psutil

from modelyard import environment
from modelyard.cli import output
from modelyard.cli.output import Stop
from modelyard.launchers import processes, records

ADMIN = "admin"
DYING = 10  # seconds that a killed one may take to let go of its lock
DATABASES = frozenset({"sqlite", "postgres", "postgresql", "pgsql"})


def take_lock(run: Path) -> IO[bytes]:
    """The lock of this data directory; the kernel lets go of it with the process. Stop if somebody has it."""
    file = (run / "up.lock").open("ab+", buffering=0)  # nothing is left to be written when it is closed
    end = time.monotonic() + DYING
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            file.seek(0)
            pid = file.read().decode().strip() or "?"
            if _runs(pid) or time.monotonic() > end:
                raise Stop(
                    f"Modelyard runs already on {run.parent} (process {pid}): end that one with Ctrl-C, "
                    "or set MODELYARD_DATA_DIR to another directory."
                ) from None
        time.sleep(0.05)
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    return file


def _runs(pid: str) -> bool:
    """False of a process that was killed: it keeps its lock until the kernel has taken it down."""
    try:
        return psutil.Process(int(pid)).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except (ValueError, psutil.Error):
        return False


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
        known = [(int(pid), float(start)) for pid, start in json.loads((run / "children.json").read_text()) if start]
    except (OSError, ValueError, TypeError):
        return 0
    alive = []
    for pid, start in known:
        with contextlib.suppress(psutil.NoSuchProcess):
            if processes.alive(pid, start):
                alive.append(psutil.Process(pid))
    processes.end(alive, patience=5.0)
    return len(alive)


def remember(run: Path, pids: list[int]) -> None:
    """Write down what runs, for the next `up` should this one be killed."""
    known = [(pid, processes.started_at(pid)) for pid in pids]
    with contextlib.suppress(OSError):
        records.write(run / "children.json", json.dumps(known))


def prepare_django() -> None:
    """Django with this installation's settings. Stop, in one line, if they can't be read."""
    import django

    check_database_url()
    django.setup()


def check_database_url() -> None:
    """Before the settings are loaded, which couldn't say it so well. Stop if it can't be read."""
    import dj_database_url

    url = environment.text("DATABASE_URL")
    try:
        if url and urlsplit(url).scheme not in DATABASES:
            raise ValueError
        if url:
            dj_database_url.parse(url)
    except ValueError:
        raise Stop(
            "MODELYARD_DATABASE_URL is no address of a database: it must look like postgres://user:password@host/name "
            "(special characters of the password percent-encoded), or be unset for SQLite in the data directory."
        ) from None


def check_settings() -> None:
    """Run Modelyard's system checks: warnings are shown. Stop at the first error."""
    from django.core import checks

    for message in checks.run_checks(tags=["modelyard"]):
        if message.level >= checks.ERROR:
            raise Stop(f"{message.msg} {message.hint}")
        output.warn(f"{message.msg} {message.hint}")


def migrate() -> None:
    """Bring the database up to date. Stop, in one line, if it can't be."""
    from django.core.management import call_command

    with using_database():
        call_command("migrate", interactive=False, verbosity=0)


def first_person() -> tuple[str, str | None]:
    """The superuser's name, and the password if one was made up just now."""
    from django.contrib.auth.models import User

    with using_database():
        found = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
        if found:
            return found.username, None
        given = environment.text("ADMIN_PASSWORD")
        password = given or secrets.token_urlsafe(12)
        # An administrator whose rights were taken away keeps the name.
        name = ADMIN if not User.objects.filter(username=ADMIN).exists() else f"{ADMIN}-{secrets.token_hex(2)}"
        User.objects.create_superuser(name, password=password)
        return name, None if given else password


@contextlib.contextmanager
def using_database() -> Iterator[None]:
    """Turns what the database or its disk refuses into a Stop, and leaves no connection open."""
    from django.db import DatabaseError, connection

    try:
        yield
    except (DatabaseError, OSError) as error:
        raise Stop(database_trouble(str(error))) from None
    finally:
        connection.close()


def database_trouble(text: str) -> str:
    """The database's own words, as one line that says what to do."""
    from django.db import connection

    name = connection.settings_dict["NAME"]
    first = " ".join(text.split())[:300]
    if "disk is full" in text or "No space" in text:
        return f"The disk of the database {name} is full: free some space and start again."
    if "readonly" in text or "unable to open" in text:
        return f"The database {name} can't be written: check its owner and rights."
    if "is locked" in text:
        return f"The database {name} is locked by another program: end that one and start again."
    return f"The database can't be used ({first}): check that it runs, and MODELYARD_DATABASE_URL."


def command_line(words: str) -> str:
    """A `modelyard` command as it works when pasted into a new terminal."""
    program = Path(sys.executable).with_name("modelyard")
    data = environment.text("DATA_DIR")
    place = f"MODELYARD_DATA_DIR={shlex.quote(str(environment.data_directory()))} " if data else ""
    return f"{place}{shlex.quote(str(program)) if program.exists() else 'modelyard'} {words}"
