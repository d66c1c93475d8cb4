"""What is measured, each pinned to the server's core: the engine itself, proxies before it, the gateway before it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from bench.gateway import peers
from tests.conftest import start_valkey

SERVER_CORE, LOAD_CORE = 0, 1
PATH = "/v1/chat/completions"
START_SECONDS = 120
ENGINE, NGINX, GATEWAY = "engine itself", "nginx proxy_pass", "Modelyard gateway"
OTHER = "… on --python"
GO, ROUTER, LITELLM = "Go ReverseProxy", "vllm-router", "LiteLLM proxy"
ROWS = """
import json
from apps.apikeys import operations as apikeys
from apps.apikeys.models import ApiKey
from apps.deployments import operations
from apps.deployments.models import Deployment, Replica
from apps.models.models import Format, Model, Status
model = Model.objects.create(name="bench", status=Status.READY, format=Format.ONNX)
made = operations.create(model=model, name="bench", runtime="echo", by=None)
limits = dict(requests_per_minute=10**8, tokens_per_minute=10**10, tokens_per_day=10**12, tokens_per_month=10**13,
              concurrent_requests=10**5)
Deployment.objects.update(status="deployed", desired="running", live_version=made.target_version, **limits)
Replica.objects.create(deployment=made, version=made.target_version, state="ready", port=%d, launches=1)
_, key = apikeys.create(deployment=made, name="bench", by=None)
ApiKey.objects.update(**limits)
print("BENCH", json.dumps([made.pk, key]))
"""


@dataclass
class Target:
    """One thing that is measured: where it answers, and whose CPU time and memory count."""

    name: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    process: psutil.Process | None = None

    def tree(self) -> list[psutil.Process]:
        """Its processes; none for the engine, which isn't on trial."""
        return [self.process, *self.process.children(recursive=True)] if self.process else []

    def cpu_seconds(self) -> float:
        """CPU time that they took so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.tree())

    def memory(self) -> float:
        """What they hold in memory, in MB."""
        return sum(process.memory_info().rss for process in self.tree()) / 1e6


class Servers:
    """Everything that runs during the benchmark; ended by `close`."""

    def __init__(self, folder: Path, python: str = "") -> None:
        self.folder = folder
        self.python = python  # another interpreter, that the gateway is measured on too
        self.started: list[subprocess.Popen[bytes]] = []
        self.skipped: dict[str, str] = {}
        self.engine_port = free_port()
        self.start([sys.executable, "-m", "bench.gateway.upstream", str(self.engine_port)], LOAD_CORE, self.engine_port)

    def targets(self, wanted: Callable[[str], bool]) -> list[Target]:
        """Those that are wanted and can be had here."""
        found = [Target(ENGINE, f"http://127.0.0.1:{self.engine_port}{PATH}")]
        makers = {
            NGINX: self.nginx, GATEWAY: self.gateway, OTHER: self.gateway_on_other, GO: self.go, ROUTER: self.router,
            LITELLM: self.litellm,
        }  # fmt: skip
        if not self.python:
            del makers[OTHER]
        for name, make in makers.items():
            if wanted(name):
                try:
                    found.append(make())
                except peers.Missing as why:
                    self.skipped[name] = str(why)
        return found

    def nginx(self) -> Target:
        """See `peers`."""
        port = free_port()
        master = self.start(peers.nginx(self.folder, self.engine_port, port), SERVER_CORE, port)
        return Target(NGINX, f"http://127.0.0.1:{port}{PATH}", {}, psutil.Process(master.pid))

    def go(self) -> Target:
        """See `peers`."""
        port = free_port()
        process = self.start(peers.go(self.folder, self.engine_port, port), SERVER_CORE, port)
        return ready(Target(GO, f"http://127.0.0.1:{port}{PATH}", {}, psutil.Process(process.pid)))

    def router(self) -> Target:
        """See `peers`."""
        port = free_port()
        process = self.start(peers.router(self.engine_port, port, free_port()), SERVER_CORE, port)
        target = Target(ROUTER, f"http://127.0.0.1:{port}{PATH}", {}, psutil.Process(process.pid))
        return ready(target)

    def litellm(self) -> Target:
        """See `peers`."""
        port = free_port()
        env = {**os.environ, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        process = self.start(peers.litellm(self.folder, self.engine_port, port), SERVER_CORE, port, env)
        key = {"Authorization": "Bearer sk-bench"}
        return ready(Target(LITELLM, f"http://127.0.0.1:{port}{PATH}", key, psutil.Process(process.pid)))

    def gateway_on_other(self) -> Target:
        """The same packages on another interpreter of the same version."""
        return self.gateway(OTHER, self.python, "other")

    def gateway(self, name: str = GATEWAY, python: str = sys.executable, folder: str = "data") -> Target:
        """With everything on: keys, every limit of key and deployment, the ledger, metrics."""
        data = self.folder / folder
        self.started.append(start_valkey(data / "run"))
        env = {**os.environ, "MODELYARD_DATA_DIR": str(data), "MODELYARD_GATEWAY_MAX_IN_FLIGHT": "100000"}
        manage = [sys.executable, "-m", "modelyard.cli"]
        subprocess.run([*manage, "migrate", "-v", "0"], env=env, check=True)
        said = subprocess.run([*manage, "shell", "-v", "0", "-c", ROWS % self.engine_port], env=env, check=True,
                              capture_output=True, text=True).stdout  # fmt: skip
        deployment, key = json.loads(said.partition("BENCH ")[2].splitlines()[0])
        port = free_port()
        web = self.start([python, "-m", "modelyard.cli", "web", "--port", str(port)], SERVER_CORE, port, env)
        url = f"http://127.0.0.1:{port}/d/{deployment}{PATH}"
        return ready(Target(name, url, {"Authorization": f"Bearer {key}"}, psutil.Process(web.pid)))

    def start(
        self, command: list[str], core: int, port: int, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start it on a core; its words go to a file that is shown if it fails."""
        log = self.folder / f"{port}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(["taskset", "-c", str(core), *command], env=env, stdout=said, stderr=said)
        self.started.append(process)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return process
            time.sleep(0.05)
        raise peers.Missing(f"{Path(command[0]).name} did not start: {log.read_text()[-300:].strip()}")

    def close(self) -> None:
        """End everything."""
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ready(target: Target) -> Target:
    """Wait until it answers a real request."""
    body = {"model": "bench", "messages": [{"role": "user", "content": "Hello"}]}
    last = ""
    for _ in range(START_SECONDS * 4):
        try:
            answer = httpx.post(target.url, json=body, headers=target.headers, timeout=30, trust_env=False)
            last = f"{answer.status_code}: {answer.text[:200]}"
            if answer.status_code == 200:
                return target
        except httpx.HTTPError as error:
            last = str(error)
        time.sleep(0.25)
    raise peers.Missing(f"{target.name} does not answer: {last}")


def free_port() -> int:
    """A port of this host that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def tools_missing() -> list[str]:
    """What the benchmark itself needs and isn't here."""
    return [tool for tool in ("wrk", "taskset") if not shutil.which(tool)]
