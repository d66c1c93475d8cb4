"""One real engine of a runtime under test, started, watched and ended as in production."""

import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest

from modelyard.launchers import Launch, Observation, ProcessState
from modelyard.launchers.local import LocalLauncher
from modelyard.launchers.processes import members
from modelyard.launchers.records import Folder
from modelyard.runtimes import Command, Failure, LaunchContext, Model, ModelFile, Runtime

REPLICA = "rep_undertest"
SERVED_NAME = "model-under-test"
END_SECONDS = 15.0  # beyond the stop_seconds of the command, until everything has to be gone
POLL = 0.05


def describe(folder: Path, *, format: str, **more: Any) -> Model:
    """The model in this folder, as an import would describe it to the runtime."""
    files = [
        ModelFile(str(path.relative_to(folder)), path.stat().st_size, "")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return Model(id="mdl_undertest", name="undertest", path=folder, format=format, files=tuple(files), **more)


class Engine:
    """An engine in a folder of its own; a context manager that leaves nothing behind."""

    def __init__(
        self, runtime: Runtime[Any], model: Model, options: Mapping[str, Any], folder: Path, port: int = 0
    ) -> None:
        self.runtime = runtime
        self.launcher = LocalLauncher(folder)
        self.context = LaunchContext(
            model=model,
            options=runtime.options.model_validate(dict(options)),
            host="127.0.0.1",
            port=port or self.launcher.pick_port(()),
            secret=secrets.token_hex(32),
            workdir=self.launcher.workdir(REPLICA),
            served_name=SERVED_NAME,
        )
        self.headers = {"Authorization": f"Bearer {self.context.secret}"}
        self.client = httpx.Client(base_url=self.context.base_url, headers=self.headers, timeout=300, trust_env=False)
        self.command: Command | None = None
        self.peak = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.launcher.stop(REPLICA, now=True)
        self.wait(lambda: self.ended, END_SECONDS)
        for process in self.left():
            process.kill()
        self.launcher.remove(REPLICA)

    def start(self) -> Self:
        """Start it; returns at once."""
        self.run(self.runtime.command(self.context))
        return self

    def run(self, command: Command) -> None:
        """Start this command as the engine is started."""
        self.command = command
        self.launcher.start(Launch(REPLICA, 1, list(command.argv), dict(command.env), command.stop_seconds))

    def ready(self) -> Self:
        """Wait for a real inference, as long as the runtime says that a start may take."""
        deadline = time.monotonic() + self.runtime.ready_seconds
        while not self.answers():
            assert not self.ended, f"the engine ended: {self.death()} Its log:\n{self.said()}"
            assert time.monotonic() < deadline, (
                f"not ready in {self.runtime.ready_seconds:.0f} s. Its log:\n{self.said()}"
            )
            time.sleep(POLL)
        return self

    def answers(self) -> bool:
        """Does a real inference work now?"""
        try:
            self.runtime.probe(self.context, 60)
        except Failure as failure:
            if failure.permanent:
                pytest.fail(f"it can't be made to answer: {failure} Its log:\n{self.said()}")
            return False
        return True

    @property
    def observation(self) -> Observation:
        """What the launcher sees now."""
        seen = self.launcher.observe(REPLICA)
        self.peak = max(self.peak, seen.peak_memory or 0)
        return seen

    @property
    def ended(self) -> bool:
        """Has it ended?"""
        return self.observation.state in {ProcessState.EXITED, ProcessState.ABSENT}

    def death(self) -> Failure:
        """Why it ended, in the runtime's words."""
        return self.runtime.failure(self.observation.exit_code or 0, self.log())

    def log(self) -> Sequence[str]:
        """The last lines that it printed."""
        return self.launcher.log_tail(REPLICA)

    def said(self) -> str:
        """The log as text, for a message."""
        return "\n".join(self.log())

    def left(self) -> list[psutil.Process]:
        """Every process that this engine is or has started, whatever became of its parents."""
        pid = self.observation.pid
        return members(pid, Folder(self.launcher.root / REPLICA).mark(1)) if pid else []

    def stop(self) -> Observation:
        """Ask it to end, and wait until it has."""
        self.launcher.stop(REPLICA)
        return self.gone()

    def kill(self) -> Observation:
        """Kill its main process as the system's out-of-memory killer does."""
        pid = self.observation.pid
        assert pid, "the engine doesn't run"
        os.kill(pid, signal.SIGKILL)
        return self.gone()

    def gone(self, seconds: float = 0) -> Observation:
        """Wait until it has ended and nothing of it is left."""
        patience = seconds or ((self.command.stop_seconds if self.command else 0) + END_SECONDS)
        assert self.wait(lambda: self.ended, patience), f"still running after {patience:.0f} s"
        assert self.wait(lambda: not self.left(), END_SECONDS), f"left behind: {self.left()}"
        return self.observation

    def wait(self, fact: Callable[[], bool], seconds: float) -> bool:
        """Wait for a fact; whether it came true in time."""
        deadline = time.monotonic() + seconds
        while not fact():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    def ask(self, path: str, body: Any, *, method: str = "POST") -> httpx.Response:
        """A request as the gateway makes it."""
        return self.client.request(method, path, json=body if method == "POST" else None)
