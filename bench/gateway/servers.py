"""What is measured, each pinned to the server's core: the engine itself, nginx before it, the gateway before it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import start_valkey

SERVER_CORE, LOAD_CORE = 0, 1
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 512; }}
  server {{ listen 127.0.0.1:{port} backlog=2048; keepalive_requests 1000000;
    location / {{ proxy_pass http://engine; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection ""; }} }}
}}
"""
ROWS = """
import json
from apps.apikeys import operations as apikeys
from apps.deployments import operations
from apps.deployments.models import Deployment, Replica
from apps.models.models import Format, Model, Status
model = Model.objects.create(name="bench", status=Status.READY, format=Format.ONNX)
made = operations.create(model=model, name="bench", runtime="echo", by=None)
Deployment.objects.update(status="deployed", desired="running", live_version=made.target_version)
Replica.objects.create(deployment=made, version=made.target_version, state="ready", port=%d, launches=1)
_, key = apikeys.create(deployment=made, name="bench", by=None)
print("BENCH", json.dumps([made.pk, key]))
"""


@dataclass
class Target:
    """One thing that is measured: where it answers, and whose CPU time counts."""

    name: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    processes: list[psutil.Process] = field(default_factory=list)

    def cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.processes)


class Servers:
    """Everything that runs during the benchmark; ended by `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.engine_port = free_port()
        self.start([sys.executable, "-m", "bench.gateway.upstream", str(self.engine_port)], LOAD_CORE, self.engine_port)

    def targets(self) -> list[Target]:
        path = "/v1/chat/completions"
        found = [Target("engine itself", f"http://127.0.0.1:{self.engine_port}{path}")]
        if shutil.which("nginx"):
            found.append(self.nginx(path))
        found.append(self.gateway(path))
        return found

    def nginx(self, path: str) -> Target:
        port = free_port()
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, engine=self.engine_port, port=port))
        master = self.start(["nginx", "-c", str(config), "-p", str(self.folder)], SERVER_CORE, port)
        return Target("nginx proxy_pass", f"http://127.0.0.1:{port}{path}", {}, psutil.Process(master.pid).children())

    def gateway(self, path: str) -> Target:
        data = self.folder / "data"
        self.started.append(start_valkey(data / "run"))
        env = {**os.environ, "MODELYARD_DATA_DIR": str(data)}
        manage = [sys.executable, "-m", "modelyard.cli"]
        subprocess.run([*manage, "migrate", "-v", "0"], env=env, check=True)
        said = subprocess.run([*manage, "shell", "-v", "0", "-c", ROWS % self.engine_port], env=env, check=True,
                              capture_output=True, text=True).stdout  # fmt: skip
        deployment, key = json.loads(said.partition("BENCH ")[2].splitlines()[0])
        port = free_port()
        web = self.start([*manage, "web", "--port", str(port)], SERVER_CORE, port, env)
        url = f"http://127.0.0.1:{port}/d/{deployment}{path}"
        return Target("Modelyard gateway", url, {"Authorization": f"Bearer {key}"}, [psutil.Process(web.pid)])

    def start(
        self, command: list[str], core: int, port: int, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["taskset", "-c", str(core), *command], env=env)
        self.started.append(process)
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return process
            time.sleep(0.05)
        raise RuntimeError(f"{command[0]} did not start")

    def close(self) -> None:
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
