"""The servers that are compared, each in an interpreter of its own, kept outside the checkout."""

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
from typing import Any

import httpx
import psutil

from modelyard.runtimes import LaunchContext
from modelyard.runtimes.testing import describe
from runtimes.onnx import OnnxRuntime
from tests.runtimes.demo_model import demo_model_folder

PACKAGES = {  # versions that work together: newer optimum and uvloop break the two
    "infinity-emb": ["infinity-emb[server]==0.0.78", "optimum[onnxruntime]==1.24.0"],
    "MLServer": ["mlserver==1.7.1", "uvloop==0.21.0", "onnxruntime==1.32.0", "tokenizers==0.23.3"],
}
START_SECONDS = 120
NAME = "bench"


@dataclass
class Server:
    """One server: its processes, where it answers, and how a text is asked and a vector is read."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    path: str
    headers: dict[str, str]
    body: Callable[[str], dict[str, Any]]
    vector: Callable[[dict[str, Any]], list[float]]
    started: float
    log: Path
    ready_seconds: float = 0.0
    peak: int = field(default=0)

    @property
    def url(self) -> str:
        """What is called."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def embed(self, text: str) -> list[float]:
        """One vector."""
        answer = httpx.post(self.url, json=self.body(text), headers=self.headers, timeout=60, trust_env=False)
        answer.raise_for_status()
        return self.vector(answer.json())

    def wait(self) -> None:
        """Until it gives a vector."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.embed("ready?")
            except (httpx.HTTPError, LookupError):
                time.sleep(0.05)
                continue
            self.ready_seconds = time.monotonic() - self.started
            return
        self.end()
        raise SystemExit(f"{self.name} does not answer. Its log ends with:\n{self.log.read_text()[-2000:]}")

    def tree(self) -> list[psutil.Process]:
        """All its processes."""
        try:
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.Error:
            return []

    def cpu(self) -> float:
        """Processor seconds so far."""
        return sum(times.user + times.system for times in (each.cpu_times() for each in self.tree()))

    def look_at_memory(self) -> None:
        """Remember the most that its processes had resident together."""
        self.peak = max(self.peak, sum(each.memory_info().rss for each in self.tree()))

    def end(self) -> None:
        """It and all that it started."""
        for each in reversed(self.tree()):
            each.kill()
        self.process.wait()


def start(folder: Path) -> list[Server]:
    """All of them, ready."""
    for name in PACKAGES:
        interpreter(name)
    model = _model(folder)
    servers: list[Server] = []
    for launch in (_ours, _infinity, _mlserver):  # one after the other, so that each start is measured alone
        servers.append(launch(model, folder))
        servers[-1].wait()
    return servers


def _model(folder: Path) -> Path:
    """The demo model, with what transformers wants beside it."""
    model = folder / "model"
    shutil.copytree(demo_model_folder(), model)
    words = {"tokenizer_class": "BertTokenizer", "model_max_length": 256, "do_lower_case": True}
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    (model / "tokenizer_config.json").write_text(json.dumps(words | special))
    return model


def _ours(model: Path, folder: Path) -> Server:
    work = folder / "ours"
    work.mkdir()
    runtime, port = OnnxRuntime(), free_port()
    options = runtime.options()
    launch = LaunchContext(describe(model, format="onnx"), options, "127.0.0.1", port, "s3cret", work, NAME)
    command = runtime.command(launch)
    return _server("Modelyard ONNX", command.argv, dict(command.env), port, folder, {"Authorization": "Bearer s3cret"})


def _infinity(model: Path, folder: Path) -> Server:
    python, port = interpreter("infinity-emb"), free_port()
    command = [str(python.with_name("infinity_emb")), "v2", "--model-id", str(model), "--served-model-name", NAME]
    command += ["--engine", "optimum", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port), "--url-prefix"]
    env = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "HF_HOME": str(folder)}
    return _server("infinity-emb", [*command, "/v1", "--pooling-method", "mean"], env, port, folder, {})


def _mlserver(model: Path, folder: Path) -> Server:
    python, port = interpreter("MLServer"), free_port()
    place = folder / "mlserver"
    place.mkdir()
    shutil.copyfile(Path(__file__).with_name("mlserver_runtime.py"), place / "bench_runtime.py")
    settings = {"http_port": port, "host": "127.0.0.1", "grpc_port": free_port(), "metrics_port": free_port(),
                "debug": False, "use_structured_logging": False}  # fmt: skip
    (place / "settings.json").write_text(json.dumps(settings))
    about = {"name": NAME, "implementation": "bench_runtime.Embeddings"}
    (place / "model-settings.json").write_text(json.dumps(about))
    env = {"BENCH_MODEL": str(model), "PYTHONPATH": str(place), "ORT_DISABLE_TELEMETRY": "1"}
    server = _server("MLServer", [str(python.with_name("mlserver")), "start", str(place)], env, port, folder, {})
    server.path = f"/v2/models/{NAME}/infer"
    server.body = lambda text: {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    server.vector = lambda body: list(body["outputs"][0]["data"])
    return server


def _server(name: str, argv: Any, env: dict[str, str], port: int, folder: Path, headers: dict[str, str]) -> Server:
    log = (folder / f"{name}.log").open("wb")
    base = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MODELYARD"))}
    process = subprocess.Popen(argv, env=base | env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    return Server(
        name, process, port, "/v1/embeddings", headers,
        lambda text: {"model": NAME, "input": text}, lambda body: list(body["data"][0]["embedding"]), time.monotonic(),
        folder / f"{name}.log",
    )  # fmt: skip


def interpreter(name: str) -> Path:
    """The interpreter of a peer, made at the first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard" / "bench"
    place = cache / name
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        sys.stderr.write(f"Installing {name} (once) …\n")
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([_old_python(), "-m", "venv", str(place)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES[name]]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
        (place / "complete").touch()
    return python


def _old_python() -> str:
    """The peers' packages are made for Python 3.11."""
    known = sorted(Path.home().glob(".pyenv/versions/3.11*/bin/python"))
    found = str(known[-1]) if known else shutil.which("python3.11")
    if not found:
        raise SystemExit("the peers need Python 3.11: install it, then run this again")
    return found


def free_port() -> int:
    """A port of this host that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
