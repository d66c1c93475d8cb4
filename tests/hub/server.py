"""A hub on this machine, as the real `huggingface_hub` client expects one: two hosts, and troubles on demand.

One host has the API and small files; large ones are on a second host, as on Hugging Face, where a redirect leads.
Made after the documentation and the client's own requests; the real hub can't be reached from tests.
"""

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 1024  # bytes from which a file is on the second host
ACCOUNTS = {"hf_good": "anna", "hf_other": "otto"}


@dataclass
class Repo:
    """A repository: its files by commit, and who may have them."""

    files: dict[str, bytes]
    private: bool = False
    gated: bool = False
    members: tuple[str, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)
    task: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    older: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        return commit_of(self.files)

    def at(self, revision: str) -> dict[str, bytes] | None:
        if revision in {"main", self.commit}:
            return self.files
        return self.older.get(revision)

    def update(self, files: dict[str, bytes]) -> None:
        self.older[self.commit] = self.files
        self.files = files


@dataclass
class Troubles:
    """What goes wrong, and for how many requests; a negative number means for ever."""

    statuses: list[int] = field(default_factory=list)  # of the next requests to the hub, one each
    break_after: int = 0  # bytes after which the next downloads are cut
    breaks: int = 0
    hang_after: int = -1  # bytes after which the next downloads stand still
    hangs: int = 0
    speed: int = 0  # bytes a second; 0: any
    corrupt: int = 0  # downloads with another content
    ignore_range: bool = False
    refuse_range: int = 0  # answers 416
    retry_after: str = "1"
    bodies: list[bytes] = field(default_factory=list)  # what answers the next requests to the hub, well or not
    drops: int = 0  # of the next requests to the hub, as many are answered by a byte now and then, for ever
    endless: int = 0  # downloads that are answered by a body without end
    silences: int = 0  # and so many not at all


@dataclass(frozen=True)
class Seen:
    """One request."""

    host: str
    method: str
    path: str
    headers: dict[str, str]


def commit_of(files: dict[str, bytes]) -> str:
    listed = [(path, hashlib.sha1(data).hexdigest()) for path, data in sorted(files.items())]
    return hashlib.sha1(json.dumps(listed).encode()).hexdigest()


