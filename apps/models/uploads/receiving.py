"""Takes uploads below Django: bytes go from the connection to the disk, and nothing is put aside on the way.

`OPTIONS`, `POST`, `HEAD`, `PATCH` and `DELETE` of `/api/v1/uploads/`; a GET is the API's. A file on disk has what has
come, and only one request at a time may write it: the lock on it ends with the process that holds it.
"""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from email.utils import format_datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.db import close_old_connections

from apps.models.adapters import bases
from apps.models.models import Model
from apps.models.uploads import operations, tus
from apps.models.uploads.models import Upload
from modelyard.api.uploads import LINGER, authorized
from modelyard.problems import Problem, body_of

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
PATH = "/api/v1/uploads/"
METHODS = frozenset({"OPTIONS", "POST", "HEAD", "PATCH", "DELETE"})
OVERRIDE = b"x-http-method-override"
PIECE = 1024 * 1024  # bytes that are written at once
LOOK_EVERY = 256 * 2**20  # bytes after which the disk is looked at
SILENCE = 60.0  # seconds without a byte
STATUS_CHECKSUM = 460  # of the protocol


def ours(scope: Any) -> bool:
    """Is it a request of the protocol?"""
    return scope["path"].startswith(PATH) and scope["method"] in METHODS


class Uploads:
    """The ASGI application."""

    def __init__(self) -> None:
        self.writers: dict[str, asyncio.Task[Any]] = {}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """One request. What goes wrong is a problem body, as everywhere in the API."""
        request = Request(scope, receive)
        try:
            status, headers = await self._answer(request)
            await _send(send, status, headers)
        except Problem as problem:
            await _refuse(problem, request, send)

    async def _answer(self, request: "Request") -> tuple[int, dict[str, str]]:
        if request.method == "OPTIONS":
            return 204, {
                "Tus-Version": tus.VERSION, "Tus-Extension": tus.EXTENSIONS,
                "Tus-Max-Size": str(settings.MAX_UPLOAD_BYTES), 
                "Tus-Checksum-Algorithm": ",".join(tus.ALGORITHMS), "Allow": ", ".join(sorted(METHODS | {"GET"})),
            }  # fmt: skip
        user = await sync_to_async(_user)(request.scope)
        tus.check_version(request.headers)
        if request.method == "POST" and not request.upload_id:
            return await self._create(request, user)
        upload = await sync_to_async(_found)(request.upload_id, user)
        if request.method == "HEAD":
            return 200, {"Upload-Length": str(upload.length), "Cache-Control": "no-store", **_metadata(upload),
                         **_state(upload, operations.received(upload))}  # fmt: skip
        if request.method == "DELETE":
            await self._interrupt(upload.pk)
            await sync_to_async(_discard)(upload, user)
            return 204, {}
        if request.method != "PATCH":
            raise Problem("method_not_allowed", "That isn't done with an upload.", tus.STEP, status=405)
        return await self._append(request, upload)

    async def _create(self, request: "Request", user: User) -> tuple[int, dict[str, str]]:
        if "upload-defer-length" in request.headers:
            raise Problem("tus_header", "The length must be known at the beginning.", "Send Upload-Length.", status=400)
        length = tus.number(request.headers, "Upload-Length")
        told = tus.metadata(request.headers, operations.MAX_METADATA)
        raw = request.headers.get("upload-metadata", "")
        upload = await sync_to_async(_begin)(told, raw, length, user)
        headers = {"Location": f"{PATH}{upload.pk}"}
        if request.headers.get("content-type") == tus.STREAM and request.length:
            _, more = await self._write(request, upload, 0)
            return 201, {**headers, **more}
        return 201, {**headers, **_state(upload, 0)}

    async def _append(self, request: "Request", upload: Upload) -> tuple[int, dict[str, str]]:
        if request.headers.get("content-type") != tus.STREAM:
            raise Problem("tus_type", f"Send Content-Type: {tus.STREAM}.", tus.STEP, status=415)
        return await self._write(request, upload, tus.number(request.headers, "Upload-Offset"))

    async def _write(self, request: "Request", upload: Upload, offset: int) -> tuple[int, dict[str, str]]:
        """The bytes of one request; another one that still writes for the same upload gives way."""
        expected = tus.checksum(request.headers)
        await self._interrupt(upload.pk)
        task = asyncio.current_task()
        if task:
            self.writers[upload.pk] = task
        try:
            with Part(upload) as part:
                part.begin(offset)
                try:
                    await part.take(request, expected)
                finally:
                    size = part.size
                    if size > offset:  # however it ended
                        await sync_to_async(_touched)(upload)
                if size == upload.length:  # while nobody else writes it, nor begins the import
                    model = await sync_to_async(_finish)(upload)
                    return 204, {"Upload-Offset": str(size), "Modelyard-Model": model.pk}
        finally:
            if self.writers.get(upload.pk) is task:
                del self.writers[upload.pk]
        return 204, _state(upload, size)

    async def _interrupt(self, upload_id: str) -> None:
        """A client that comes back has given up the connection that we may still wait for."""
        if earlier := self.writers.pop(upload_id, None):
            earlier.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.wait_for(asyncio.shield(earlier), 5)


