"""Downloads files in a process of its own, which can be killed: `python -m apps.models.hub.job`, the job on its input.

One line of JSON in, lines of JSON out: `{"done": bytes}` now and then, `{"file": ..., "sha256": ...}` for each that is
whole, `{"problem": ...}` at the end if it ends badly. It ends with its parent, whose end closes its input.
"""

import errno
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from apps.models.hub.failures import NETWORK, problem
from modelyard.problems import Problem

PARTS = ".hub"
"""The folder of what has come so far; a part is named after the commit and the path, so that it fits nothing else."""
PIECE = 256 * 1024  # bytes that are written at once, which is what a kill may cost
REPORT = 0.5  # seconds
HASHED = 4 * 2**20  # bytes that are hashed at once
METADATA_SECONDS = 20.0


TAMPERED = "A proxy or mirror on the way may change it: check HF_ENDPOINT and HTTPS_PROXY, then resume."
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Wanted:
    """One file; `sha256` and `oid` are what the hub says of its content, or empty."""

    path: str
    size: int
    sha256: str = ""
    oid: str = ""


class TooLong(Exception):
    """More came than the file has."""


class Bounded:
    """A part of a file, open to be written, that takes as much as the file has: a body may be without end."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream, self.size = stream, size
        self.seek, self.tell, self.truncate = stream.seek, stream.tell, stream.truncate

    def write(self, data: bytes) -> int:
        """All of it."""
        if self.tell() + len(data) > self.size:
            raise TooLong
        left = memoryview(data)
        while left:
            left = left[self.stream.write(left) :]
        return len(data)


class Job:
    """All files of one model."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.endpoint, self.repository, self.commit = given["endpoint"], given["repository"], given["commit"]
        self.token: str | bool = given["token"] or False
        self.folder = Path(given["folder"])
        self.files = [Wanted(**file) for file in given["files"]]
        self.workers = int(given["workers"])
        self.hashed = 0  # bytes; that it grows is all that counts
        (self.folder / PARTS).mkdir(exist_ok=True)

    def run(self) -> None:
        """Every file, a few at a time; the first problem ends it."""
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: dict[Future[str], Wanted] = {pool.submit(self._whole, file): file for file in self.files}
            while waiting:
                ready, _ = wait(waiting, REPORT, FIRST_COMPLETED)
                for each in ready:
                    file = waiting.pop(each)
                    say(file=file.path, size=file.size, sha256=self._result(each))
                say(done=sum(self._so_far()), hashed=self.hashed)

    def _result(self, ended: "Future[str]") -> str:
        try:
            return ended.result()
        except Problem as found:
            fail(found)
        except OSError as error:
            fail(_local(error) or self._explained(error))
        except Exception as error:  # noqa: BLE001 (whatever the library raises is told, not lost)
            fail(self._explained(error))
        return ""  # never: `fail` ends the process

    def _explained(self, error: Exception) -> Problem:
        try:
            return problem(error, self.endpoint, self.repository, self.commit, known=bool(self.token))
        except Exception as unknown:  # noqa: BLE001
            said = f"{type(unknown).__name__}: {' '.join(str(unknown).split())[:200]}"
            return Problem("hub_error", f"The download failed ({said}).", "Resume it, or look at the importer's log.")

    def _so_far(self) -> Iterator[int]:
        for file in self.files:
            for path in (self.folder / file.path, self._part(file)):
                try:
                    yield path.stat().st_size
                    break
                except OSError:
                    continue

    def _part(self, file: Wanted) -> Path:
        return self.folder / PARTS / part_name(self.commit, file.path)

    def _whole(self, file: Wanted) -> str:
        """The SHA-256 of the file, which is there and right when this returns."""
        target, part = self.folder / file.path, self._part(file)
        for last in (False, True):
            try:
                if not target.exists():
                    self._fetch(file, part)
            except TooLong:
                part.unlink()
                if last:
                    raise Problem("hub_checksum", f"{file.path} is longer than the hub states.", TAMPERED) from None
                continue
            found = target if target.exists() else part
            sha256 = checked(found, file, self._looked)
            if sha256:
                break
            found.unlink()
            if last:
                raise Problem(
                    "hub_checksum",
                    f"{file.path} came twice with another content than the hub states.",
                    TAMPERED,
                )
        if found is part:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
        return sha256

    def _looked(self, size: int) -> None:
        self.hashed += size

    def _fetch(self, file: Wanted, part: Path) -> None:
        """Go on where the part ends."""
        have = part.stat().st_size if part.exists() else 0
        if have > file.size:
            part.unlink()
            have = 0
        if have == file.size and part.exists():
            return
        try:
            self._get(file, part, have)
        except HfHubHTTPError as error:
            if error.response.status_code != 416:
                raise
            part.unlink(missing_ok=True)  # the server has another idea of its length: from the start
            self._get(file, part, 0)

    def _get(self, file: Wanted, part: Path, have: int) -> None:
        url = hf_hub_url(self.repository, file.path, revision=self.commit, endpoint=self.endpoint)
        found = get_hf_file_metadata(url, token=self.token, timeout=METADATA_SECONDS, endpoint=self.endpoint)
        ours = _origin(found.location) == _origin(url)  # the token is for the hub, not for the disks that it points at
        with part.open("r+b" if part.exists() else "w+b", buffering=0) as stream:
            stream.seek(have)
            http_get(
                found.location, Bounded(stream, file.size), resume_size=have,  # type: ignore[arg-type]
                expected_size=file.size,
                headers=build_hf_headers(token=self.token if ours else False), displayed_filename=file.path,
            )  # fmt: skip


