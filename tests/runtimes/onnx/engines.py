"""Real engine processes, started as a launcher starts them."""

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from modelyard.runtimes import Failure, LaunchContext, Model
from runtimes.onnx import OnnxRuntime
from runtimes.onnx.options import OnnxOptions

RUNTIME = OnnxRuntime()
START_SECONDS = 60


class Engine:
    """One engine: its process, its log and a client that holds its secret."""

    def __init__(self, context: LaunchContext[OnnxOptions]) -> None:
        self.context = context
        self.log = context.workdir / "log"
        command = RUNTIME.command(context)
        environment = {"PATH": os.environ["PATH"], **command.env}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command.argv, env=environment, stderr=log, stdout=log, cwd=context.workdir, start_new_session=True
            )
        headers = {"authorization": f"Bearer {context.secret}"}
        self.client = httpx.Client(base_url=context.base_url, headers=headers, timeout=60, trust_env=False)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def wait_ready(self) -> None:
        """Returns when a real inference worked."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return RUNTIME.probe(self.context, 10)
            except Failure as failure:
                if failure.code != "not_listening" or self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{failure} {self.lines()}") from failure
            time.sleep(0.05)

    def failure(self) -> Failure:
        """What the plug says about the end of this engine."""
        return RUNTIME.failure(self.process.wait(START_SECONDS), self.lines())

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def infer(self, *inputs: dict[str, Any], **more: Any) -> httpx.Response:
        return self.post("/v2/models/demo/infer", {"inputs": list(inputs), **more})

    def embed(self, given: Any, **more: Any) -> httpx.Response:
        return self.post("/v1/embeddings", {"model": "demo", "input": given, **more})

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])

    def end(self) -> None:
        self.client.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def model(folder: Path) -> Model:
    return Model(id="mdl_1", name="demo", path=folder, format="onnx")


def context(folder: Path, workdir: Path, port: int = 0, **options: Any) -> LaunchContext[OnnxOptions]:
    workdir.mkdir(parents=True, exist_ok=True)
    return LaunchContext(
        model=model(folder),
        options=OnnxOptions(**options),
        host="127.0.0.1",
        port=port or free_port(),
        secret=secrets.token_hex(32),
        workdir=workdir,
        served_name="demo",
    )


@contextlib.contextmanager
def running(folder: Path, workdir: Path, **options: Any) -> Iterator[Engine]:
    """A ready engine that ends with the block."""
    with starting(folder, workdir, **options) as engine:
        engine.wait_ready()
        yield engine


@contextlib.contextmanager
def starting(folder: Path, workdir: Path, **more: Any) -> Iterator[Engine]:
    """An engine that nobody waits for."""
    with serving(context(folder, workdir, **more)) as engine:
        yield engine


@contextlib.contextmanager
def serving(launch: LaunchContext[OnnxOptions]) -> Iterator[Engine]:
    """The engine of a launch."""
    engine = Engine(launch)
    try:
        yield engine
    finally:
        engine.end()
