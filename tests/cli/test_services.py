"""The production shape: the same `modelyard up` on a real PostgreSQL and a real server for Redis' protocol."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Start, gone, processes_of, run
from tests.cli.echo import chat, deploy

pytestmark = pytest.mark.system

TELL = "import os, sys; print(os.environ['MODELYARD_DATABASE_URL'], flush=True); sys.stdin.read()"


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a fresh PostgreSQL, which ends when its process reads the end of its input."""
    command = [sys.executable, "-m", "tests.postgres", sys.executable, "-c", TELL]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url
    yield url
    process.communicate(timeout=60)


def test_only_addresses_differ_on_postgresql_and_redis(data: Path, up: Start, postgres: str, locked_redis: int) -> None:
    redis = f"redis://:right@127.0.0.1:{locked_redis}/3"
    where = {"MODELYARD_DATABASE_URL": postgres, "MODELYARD_REDIS_URL": redis}
    yard = up(**where)
    address = yard.ready()
    assert not [each for each in processes_of(data) if "valkey" in each.name()]
    deployment, key = deploy(data, **where)
    assert chat(f"{address}/d/{deployment}/v1/chat/completions", key) == "hello again"
    assert httpx.get(f"{address}/readyz").json()["workers"] == "ok"
    assert run("doctor", data=data, **where).returncode == 0
    assert not (data / "modelyard.sqlite3").exists()
    assert yard.end() == 0
    assert gone(data)