def part_name(commit: str, path: str) -> str:
    """What a file that hasn't come whole is named meanwhile."""
    return hashlib.sha256(f"{commit}\0{path}".encode()).hexdigest()[:32]


def checked(path: Path, file: Wanted, each: Callable[[int], None]) -> str:
    """The SHA-256 of what is there; empty if that isn't what the hub states. `each` hears how much was read."""
    if path.stat().st_size != file.size:
        return ""
    sha256, git = hashlib.sha256(), hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(HASHED):
            sha256.update(piece)
            each(len(piece))
            if not file.sha256:
                git.update(piece)
    if file.sha256:
        return sha256.hexdigest() if sha256.hexdigest() == file.sha256 else ""
    return "" if len(file.oid) == 40 and git.hexdigest() != file.oid else sha256.hexdigest()


def _local(error: OSError) -> Problem | None:
    """What this machine's own disk says; None if it is the hub's or the network's."""
    if isinstance(error, (HfHubHTTPError, *NETWORK)) or not error.errno or error.errno < 0:
        return None
    said = error.strerror or error
    if error.errno in FULL:
        return Problem("disk", f"The disk took no more ({said}).", "Free some space, then resume.")
    if error.errno == errno.ENAMETOOLONG:
        name = str(error.filename2 or error.filename or "").rsplit("/", 1)[-1][:80]
        return Problem("hub_names", f"A file name is too long for this disk: {name}…", "Leave it out by patterns.")
    return Problem("disk", f"The disk can't be used ({said}).", "Mend the disk of the data directory, then resume.")


def _origin(url: str) -> tuple[str, str]:
    """Scheme and host: what is meant for one over TLS isn't for the same one without."""
    found = urlsplit(url)
    return found.scheme.lower(), found.netloc.lower()


def say(**what: Any) -> None:
    """A line for the parent."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def fail(found: Problem) -> None:
    """Tell the parent, and end at once: threads that still download aren't waited for."""
    say(problem={"code": found.code, "message": found.message, "next_step": found.next_step})
    os._exit(1)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(2)


def main() -> None:
    """Read the job, and do it."""
    given = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    constants.DOWNLOAD_CHUNK_SIZE = PIECE
    Job(given).run()
    os._exit(0)  # not held up by a thread that reads


if __name__ == "__main__":
    main()
