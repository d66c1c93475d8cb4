"""Owns a container as long as it lives: `contain.py PROGRAM NAME PATIENCE ARGUMENT …`; standard library only.

A container outlives a killed client. So what runs in it ends when its input does or falls silent, and this process
holds the other end: whatever happens to it, nothing keeps the container alive. See `inside.sh`.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

BEAT = 5.0
"""Seconds between signs of life; podman doesn't end a container's input when its client is killed."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Container:
    """The client that runs it, and what was asked of it."""

    def __init__(self, program: str, name: str, patience: float) -> None:
        self.program, self.name, self.patience = program, name, patience
        self.asked_at: float | None = None
        self.input, self.kept = os.pipe()
        os.set_blocking(self.kept, False)

    def run(self, arguments: list[str]) -> int:
        """The container's exit code."""
        woken = listen()
        self.remove()  # one that an earlier launch left
        try:
            client = subprocess.Popen([self.program, "run", f"--name={self.name}", *arguments], stdin=self.input)
            os.close(self.input)
            while (code := client.poll()) is None:
                self.step(client, wait(woken))
        finally:
            self.remove()
        return code if code >= 0 else 128 - code

    def step(self, client: subprocess.Popen[bytes], asked: bool) -> None:
        """A sign of life, or the next step of the end."""
        if self.asked_at is None and asked:
            self.asked_at = time.monotonic()
            os.close(self.kept)
        elif self.asked_at is None:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(self.kept, b"\n")
        elif time.monotonic() - self.asked_at > self.patience:
            self.remove()
            client.kill()

    def remove(self) -> None:
        """End it at once if it is there."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [self.program, "rm", "--force", self.name],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=30, check=False,
            )  # fmt: skip


def listen() -> int:
    """Signals as bytes of a pipe: none can be lost between two looks."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (*SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return readable


def wait(woken: int) -> bool:
    """Until a signal or the next sign of life is due; whether an end was asked for."""
    select.select([woken], [], [], BEAT)
    with contextlib.suppress(BlockingIOError):
        return any(number in SIGNALS for number in os.read(woken, 4096))
    return False


if __name__ == "__main__":
    sys.exit(Container(sys.argv[1], sys.argv[2], float(sys.argv[3])).run(sys.argv[4:]))