class Request:
    """What of an ASGI request is needed here."""

    def __init__(self, scope: Any, receive: Receive) -> None:
        self.scope, self.receive = scope, receive
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.method: str = scope["method"]
        if self.method == "POST":
            self.method = self.headers.get(OVERRIDE.decode(), self.method).upper()
        self.upload_id = scope["path"].removeprefix(PATH).strip("/")
        length = self.headers.get("content-length", "")
        self.length = int(length) if length.isdecimal() else 0
        self.read_all = False


class Part:
    """The file of an upload, locked for one writer."""

    def __init__(self, upload: Upload) -> None:
        self.upload, self.path = upload, operations.path_of(upload.pk)
        self.mark = operations.checked_path(upload.pk)
        self.size = 0
        self.looked = 0

    def __enter__(self) -> "Part":
        try:
            self.file = os.open(self.path, os.O_WRONLY)
        except FileNotFoundError:
            raise Problem("no_upload", "The upload isn't there any more.", "Begin it again.", status=404) from None
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self.file)
            step = "Try again in some seconds, or end the other one."
            raise Problem("upload_locked", "Another request writes this upload.", step, status=423) from None
        self.size = os.fstat(self.file).st_size
        self._only_checked()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.file)

    def _only_checked(self) -> None:
        """Whoever wrote before was killed before its bytes were compared with their checksum: they go."""
        most = operations.checked(self.upload.pk)
        if most is not None and most < self.size:
            os.ftruncate(self.file, most)
            self.size = most
        self.mark.unlink(missing_ok=True)

    def _mark(self) -> None:
        """From here on nothing counts until it was compared, also if this process is killed meanwhile."""
        unfinished = self.mark.with_suffix(".mark")
        try:
            with unfinished.open("w") as mark:
                mark.write(str(self.size))
                mark.flush()
                os.fsync(mark.fileno())
            unfinished.replace(self.mark)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise _refused(error) from None

    def begin(self, offset: int) -> None:
        """A Problem if the client goes on elsewhere than where the file ends."""
        if offset != self.size:
            said = f"{self.size} bytes have come; the request goes on at {offset}."
            raise Problem("upload_offset", said, "Ask with HEAD, and go on from there.", status=409)
        os.lseek(self.file, offset, os.SEEK_SET)

    async def take(self, request: Request, expected: tus.Checksum | None) -> None:
        """Write what comes. With a checksum all of it counts or nothing; else what has come stays, however it ends."""
        began, hashed = self.size, hashlib.new(expected.algorithm) if expected else None
        whole = False
        if expected:
            await _to_its_end(self._mark)
        try:
            async for piece in _pieces(request):
                if self.size + len(piece) > self.upload.length:
                    said = f"More came than the {self.upload.length} bytes that were announced."
                    raise Problem("upload_too_long", said, "Begin it again with its real length.", status=400)
                await _to_its_end(self._write, piece, hashed)
            whole = True
            await _to_its_end(os.fdatasync, self.file)
        finally:
            if hashed and not (whole and expected and hashed.digest() == expected.digest):
                os.ftruncate(self.file, began)
                self.size = began
            self.mark.unlink(missing_ok=True)
        if hashed and expected and hashed.digest() != expected.digest:
            step = "Send these bytes again."
            raise Problem(
                "upload_checksum", "The bytes don't have the checksum that was sent.", step, status=STATUS_CHECKSUM
            )

    def _write(self, piece: bytes, hashed: Any) -> None:
        try:
            view = memoryview(piece)
            while view:
                done = os.write(self.file, view)
                self.size += done
                view = view[done:]
        except OSError as error:
            raise _refused(error) from None
        if hashed:
            hashed.update(piece)
        if self.size - self.looked > LOOK_EVERY:
            self.looked = self.size
            operations.check_room(self.path)


