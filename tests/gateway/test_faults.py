"""Promises that hold over several processes, and while parts of the system are away."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from apps.apikeys import operations as apikeys
from apps.apikeys.models import ApiKey
from tests.conftest import start_valkey
from tests.gateway.conftest import Make, Yard, eventually, start_web

pytestmark = pytest.mark.system


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="vk-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def second_web(transactional_db: None) -> Iterator[str]:
    process, address = start_web()
    yield address
    process.terminate()
    process.wait(20)


def status(yard: Yard, address: str) -> int:
    return httpx.post(f"{address}/v1/chat/completions", headers=yard.headers(), json={}, timeout=5).status_code


def test_a_revoked_key_is_refused_by_every_process_within_a_second(make: Make, second_web: str) -> None:
    yard = make()
    addresses = [yard.address, second_web]
    assert [status(yard, address) for address in addresses] == [200, 200]
    apikeys.revoke(ApiKey.objects.get(), by=None)
    time.sleep(1)
    assert [status(yard, address) for address in addresses] == [401, 401]


def test_an_undeploy_reaches_every_process(make: Make, second_web: str) -> None:
    yard = make()
    assert status(yard, second_web) == 200
    yard.put(desired="stopped")
    eventually(lambda: status(yard, second_web) == 409, limit=2)


def test_a_revocation_acts_while_redis_is_away(make: Make, folder: Path) -> None:
    valkey = start_valkey(folder)
    process, address = start_web(MODELYARD_REDIS_URL=f"unix://{folder}/valkey.sock?db=0")
    try:
        yard = make(address=address)
        assert status(yard, address) == 200
        valkey.kill()
        valkey.wait()
        assert status(yard, address) == 200
        apikeys.revoke(ApiKey.objects.get(), by=None)
        time.sleep(1)
        assert status(yard, address) == 401
    finally:
        process.terminate()
        process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            valkey.kill()


def test_what_was_changed_while_redis_was_away_is_known_when_it_is_back(make: Make, folder: Path) -> None:
    valkey = start_valkey(folder)
    process, address = start_web(MODELYARD_REDIS_URL=f"unix://{folder}/valkey.sock?db=0")
    try:
        yard = make(address=address)
        assert status(yard, address) == 200
        valkey.kill()
        valkey.wait()
        ApiKey.objects.update(revoked_at="2026-01-01T00:00Z")  # announced to nobody
        valkey = start_valkey(folder)
        eventually(lambda: status(yard, address) == 401, limit=3)
        time.sleep(1)
        assert status(yard, address) == 401
    finally:
        process.terminate()
        process.wait(20)
        valkey.kill()
        valkey.wait()


def test_a_web_process_ends_only_when_its_streams_have(make: Make) -> None:
    process, address = start_web()
    yard = make(address=address)
    with httpx.stream("POST", yard.url, headers=yard.headers(x_behave="stepwise"), json={}, timeout=20) as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"data: 0\n\n"
        process.terminate()
        time.sleep(0.5)
        assert process.poll() is None
        yard.engine.step.set()
        assert next(parts) == b"data: 1\n\n"
        yard.engine.step.set()
        assert next(parts) == b"data: 2\n\n"
        yard.engine.step.set()
        assert list(parts) == []
    process.wait(20)