def oid_of(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """Both hosts, their repositories, what they were asked, and their troubles."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.troubles = Troubles()
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.front = self._start(Front)
        self.disks = self._start(Disks)
        self.address = f"http://127.0.0.1:{self.front.server_port}"
        self.second = f"http://localhost:{self.disks.server_port}"

    def _start(self, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
        bound = type(handler.__name__, (handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def close(self) -> None:
        self.over.set()
        for server in (self.front, self.disks):
            server.shutdown()
            server.server_close()

    def asked(self, host: str, method: str = "GET") -> list[Seen]:
        return [each for each in self.seen if each.host == host and each.method == method]

    def blob(self, sha256: str) -> bytes | None:
        for repo in self.repos.values():
            for files in (repo.files, *repo.older.values()):
                for data in files.values():
                    if hashlib.sha256(data).hexdigest() == sha256:
                        return data
        return None


class Base(BaseHTTPRequestHandler):
    hub: Hub
    name = ""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.hub.lock:
            self.hub.seen.append(Seen(self.name, self.command, self.path, headers))
        try:
            self.respond()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def respond(self) -> None:
        raise NotImplementedError

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, status: int, content: Any, **headers: str) -> None:
        self.send(status, json.dumps(content).encode(), content_type="application/json", **headers)

    def error(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        told = {"x_error_code": code} if code else {}
        said = {"x_error_message": message} if message else {}
        self.json(status, {"error": message or code}, **told, **said, **headers)

    def content(self, data: bytes, **headers: str) -> None:
        """A file's content, all or a range of it, and with it the troubles of transfers."""
        troubles, begin, total = self.hub.troubles, 0, len(data)
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and not troubles.ignore_range:
            begin = int(asked[1])
            if begin >= total or troubles.refuse_range:
                troubles.refuse_range -= bool(troubles.refuse_range)
                self.send(416, content_range=f"bytes */{total}")
                return
            headers["content_range"] = f"bytes {begin}-{total - 1}/{total}"
        if self.command == "GET" and troubles.corrupt:
            troubles.corrupt -= 1
            data = bytes(len(data))
        if self.command == "GET" and troubles.endless:
            self._endless()
            return
        self.send_response(206 if begin else 200)
        for name, value in {"content-length": str(total - begin), "accept-ranges": "bytes", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self._stream(data[begin:])

    def _endless(self) -> None:
        self.hub.troubles.endless -= 1
        self.close_connection = True
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        while not self.hub.over.is_set():
            self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    def _stream(self, data: bytes) -> None:
        troubles, sent = self.hub.troubles, 0
        breaks = troubles.break_after if troubles.breaks else None
        hangs = troubles.hang_after if troubles.hangs else None
        piece = max(troubles.speed // 20, 1) if troubles.speed else 64 * 1024
        for start in range(0, len(data), piece):
            if breaks is not None and sent >= breaks:
                troubles.breaks -= 1
                self.connection.close()
                self.close_connection = True
                return
            if hangs is not None and sent >= hangs:
                troubles.hangs -= 1
                self.hub.over.wait(60)
                self.close_connection = True
                return
            self.wfile.write(data[start : start + piece])
            sent += len(data[start : start + piece])
            if troubles.speed:
                time.sleep(0.05)


class Front(Base):
    """The API, and small files."""

    name = "front"

    def respond(self) -> None:
        if self.hub.troubles.statuses:
            status = self.hub.troubles.statuses.pop(0)
            if status:
                self.error(status, message="trouble", retry_after=self.hub.troubles.retry_after)
                return
        if self._strange():
            return
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if path == "/api/whoami-v2":
            self._whoami()
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._info(found[1], found[2] or "main", "blobs" in parse_qs(parts.query))
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tree(found[1], found[2])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(found[1], found[2], found[3])
        else:
            self.error(404)

    def _strange(self) -> bool:
        """Did it answer as no hub does?"""
        troubles = self.hub.troubles
        if troubles.bodies:
            self.send(200, troubles.bodies.pop(0))
        elif troubles.silences:
            troubles.silences -= 1
            self.hub.over.wait(60)
            self.close_connection = True
        elif troubles.drops:
            troubles.drops -= 1
            self.send_response(200)
            self.send_header("content-length", "100000")
            self.end_headers()
            while not self.hub.over.wait(0.05):
                self.wfile.write(b" ")
        else:
            return False
        return True

    def _account(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return ACCOUNTS.get(token, "" if not token else None)

    def _repo(self, name: str) -> Repo | None:
        repo, account = self.hub.repos.get(name), self._account()
        if account is None:
            self.error(401, message="Invalid credentials in Authorization header")
        elif repo is None or (repo.private and account not in repo.members):
            # The hub tells nobody whether a repository that they may not see is there.
            self.error(404 if account else 401, "RepoNotFound" if account else "", "Repository not found")
        else:
            return repo
        return None

    def _whoami(self) -> None:
        account = self._account()
        if account:
            self.json(200, {"type": "user", "name": account, "auth": {"type": "access_token"}})
        else:
            self.error(401, message="Invalid credentials in Authorization header")

    def _info(self, name: str, revision: str, blobs: bool) -> None:
        if not (repo := self._repo(name)):
            return
        files = repo.at(revision)
        if files is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        self.json(200, {
            "_id": "1", "id": name, "modelId": name, "sha": commit_of(files), "private": repo.private,
            "gated": "manual" if repo.gated else False, "disabled": False, "tags": [], "downloads": 0, "likes": 0,
            "pipeline_tag": repo.task or None, "library_name": "transformers", "cardData": repo.card,
            "config": repo.config, "siblings": [_sibling(path, data, blobs) for path, data in files.items()],
        })  # fmt: skip

    def _tree(self, name: str, revision: str) -> None:
        if repo := self._repo(name):
            files = repo.at(revision) or {}
            self.json(200, [{"type": "file", "path": path, "size": len(data), "oid": oid_of(data)}
                            for path, data in files.items()])  # fmt: skip

    def _resolve(self, name: str, revision: str, path: str) -> None:
        if not (repo := self._repo(name)):
            return
        if repo.gated and self._account() not in repo.members:
            known = bool(self._account())
            self.error(403 if known else 401, "GatedRepo", f"Access to model {name} is restricted")
            return
        files = repo.at(revision)
        if files is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif path not in files:
            self.error(404, "EntryNotFound", "Entry not found")
        elif len(files[path]) < LARGE:
            self.content(files[path], etag=f'"{oid_of(files[path])}"', x_repo_commit=commit_of(files))
        else:
            sha256 = hashlib.sha256(files[path]).hexdigest()
            self.send(302, location=f"{self.hub.second}/blob/{sha256}?signature=1", x_repo_commit=commit_of(files),
                      x_linked_size=str(len(files[path])), x_linked_etag=f'"{sha256}"', etag=f'"{sha256}"')  # fmt: skip


class Disks(Base):
    """The second host: content by its hash, and no business with tokens."""

    name = "disks"

    def respond(self) -> None:
        data = self.hub.blob(urlsplit(self.path).path.removeprefix("/blob/"))
        if data is None:
            self.send(403)
        else:
            self.content(data)


def _sibling(path: str, data: bytes, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    known = {"rfilename": path, "size": len(data), "blobId": oid_of(data)}
    if len(data) >= LARGE:
        known["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return known