def _refused(error: OSError) -> Exception:
    """What a disk that is full says, for whoever sends; else the error itself."""
    if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return error
    step = "Free some space and resume: what has come is kept."
    return Problem("disk", f"The disk took no more ({error.strerror}).", step, status=507)


async def _to_its_end(work: Callable[..., Any], *args: Any) -> None:
    """In a thread, which nothing interrupts: the file is closed when it has ended, and not under its hands."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def _pieces(request: Request) -> Any:
    """The body, in pieces worth a write."""
    held = bytearray()
    while True:
        try:
            message = await asyncio.wait_for(request.receive(), SILENCE)
        except TimeoutError:
            if held:
                yield bytes(held)
            step = "Resume: what has come is kept."
            raise Problem("upload_silent", f"Nothing came for {SILENCE:.0f} s.", step, status=408) from None
        if message["type"] == "http.disconnect":
            if held:
                yield bytes(held)
            raise Problem("upload_cut", "The connection ended.", "Resume: what has come is kept.", status=408)
        held += message.get("body", b"")
        last = not message.get("more_body")
        request.read_all = last
        if held and (last or len(held) >= PIECE):
            yield bytes(held)
            held.clear()
        if last:
            return


# --- The database, in a thread ----------------------------------------------------------------------------------------


def _with_connection(work: Callable[..., Any], *args: Any) -> Any:
    try:
        return work(*args)
    finally:
        close_old_connections()


def _user(scope: Any) -> User:
    return authorized(scope)


def _found(upload_id: str, user: User) -> Upload:
    return _with_connection(operations.find, upload_id, user)  # type: ignore[no-any-return]


def _begin(told: dict[str, str], raw: str, length: int, user: User) -> Upload:
    tags = [tag for tag in told.get("tags", "").split(",") if tag.strip()]
    name = told.get("filename") or told.get("name", "")

    def begin() -> Upload:
        base, said = bases.chosen(told.get("base_model", "")), told.get("description", "")
        return operations.begin(name, length, by=user, description=said, tags=tags, metadata=raw, base_model=base)

    return _with_connection(begin)  # type: ignore[no-any-return]


def _touched(upload: Upload) -> None:
    _with_connection(operations.touched, upload)


def _finish(upload: Upload) -> Model:
    return _with_connection(operations.finish, upload)  # type: ignore[no-any-return]


def _discard(upload: Upload, user: User) -> None:
    _with_connection(lambda: operations.discard(upload, by=user))


# --- Answers ----------------------------------------------------------------------------------------------------------


def _state(upload: Upload, size: int) -> dict[str, str]:
    return {"Upload-Offset": str(size), "Upload-Expires": format_datetime(upload.expires_at, usegmt=True)}


def _metadata(upload: Upload) -> dict[str, str]:
    return {"Upload-Metadata": upload.metadata} if upload.metadata else {}


async def _send(send: Send, status: int, headers: dict[str, str], body: bytes = b"", *, more: bool = False) -> None:
    every = {"Tus-Resumable": tus.VERSION, "X-Content-Type-Options": "nosniff", **headers}
    if status != 204:
        every["Content-Length"] = str(len(body))
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in every.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _refuse(problem: Problem, request: Request, send: Send) -> None:
    headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    if problem.status == 412:
        headers["Tus-Version"] = tus.VERSION
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    pending = bool(request.length) and not request.read_all and problem.code != "upload_cut"
    if pending:
        headers["Connection"] = "close"
    body = b"" if request.method == "HEAD" else json.dumps(body_of(problem)).encode()
    await _send(send, problem.status, headers, body, more=pending)
    if pending:
        # Closing on a client that is still sending resets the connection, and the answer is lost on the way.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_drain(request.receive), LINGER)
        await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass
