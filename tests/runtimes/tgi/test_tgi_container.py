"""TGI in a container: stand-ins for the container's engine and for TGI, since neither can run on a test machine."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from modelyard.launchers.host import this_host
from modelyard.runtimes import Level
from modelyard.runtimes.testing import Engine
from runtimes.tgi import TgiRuntime
from tests.runtimes.tgi.models import STAND_IN, served

RUNTIME = TgiRuntime()


@contextmanager
def daemon(*arguments: str) -> Iterator[psutil.Process]:
    """A container engine, whose containers are its children."""
    with tempfile.TemporaryDirectory(prefix="daemon-") as folder, pytest.MonkeyPatch.context() as patch:
        place = Path(folder) / "docker.sock"
        process = subprocess.Popen([sys.executable, str(STAND_IN / "daemon.py"), str(place), *arguments])
        while not place.exists():
            time.sleep(0.02)
        patch.delenv("MODELYARD_TGI_COMMAND")
        patch.setenv("MODELYARD_TGI_IMAGE", "text-generation-inference:3.3.7")
        patch.setenv("MODELYARD_TGI_CONTAINER_CLIENT", str(STAND_IN / "docker"))
        patch.setenv("DOCKER_HOST", f"unix://{place}")
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def containers() -> Iterator[psutil.Process]:
    with daemon() as process:
        yield process


@pytest.fixture
def setting(containers: psutil.Process) -> Iterator[pytest.MonkeyPatch]:
    """Undone before the daemon's own settings are: pytest's own `monkeypatch` would come after them."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def engine(folder: Path, *faults: str) -> Engine:
    return Engine(RUNTIME, served(folder / "model", *faults), {"graceful_seconds": 3}, folder / "engines")


def gone(containers: psutil.Process, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while containers.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not containers.children()


def test_answers_and_ends_when_it_is_told_to(tmp_path: Path, containers: psutil.Process) -> None:
    with engine(tmp_path) as started:
        started.start().ready()
        assert len(containers.children(recursive=True)) >= 4  # shell, launcher, shard, router
        seen = started.stop()
    assert (seen.requested, seen.exit_code) == (True, 0)
    assert not containers.children()


def test_ends_with_its_killed_owner(tmp_path: Path, containers: psutil.Process) -> None:
    with engine(tmp_path) as started:
        started.start().ready().kill()
        assert gone(containers)


def test_ends_with_its_killed_client(tmp_path: Path, containers: psutil.Process) -> None:
    with engine(tmp_path) as started:
        started.start().ready()
        client = next(process for process in started.left() if "run" in process.cmdline())
        client.kill()
        started.gone(20)
        assert gone(containers)


def test_ends_with_its_killed_shim(tmp_path: Path, containers: psutil.Process) -> None:
    with engine(tmp_path) as started:
        started.start().ready()
        os.kill(psutil.Process(started.observation.pid).ppid(), signal.SIGKILL)
        assert started.gone(20).lost
        assert gone(containers)


def test_ends_without_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimes.tgi.container.SILENCE_SECONDS", 7)  # a sign comes every 5
    with daemon("--keep-input") as containers, engine(tmp_path) as started:
        started.start().ready()
        time.sleep(8)
        assert started.answers()
        for process in started.left():
            process.kill()
        assert gone(containers)


def test_a_new_launch_ends_what_an_old_one_left(tmp_path: Path) -> None:
    with daemon("--keep-input") as containers, engine(tmp_path) as started:
        started.start().ready()
        left = containers.children()
        for process in started.left():
            process.kill()
        started.gone(20)
        port = started.launcher.pick_port(())
        with Engine(RUNTIME, started.context.model, {"graceful_seconds": 3}, tmp_path / "engines", port=port) as second:
            second.launcher.remove("rep_undertest")
            second.start().ready()
            assert not set(left) & set(containers.children())


def test_what_is_hung_inside_is_ended(tmp_path: Path, containers: psutil.Process) -> None:
    with engine(tmp_path, "stubborn-router") as started:
        assert started.start().ready().stop().exit_code == 0
        assert not containers.children()


def test_the_secret_is_in_no_argument(tmp_path: Path, containers: psutil.Process) -> None:
    with engine(tmp_path) as started:
        started.start().ready()
        processes = [*started.left(), *containers.children(recursive=True)]
        assert started.context.secret not in " ".join(word for process in processes for word in process.cmdline())


def test_a_death_inside_is_explained(tmp_path: Path, containers: psutil.Process) -> None:
    with engine(tmp_path, "fail-oom") as started:
        started.start().gone(30)
        assert started.death().code == "gpu_out_of_memory"


def test_a_taken_port_is_explained(tmp_path: Path, containers: psutil.Process) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        model = served(tmp_path / "model")
        with Engine(RUNTIME, model, {}, tmp_path / "engines", port=thief.getsockname()[1]) as started:
            started.start().gone(30)
            assert (started.death().code, started.death().permanent) == ("port_in_use", False)


def test_a_missing_image_is_explained(tmp_path: Path, setting: pytest.MonkeyPatch) -> None:
    setting.setenv("MODELYARD_TGI_IMAGE", "missing")
    with engine(tmp_path) as started:
        started.start().gone(30)
        assert started.death().code == "image_missing"


def test_a_daemon_that_does_not_run_is_explained(tmp_path: Path, setting: pytest.MonkeyPatch) -> None:
    setting.setenv("DOCKER_HOST", f"unix://{tmp_path}/nowhere")
    with engine(tmp_path) as started:
        started.start().gone(30)
        assert (started.death().code, started.death().permanent) == ("no_container_daemon", False)


def test_a_host_without_a_container_client_is_told(tmp_path: Path, setting: pytest.MonkeyPatch) -> None:
    setting.setenv("MODELYARD_TGI_CONTAINER_CLIENT", "nerdctl-of-nobody")
    found = RUNTIME.check(served(tmp_path), RUNTIME.options(), this_host())
    assert "no_container_client" in [finding.code for finding in found if finding.level == Level.BLOCK]
