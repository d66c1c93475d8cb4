"""Refuses request bodies that are too large, don't fit on the disk or come from nobody, before they are read.

Django spools a whole body to disk before any view sees it, so nothing behind it can refuse in time.
"""

import asyncio
import contextlib
import io
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import User
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections
from django.http import HttpResponse
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from modelyard.api.authentication import UserTokenAuthentication
from modelyard.api.errors import NEXT_STEPS
from modelyard.problems import Problem, body_of

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

UPLOAD_PATH, UPLOAD_PERMISSION = "/api/v1/models/", "models.import_model"
OVERHEAD = 2**20  # bytes of a multipart body beside the file
RESERVE = 256 * 2**20  # bytes of disk that an upload leaves free
LINGER = 5.0  # seconds


def guarded(app: App) -> App:
    """The application behind the guard; for `http` scopes only."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        problem = await _refusal(scope)
        if problem is None:
            await app(scope, receive, send)
        else:
            await _refuse(problem, receive, send)

    return application


async def _refusal(scope: Any) -> Problem | None:
    headers = dict(scope["headers"])
    stated = headers.get(b"content-length", b"0")
    if b"transfer-encoding" in headers or not stated.isdigit():
        step = "Send a Content-Length; a file on disk has one."
        return Problem("length_required", "The request doesn't say how large it is.", step, status=411)
    length = int(stated)
    if scope["method"] != "POST" or scope["path"] != UPLOAD_PATH:
        return _too_large(length, settings.MAX_REQUEST_BYTES, "MODELYARD_MAX_REQUEST_BYTES")
    return (
        await sync_to_async(_stranger)(scope)
        or _too_large(length, settings.MAX_UPLOAD_BYTES + OVERHEAD, "MODELYARD_MAX_UPLOAD_BYTES")
        or _no_room(length)
    )


def _too_large(length: int, limit: int, setting: str) -> Problem | None:
    if length <= limit:
        return None
    message = f"The request has {_size(length)}, {_size(limit)} are allowed."
    return Problem("too_large", message, f"Send less, or ask the operator to raise {setting}.", status=413)


def _no_room(length: int) -> Problem | None:
    """The body is spooled to one folder and its file is written to another: often the same disk."""
    folders = [Path(tempfile.gettempdir()), Path(settings.UPLOADS_DIR)]
    devices = Counter(folder.stat().st_dev for folder in folders)
    for folder in folders:
        free, times = shutil.disk_usage(folder).free, devices[folder.stat().st_dev]
        if free < times * length + RESERVE:
            message = f"An upload of {_size(length)} doesn't fit: {_size(free)} are free."
            return Problem("disk", message, "Ask the operator to free some disk space.", status=507)
    return None


def authorized(scope: Any) -> User:
    """Who sent this request, by its headers alone, sessions with their CSRF token. A Problem if they may not import."""
    user = _caller(scope, scope["method"])
    if isinstance(user, Problem):
        raise user
    return user


def _stranger(scope: Any) -> Problem | None:
    """Why this caller may not upload. Only the headers are looked at; the view checks again, with CSRF."""
    found = _caller(scope, "GET")
    return found if isinstance(found, Problem) else None


def _caller(scope: Any, method: str) -> User | Problem:
    request = ASGIRequest({**scope, "method": method}, io.BytesIO())
    SessionMiddleware(_nothing).process_request(request)
    AuthenticationMiddleware(_nothing).process_request(request)
    try:
        user = Request(request, authenticators=[UserTokenAuthentication(), SessionAuthentication()]).user
        return _permitted(user)
    except AuthenticationFailed as error:
        return Problem("authentication_failed", str(error.detail), NEXT_STEPS["authentication_failed"], status=401)
    except PermissionDenied as error:
        return Problem("permission_denied", str(error.detail), "Load the page again and log in.", status=403)
    finally:
        close_old_connections()


def _permitted(user: Any) -> User | Problem:
    if not isinstance(user, User):
        return Problem("not_authenticated", "Log in to upload.", NEXT_STEPS["not_authenticated"], status=401)
    if not user.has_perm(UPLOAD_PERMISSION):
        step = NEXT_STEPS["permission_denied"]
        return Problem("permission_denied", "You may not import models.", step, status=403)
    return user


def _nothing(_request: Any) -> HttpResponse:
    return HttpResponse()


async def _refuse(problem: Problem, receive: Receive, send: Send) -> None:
    body = json.dumps(body_of(problem)).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if problem.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    # Closing on a client that is still sending resets the connection, and the answer is lost on the way.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_drain(receive), LINGER)
    await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


def _size(length: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if length >= size:
            return f"{length / size:.1f} {unit}"
    return f"{length} bytes"
