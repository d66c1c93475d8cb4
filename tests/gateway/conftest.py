"""A real web process on the tests' own database and Valkey, and engines that misbehave on request."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
from django.conf import settings
from django.db import connection

from apps.apikeys import operations as apikeys
from apps.deployments import operations
from apps.deployments.models import Deployment, Replica
from apps.deployments.statuses import Desired, ReplicaState, Status
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus
from modelyard import changes
from tests.environment import DATA
from tests.gateway import upstream


def database_url() -> str:
    """The address of the tests' database, for other processes."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    parts = urlsplit(settings.DATABASE_URL)
    return urlunsplit(parts._replace(path=f"/{name}"))


def start_web(**env: str) -> tuple[subprocess.Popen[bytes], str]:
    """A web process that answers, and its address."""
    port = upstream.free_port()
    command = [sys.executable, "-m", "modelyard.cli", "web", "--port", str(port)]
    everything = {**os.environ, "MODELYARD_DATABASE_URL": database_url(), "MODELYARD_DATA_DIR": str(DATA), **env}
    process = subprocess.Popen(command, env=everything)
    for _ in range(300):
        try:
            httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return process, f"http://127.0.0.1:{port}"
    process.kill()
    raise RuntimeError("the web process did not start")


@pytest.fixture(scope="session")
def web(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    with django_db_blocker.unblock():
        process, address = start_web(MODELYARD_MAX_REQUEST_BYTES="3000000", MODELYARD_GATEWAY_TIMEOUT="2")
    yield address
    process.terminate()
    process.wait(20)


@dataclass
class Yard:
    """A deployment whose engine the test holds."""

    address: str
    deployment: Deployment
    key: str
    engines: list[upstream.Engine] = field(default_factory=list)

    @property
    def engine(self) -> upstream.Engine:
        return self.engines[0]

    @property
    def url(self) -> str:
        return f"{self.address}/d/{self.deployment.pk}/v1/chat/completions"

    def headers(self, **more: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.key}",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }

    def post(self, behave: str = "json", url: str = "", **options: Any) -> httpx.Response:
        headers = self.headers(x_behave=behave) | options.pop("headers", {})
        options.setdefault("json", {"messages": []})
        if "content" in options:
            options.pop("json")
        return httpx.post(url or self.url, headers=headers, timeout=15, **options)

    def put(self, **fields: Any) -> None:
        """Change the row, and say so, as the operations do."""
        Deployment.objects.filter(pk=self.deployment.pk).update(**fields)
        changes.announce("deployment", self.deployment.pk)


Make = Callable[..., Yard]


@pytest.fixture
def make(transactional_db: None, web: str) -> Iterator[Make]:
    """Makes deployed deployments with so many engines."""
    running: list[upstream.Engine] = []

    def one(engines: int = 1, name: str = "chat", address: str = web) -> Yard:
        model, _ = Model.objects.get_or_create(
            name="tiny", defaults={"status": ModelStatus.READY, "format": Format.ONNX}
        )
        deployment = operations.create(model=model, name=name, runtime="echo", by=None)
        version = deployment.target_version
        Deployment.objects.filter(pk=deployment.pk).update(
            status=Status.DEPLOYED, desired=Desired.RUNNING, live_version=version
        )
        started = [upstream.start() for _ in range(engines)]
        running.extend(started)
        for engine in started:
            Replica.objects.create(
                deployment=deployment, version=version, state=ReplicaState.READY, port=engine.port, launches=1
            )
        deployment.refresh_from_db()
        _, text = apikeys.create(deployment=deployment, name="test", by=None)
        return Yard(address, deployment, text, started)

    yield one
    for engine in running:
        engine.server.shutdown()
        engine.server.server_close()


@pytest.fixture
def yard(make: Make) -> Yard:
    return make()


def eventually(true: Callable[[], bool], limit: float = 10) -> None:
    """Wait until it is so."""
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it never became so"
        time.sleep(0.02)
