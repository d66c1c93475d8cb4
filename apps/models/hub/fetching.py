"""The download of one model as its import does it: by a child process that is watched, killed if it stalls, retried."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.models import blobs
from apps.models.archive import FREE_RESERVE, Unpacked
from apps.models.hub.failures import TRANSIENT
from apps.models.hub.job import PARTS, part_name
from apps.models.hub.models import HubOrigin
from apps.models.hub.preflight import token_of
from apps.models.storage import discard, free_bytes
from modelyard.problems import Problem

WORKERS = 4  # files at a time
TRIES = 6  # in a row that brought no byte
BACKOFF = (2.0, 5.0, 15.0, 30.0, 60.0)  # seconds
TICK = 0.5  # seconds
SPEED_OVER = 10.0  # seconds over which the speed is taken
PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PYTHONPATH",
)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")

Report = Callable[..., None]
"""`report(stage=..., progress=...)`; raises what ends the import."""


class Download:
    """All files of a model into `folder`, from wherever an earlier try got to."""

    def __init__(self, origin: HubOrigin, folder: Path, report: Report, share: int) -> None:
        self.origin, self.folder, self.share = origin, folder, share
        self._report = report
        self.files: dict[str, Unpacked] = {}
        self.seen: list[tuple[float, int]] = []
        self.done = self.hashed = self.first = 0
        self.told = 0.0

    def run(self) -> list[Unpacked]:
        """The files, whole and as the hub states them. A Problem once nothing helps."""
        self._only_ours()
        self._from_store()
        self._room()
        self.first = self._there()
        failed = 0
        while len(self.files) < len(self.origin.files):
            before = self.done
            found = self._try()
            if found is None:
                break
            failed = failed + 1 if self.done <= before else 1
            if found.code not in TRANSIENT | {"hub_stalled"} or failed >= TRIES:
                raise found
            self._pause(BACKOFF[min(failed - 1, len(BACKOFF) - 1)], found)
        discard(self.folder / PARTS)
        return [self.files[file["path"]] for file in self.origin.files]

    def _only_ours(self) -> None:
        """What an earlier try brought of another commit is no part of this one."""
        paths = {file["path"] for file in self.origin.files}
        parts = {f"{PARTS}/{part_name(self.origin.commit, path)}" for path in paths}
        for path in sorted(self.folder.rglob("*"), reverse=True):  # what is in a folder before the folder
            if path.is_dir() and not path.is_symlink():
                with contextlib.suppress(OSError):  # there is something in it
                    path.rmdir()
            elif path.relative_to(self.folder).as_posix() not in paths | parts:
                path.unlink(missing_ok=True)

    def _there(self) -> int:
        """Bytes that have come."""
        size = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a child that is being ended has renamed it
                size += path.stat().st_size if path.is_file() else 0
        return size

    def _room(self) -> None:
        needed, free = self.origin.total_bytes - self._there() + FREE_RESERVE, free_bytes()
        if needed > free:
            raise Problem(
                "disk", f"The download needs {needed / 2**30:.1f} GiB more, and {free / 2**30:.1f} GiB are free.",
                "Free some space in the data directory, then resume.",
            )  # fmt: skip

    def _from_store(self) -> None:
        """What another model has already isn't downloaded again."""
        for file in self.origin.files:
            target = self.folder / file["path"]
            if file["sha256"] and not target.exists() and blobs.take(file["sha256"], file["size"], target):
                self.files[file["path"]] = Unpacked(file["path"], file["size"], file["sha256"])

    def _try(self) -> Problem | None:
        """One child, until it ends or stalls; what was wrong, or None."""
        missing = [file for file in self.origin.files if file["path"] not in self.files]
        with Child(self._job(missing)) as child:
            moved, self.seen, self.hashed = time.monotonic(), [], 0
            while True:
                line = child.line(TICK)
                if line is None and child.ended:
                    return child.death()
                if line and "problem" in line:
                    return Problem(**line["problem"])
                if line and "file" in line:
                    self.files[line["file"]] = Unpacked(line["file"], line["size"], line["sha256"])
                    moved = time.monotonic()
                if line and "done" in line and self._moved(line["done"], line["hashed"], missing):
                    moved = time.monotonic()
                if len(self.files) == len(self.origin.files):
                    return None
                if time.monotonic() - moved > settings.HUB_STALL_SECONDS:
                    return Problem(
                        "hub_stalled", f"Not a byte came for {settings.HUB_STALL_SECONDS} s.",
                        "Check the network, then resume: what has come is kept.",
                    )  # fmt: skip
                self._tell()

    def _moved(self, done: int, hashed: int, missing: list[dict[str, Any]]) -> bool:
        """Note what has come, in all; was it more than before, or was more of it checked, which takes its time?"""
        names = {file["path"] for file in missing}
        done += sum(file["size"] for file in self.origin.files if file["path"] not in names)
        more = done > self.done or hashed > self.hashed
        self.done, self.hashed = done, hashed
        now = time.monotonic()
        self.seen = [(at, had) for at, had in self.seen if now - at < SPEED_OVER] + [(now, done)]
        return more

    def _tell(self) -> None:
        if time.monotonic() - self.told < 1:
            return
        self.told = time.monotonic()
        total, speed = max(self.origin.total_bytes, 1), self._speed()
        HubOrigin.objects.filter(pk=self.origin.pk).update(done_bytes=self.done, bytes_per_second=speed)
        stage, progress = said(self.done, total, speed)[:64], min(self.done * self.share // total, self.share)
        # A download that gets on isn't what ends its worker, however often that ends.
        self._report(stage=stage, progress=progress, **({"attempts": 1} if self.done > self.first else {}))

    def _speed(self) -> int:
        if len(self.seen) < 2:
            return 0
        (began, had), (now, has) = self.seen[0], self.seen[-1]
        return max(int((has - had) / max(now - began, 0.001)), 0)

    def _pause(self, seconds: float, why: Problem) -> None:
        """Wait, and go on showing a sign of life."""
        until = time.monotonic() + seconds
        HubOrigin.objects.filter(pk=self.origin.pk).update(bytes_per_second=0)
        while (left := until - time.monotonic()) > 0:
            self._report(stage=f"Trying again in {left:.0f} s: {why.message}"[:64])
            time.sleep(min(left, 1))

    def _job(self, files: list[dict[str, Any]]) -> dict[str, Any]:
        # Read anew for each try: a token that was replaced meanwhile is used.
        origin = HubOrigin.objects.select_related("connection").get(pk=self.origin.pk)
        return {
            "endpoint": settings.HUB_ENDPOINT, "repository": origin.repository, "commit": self.origin.commit,
            "token": token_of(origin.connection) or "", "folder": str(self.folder), "files": files, "workers": WORKERS,
        }  # fmt: skip


class Child:
    """The process that downloads; killed on the way out."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apps.models.hub.job"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environment(str(job["folder"])), start_new_session=True, text=True,
        )  # fmt: skip
        self.lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.errors: list[str] = []
        for target in (self._read, self._read_errors):
            threading.Thread(target=target, daemon=True).start()
        try:
            if self.process.stdin:
                # The token goes this way: neither the arguments nor the environment of a process are a secret.
                self.process.stdin.write(json.dumps(dict(job)) + "\n")
                self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its death says why
        self.ended = False

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                if stream:
                    stream.close()
            except OSError:
                continue

    def line(self, seconds: float) -> dict[str, Any] | None:
        """The next thing that it says; None if it says nothing for so long, or has ended."""
        try:
            found = self.lines.get(timeout=seconds)
        except queue.Empty:
            return None
        self.ended = self.ended or found is None
        return found

    def death(self) -> Problem:
        """Why it ended without a word."""
        code = self.process.wait()
        last = " ".join(" ".join(self.errors[-3:]).split())[-200:]
        said = f"The download's process ended ({code}). {last}".strip()
        return Problem("hub_error", said, "Resume the download; the importer's log says more.")

    def _read(self) -> None:
        for line in self.process.stdout or ():
            try:
                self.lines.put(json.loads(line))
            except ValueError:
                continue
        self.lines.put(None)

    def _read_errors(self) -> None:
        for line in self.process.stderr or ():
            self.errors = [*self.errors[-20:], line]


def environment(home: str) -> dict[str, str]:
    """What the child gets: the way to the network, and none of our secrets."""
    proxies = [name for upper in PROXIES for name in (upper, upper.lower())]
    passed = {name: os.environ[name] for name in (*PASSED_ON, *proxies) if name in os.environ}
    return {
        **passed,
        "HF_HOME": f"{home}/{PARTS}/home",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # Plain HTTP can be resumed at any byte, and its progress be seen.
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": str(min(30, settings.HUB_STALL_SECONDS)),
    }


def said(done: int, total: int, speed: int, doing: str = "Downloading") -> str:
    """What is being done: bytes, speed and time left, in a line."""
    unit, size = next((u, s) for u, s in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)) if total >= s or s == 10**3)
    line = f"{doing} · {done / size:.1f} of {total / size:.1f} {unit}"
    if speed:
        line += f" · {speed / 1e6:.1f} MB/s · {_time((total - done) / speed)} left"
    return line


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
