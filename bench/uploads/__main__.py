"""`make bench-uploads`: the memory of the web process while it takes a large sparse file by the tus protocol.

A real `modelyard up` in a folder of its own, and a real client. Nothing is imported: the last byte is never sent. The
folder, as large as the file, is removed afterwards.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

PIECE = 64 * 2**20  # bytes of one request, as the admin's page sends them
READ = 2**20
EVERY = 0.1  # seconds between two looks at the memory
ROOM = 10 * 2**30  # bytes to be free afterwards
TOKEN = """
from django.contrib.auth.models import User
from knox.models import AuthToken
print("token:" + AuthToken.objects.create(user=User.objects.filter(is_superuser=True).first())[1])
"""


class Site:
    """A Modelyard that runs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.env = {**os.environ, "MODELYARD_DATA_DIR": str(folder), "MODELYARD_PORT": "0"}
        self.command = [sys.executable, "-m", "modelyard.cli"]
        self.up = subprocess.Popen(
            [*self.command, "up"], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.address = self._ready()

    def _ready(self) -> str:
        for line in self.up.stdout or ():
            if found := re.search(r"ready at (http://\S+?)/admin/", line):
                threading.Thread(target=lambda: list(self.up.stdout or ()), daemon=True).start()
                return found[1]
        raise SystemExit("modelyard up ended before it was ready")

    def token(self) -> str:
        """A user token of the first administrator."""
        said = subprocess.run([*self.command, "shell", "-v", "0", "-c", TOKEN], env=self.env, check=True,
                              capture_output=True, text=True).stdout  # fmt: skip
        return next(line.removeprefix("token:") for line in said.splitlines() if line.startswith("token:"))

    def web(self) -> list[psutil.Process]:
        """The processes that listen where the browser goes."""
        port = int(self.address.rpartition(":")[2])
        found = []
        for process in psutil.Process(self.up.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(each.laddr.port == port for each in process.net_connections("tcp") if each.status == "LISTEN"):
                    found.append(process)
        return found

    def end(self) -> None:
        """As Ctrl-C does."""
        self.up.send_signal(2)
        self.up.wait(60)


class Watch:
    """Looks at the memory of some processes until it is told to stop: resident bytes of all of them together."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self.processes = processes
        self.before = self.most = self.now()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def now(self) -> int:
        """At this moment."""
        return sum(int(process.memory_info().rss) for process in self.processes)

    def _look(self) -> None:
        while not self.over.wait(EVERY):
            self.most = max(self.most, self.now())

    def end(self) -> None:
        """The last look."""
        self.over.set()
        self.thread.join()


def pieces(file: Path, offset: int, size: int) -> Iterator[bytes]:
    """So many bytes of a file, from there on."""
    with file.open("rb") as opened:
        opened.seek(offset)
        for start in range(0, size, READ):
            yield opened.read(min(READ, size - start))


def send(site: Site, file: Path, size: int) -> float:
    """All of the file, of one that is announced a byte longer; seconds that it took. It is discarded again."""
    headers = {"Authorization": f"Bearer {site.token()}", "Tus-Resumable": "1.0.0"}
    named = {"Upload-Length": str(size + 1), "Upload-Metadata": f"filename {b64encode(b'sparse.zip').decode()}"}
    with httpx.Client(base_url=site.address, headers=headers, timeout=120) as client:
        place = client.post("/api/v1/uploads/", headers=named).raise_for_status().headers["Location"]
        began = time.perf_counter()
        for offset in range(0, size, PIECE):
            length = min(PIECE, size - offset)
            part = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
            part["Content-Length"] = str(length)
            client.patch(place, headers=part, content=pieces(file, offset, length)).raise_for_status()
        took = time.perf_counter() - began
        client.delete(place).raise_for_status()
    return took


def main() -> None:
    """Print one line of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=20)
    size = int(parser.parse_args().gib * 2**30)
    place = Path(tempfile.mkdtemp(prefix="bench-uploads-"))
    try:
        if shutil.disk_usage(place).free < size + ROOM:
            raise SystemExit(f"It needs {(size + ROOM) / 2**30:.0f} GiB of disk in {place}; --gib makes it smaller.")
        sparse = place / "sparse.zip"
        with sparse.open("wb") as opened:
            opened.truncate(size)
        measure(place, sparse, size)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def measure(place: Path, sparse: Path, size: int) -> None:
    """One upload, and what it took."""
    site = Site(place / "data")
    try:
        httpx.get(f"{site.address}/admin/login/").raise_for_status()  # what Django keeps from its first page on
        watch = Watch(site.web())
        took = send(site, sparse, size)
        watch.end()
    finally:
        site.end()
    print("| size | MB/s | web's memory before | at most |\n|---|---|---|---|")
    print(
        f"| {size / 2**30:g} GiB | {size / took / 1e6:.0f} | {watch.before / 1e6:.0f} MB | {watch.most / 1e6:.0f} MB |"
    )


if __name__ == "__main__":
    main()
