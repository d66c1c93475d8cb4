"""The guard before Django: what is refused without being read, and how."""

import asyncio
import json
import os
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from knox.models import AuthToken

from modelyard import roles
from modelyard.api import uploads

UPLOAD = "/api/v1/models/"


class Caller:
    """Sends a request through the guard; remembers how much of its body was read, and by whom."""

    def __init__(self, **headers: str) -> None:
        self.headers = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.drained = 0
        self.passed = False
        self.sent: list[dict[str, Any]] = []

    def call(self, path: str = UPLOAD, method: str = "POST") -> "Caller":
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": self.headers}
        asyncio.run(uploads.guarded(self._app)(scope, self._receive, self._send))
        return self

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.passed = True

    async def _receive(self) -> dict[str, Any]:
        self.drained += 1
        return {"type": "http.request", "body": b"x", "more_body": self.drained < 3}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def answer(self) -> tuple[int, str]:
        body = json.loads(b"".join(message.get("body", b"") for message in self.sent))
        assert body["next_step"]
        assert dict(self.sent[0]["headers"])[b"content-type"] == b"application/problem+json"
        return self.sent[0]["status"], body["code"]


@pytest.fixture
def token(transactional_db: None) -> str:
    user = User.objects.create(username="anna", is_superuser=True)
    return f"Bearer {AuthToken.objects.create(user=user)[1]}"


def test_an_upload_that_fits_is_let_through(token: str) -> None:
    assert Caller(authorization=token, content_length="1000").call().passed


def test_a_session_is_let_through(transactional_db: None) -> None:
    browser = Client()
    browser.force_login(User.objects.create(username="anna", is_superuser=True))
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    assert Caller(cookie=cookie, content_length="1000").call().passed


def test_nobodys_upload_is_refused_before_it_is_read(transactional_db: None) -> None:
    caller = Caller(content_length=str(2**40)).call()
    assert (caller.passed, caller.answer) == (False, (401, "not_authenticated"))


@pytest.mark.parametrize("given", ["Bearer myt_nonsense", "Bearer", "Basic eDp5", "Bearer \xff", "Bearer a\0b"])
def test_a_wrong_token_is_refused(transactional_db: None, given: str) -> None:
    assert Caller(authorization=given, content_length="10").call().answer[0] == 401


def test_a_forged_session_is_nobodys(transactional_db: None) -> None:
    assert Caller(cookie="sessionid=forged", content_length="10").call().answer == (401, "not_authenticated")


def test_a_viewers_upload_is_refused_before_it_is_read(transactional_db: None) -> None:
    roles.create_groups()
    user = User.objects.create(username="viewer")
    user.groups.add(Group.objects.get(name="Viewers"))
    token = f"Bearer {AuthToken.objects.create(user=user)[1]}"
    assert Caller(authorization=token, content_length="10").call().answer == (403, "permission_denied")


def test_an_upload_over_the_limit_is_refused(token: str, settings) -> None:
    settings.MAX_UPLOAD_BYTES = 1000
    over = str(1001 + uploads.OVERHEAD)
    assert Caller(authorization=token, content_length=over).call().answer == (413, "too_large")


def test_an_upload_larger_than_the_disk_is_refused(token: str, settings) -> None:
    settings.MAX_UPLOAD_BYTES = 2**62
    status = os.statvfs(settings.UPLOADS_DIR)
    beyond = str(status.f_frsize * status.f_blocks)
    assert Caller(authorization=token, content_length=beyond).call().answer == (507, "disk")


@pytest.mark.parametrize("path", ["/admin/login/", "/api/v1/deployments/", "/api/v1/models/mdl_1/retry/"])
def test_other_bodies_have_a_smaller_limit(settings, path: str) -> None:
    settings.MAX_REQUEST_BYTES = 1000
    assert Caller(content_length="1000").call(path).passed
    assert Caller(content_length="1001").call(path).answer == (413, "too_large")


def test_requests_without_a_body_pass() -> None:
    assert Caller().call("/admin/", "GET").passed


@pytest.mark.parametrize("headers", [{"transfer_encoding": "chunked"}, {"content_length": "-1"}])
def test_a_body_of_unknown_length_is_refused(headers: dict[str, str]) -> None:
    assert Caller(**headers).call("/admin/login/").answer == (411, "length_required")


def test_what_is_still_sent_is_thrown_away_so_that_the_answer_arrives() -> None:
    caller = Caller(transfer_encoding="chunked").call()
    assert caller.drained == 3
    assert caller.sent[-1].get("more_body", False) is False
