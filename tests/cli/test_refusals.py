"""What can't work is said in one line, before anything was started, and never as a traceback."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import gone, run

pytestmark = pytest.mark.system


def refusal(data: Path, *words: str, **env: str) -> str:
    """The one line that says why not."""
    done = run(*(words or ("up",)), data=data, **env)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith(("✗", "modelyard:"))]
    assert len(lines) == 1, done.stdout
    assert lines[0] == done.stdout.splitlines()[-1]
    assert gone(data)
    return lines[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELYARD_PORT", "eighty"),
        ("MODELYARD_PORT", "99999"),
        ("MODELYARD_HOST", "192.0.2.1"),
        ("MODELYARD_ENGINE_PORTS", "9-1"),
        ("MODELYARD_STALLED_AFTER", "soon"),
        ("MODELYARD_USAGE_DAYS", "0"),
        ("MODELYARD_USAGE_HOURS_DAYS", "-1"),
        ("MODELYARD_DATABASE_URL", "mongodb://here/there"),
        ("MODELYARD_DATABASE_URL", "postgres://me:it@127.0.0.1:port/name"),
        ("MODELYARD_DATABASE_URL", "postgres://me:secret@127.0.0.1:1/name"),
        ("MODELYARD_REDIS_URL", "http://127.0.0.1"),
        ("MODELYARD_REDIS_URL", "redis://me:secret@127.0.0.1:1/0"),
        ("MODELYARD_ONNX_PYTHON", "/nowhere/python"),
    ],
)
def test_a_bad_setting_is_named(data: Path, name: str, value: str) -> None:
    line = refusal(data, **{name: value})
    assert name in line
    assert "secret" not in line


@pytest.mark.parametrize("place", ["/proc/modelyard", "/dev/null/modelyard"])
def test_a_directory_that_cannot_be_written_is_named(data: Path, place: str) -> None:
    line = refusal(data, MODELYARD_DATA_DIR=place)
    assert place in line
    assert "MODELYARD_DATA_DIR" in line


def test_a_missing_parent_directory_is_made(data: Path) -> None:
    refusal(data, MODELYARD_DATA_DIR=str(data / "not" / "there"), MODELYARD_ENGINE_PORTS="none")
    assert (data / "not" / "there" / "run").is_dir()


def test_a_path_too_long_for_a_socket_is_said(data: Path) -> None:
    assert "MODELYARD_DATA_DIR" in refusal(data, MODELYARD_DATA_DIR=str(data / ("x" * 100)))


def test_a_busy_port_names_the_setting_and_who_has_it(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = refusal(data, MODELYARD_PORT=str(server.getsockname()[1]))
    assert "MODELYARD_PORT" in line
    assert "process" in line


@pytest.mark.parametrize("command", ["web", "worker", "beat", "migrate"])
def test_every_command_refuses_a_bad_database_address_in_one_line(data: Path, command: str) -> None:
    assert "MODELYARD_DATABASE_URL" in refusal(data, command, MODELYARD_DATABASE_URL="nonsense")


@pytest.mark.parametrize("login", ["", ":wrong@"])
def test_a_wrong_password_of_redis_is_said(data: Path, locked_redis: int, login: str) -> None:
    line = refusal(data, MODELYARD_REDIS_URL=f"redis://{login}127.0.0.1:{locked_redis}/0")
    assert "password" in line


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a few small files only."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    made = subprocess.run(mount, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("a small file system can't be mounted here (needs root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_said(data: Path, full_disk: Path) -> None:
    line = refusal(data, MODELYARD_DATA_DIR=str(full_disk / "data"))
    assert "full" in line or "No space" in line


@pytest.mark.parametrize("left", [0, 1])
def test_a_disk_with_no_byte_left_leaves_no_half_written_secret_key(full_disk: Path, left: int) -> None:
    for name in ("run", "logs", "cache", "engines", "uploads"):
        (full_disk / "data" / name).mkdir(parents=True)
    with contextlib.suppress(OSError), (full_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass
    os.truncate(full_disk / "filler", (full_disk / "filler").stat().st_size - left * 4096)
    line = refusal(full_disk / "data")
    assert "full" in line or "No space" in line
    assert not list((full_disk / "data").glob("secret_key*"))


def test_an_empty_secret_key_is_refused(data: Path) -> None:
    data.mkdir()
    (data / "secret_key").touch()
    assert "restore it from a backup" in refusal(data)
