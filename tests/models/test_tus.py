"""Uploads by the tus protocol, on a real web process, with real clients, and cut in the middle."""

import asyncio
import base64
import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from django.utils import timezone
from knox.models import AuthToken
from tusclient import client as tus
from tusclient.exceptions import TusCommunicationError

from apps.models import pipeline
from apps.models.models import Model, Status
from apps.models.tasks import sweep
from apps.models.uploads import operations, receiving
from apps.models.uploads.models import Upload
from modelyard.problems import Problem
from tests.gateway.conftest import start_web
from tests.models.conftest import good

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]
HEAD = {"Tus-Resumable": "1.0.0"}
STREAM = {**HEAD, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def site(django_db_setup: None, django_db_blocker) -> Iterator[str]:
    with django_db_blocker.unblock():
        process, address = start_web()
    yield address
    process.terminate()
    process.wait(20)


@pytest.fixture
def person(transactional_db: None) -> User:
    return User.objects.create_superuser("anna")


@pytest.fixture
def token(person: User) -> str:
    return str(AuthToken.objects.create(person)[1])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A model's zip of some megabytes that doesn't compress."""
    path = tmp_path / "big.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name, data in {**good(), "noise.txt": os.urandom(6_000_000)}.items():
            made.writestr(name, data)
    return path


def api(site: str, token: str) -> httpx.Client:
    return httpx.Client(base_url=f"{site}/api/v1/uploads", headers={"Authorization": f"Bearer {token}"}, timeout=20)


def told(name: str, **more: str) -> dict[str, str]:
    pairs = {"filename": name, **more}
    return {
        "Upload-Metadata": ",".join(
            f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items()
        )
    }


def begin(http: httpx.Client, name: str = "tiny.zip", length: int = 1000, **more: str) -> httpx.Response:
    return http.post("/", headers={**HEAD, "Upload-Length": str(length), **told(name, **more)})


def offset(http: httpx.Client, one: str) -> int:
    return int(http.head(f"/{one}", headers=HEAD).headers["upload-offset"])


def sent(http: httpx.Client, one: str, data: bytes, at: int, **headers: str) -> httpx.Response:
    return http.patch(f"/{one}", headers={**STREAM, "Upload-Offset": str(at), **headers}, content=data)


def until(true: Callable[[], bool], limit: float = 10) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it never became so"
        time.sleep(0.02)


def identifier(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    return answer.headers["location"].rsplit("/", 1)[1]


def cut(site: str, token: str, one: str, data: bytes, announced: int, at: int = 0) -> socket.socket:
    """A connection that sends a part of what it announced, and is still there."""
    parts = urlsplit(site)
    link = socket.create_connection((parts.hostname or "", parts.port or 0))
    lines = [
        f"PATCH /api/v1/uploads/{one} HTTP/1.1", f"Host: {parts.netloc}", f"Authorization: Bearer {token}",
        "Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream", f"Upload-Offset: {at}",
        f"Content-Length: {announced}", "", "",
    ]  # fmt: skip
    link.sendall("\r\n".join(lines).encode() + data)
    return link


def test_tuspy_uploads_and_the_import_begins(site: str, token: str, archive: Path) -> None:
    client = tus.TusClient(f"{site}/api/v1/uploads/", headers={"Authorization": f"Bearer {token}"})
    uploader = client.uploader(str(archive), chunk_size=1_000_000, metadata={"filename": "big.zip", "tags": "a,b"})
    uploader.upload()
    model = Model.objects.get()
    assert (model.name, model.tags, model.added_by and model.added_by.username) == ("big", ["a", "b"], "anna")
    assert not Upload.objects.exists()
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, model.files.get(path="noise.txt").size) == (Status.READY, 6_000_000)


def test_tuspy_goes_on_after_a_kill_of_the_web_process(token: str, archive: Path) -> None:
    process, address = start_web()
    client = tus.TusClient(f"{address}/api/v1/uploads/", headers={"Authorization": f"Bearer {token}"})
    uploader = client.uploader(str(archive), chunk_size=500_000, metadata={"filename": "big.zip"})
    for _ in range(4):
        uploader.upload_chunk()
    path = urlsplit(uploader.url).path
    link = cut(address, token, path.rsplit("/", 1)[1], archive.read_bytes()[2_000_000:3_500_000], 4_000_000, 2_000_000)
    until(lambda: operations.received(Upload.objects.get()) > 2_900_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    link.close()
    process, address = start_web()
    try:
        client = tus.TusClient(f"{address}/api/v1/uploads/", headers={"Authorization": f"Bearer {token}"})
        again = client.uploader(str(archive), chunk_size=500_000, url=f"{address}{path}")
        assert again.offset > 2_900_000
        again.upload()
        model = Model.objects.get()
        pipeline.run(model.pk)
        model.refresh_from_db()
        assert (model.status, model.files.get(path="noise.txt").size) == (Status.READY, 6_000_000)
    finally:
        process.terminate()
        process.wait(20)


def test_curl_uploads_as_the_guide_says(site: str, token: str, archive: Path) -> None:
    key = f"Authorization: Bearer {token}"
    name = base64.b64encode(b"big.zip").decode()
    made = subprocess.run(
        ["curl", "-sSi", "-X", "POST", f"{site}/api/v1/uploads/", "-H", key, "-H", "Tus-Resumable: 1.0.0",
         "-H", f"Upload-Length: {archive.stat().st_size}", "-H", f"Upload-Metadata: filename {name}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    location = next(
        line.split(" ", 1)[1].strip() for line in made.stdout.splitlines() if line.lower().startswith("location")
    )
    done = subprocess.run(
        ["curl", "-sSi", "-X", "PATCH", f"{site}{location}", "-H", key, "-H", "Tus-Resumable: 1.0.0",
         "-H", "Upload-Offset: 0",
         "-H", "Content-Type: application/offset+octet-stream", "--data-binary", f"@{archive}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"modelyard-model: {Model.objects.get().pk}" in done.stdout.lower()


def test_what_came_before_a_cut_stays(site: str, token: str, archive: Path) -> None:
    data = archive.read_bytes()
    with api(site, token) as http:
        one = identifier(begin(http, "big.zip", len(data)))
        cut(site, token, one, data[:1_500_000], len(data)).close()
        until(lambda: offset(http, one) > 0)
        have = offset(http, one)
        assert 1_000_000 < have <= 1_500_000
        assert sent(http, one, data[:10], 0).json()["code"] == "upload_offset"
        done = sent(http, one, data[have:], have)
        assert (done.status_code, done.headers["modelyard-model"]) == (204, Model.objects.get().pk)
        assert http.head(f"/{one}", headers=HEAD).status_code == 404


def test_what_came_before_a_cut_puts_the_end_off(site: str, token: str) -> None:
    with api(site, token) as http:
        one = identifier(begin(http, length=2_000_000))
        Upload.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
        link = cut(site, token, one, b"x" * 1_500_000, 2_000_000)
        until(lambda: offset(http, one) > 0)
        link.close()
        until(lambda: Upload.objects.get().expires_at > timezone.now() + timedelta(days=6))


def test_a_text_that_no_database_keeps_is_refused(site: str, token: str) -> None:
    with api(site, token) as http:
        answer = begin(http, description="a\0b")
        assert (answer.status_code, answer.json()["code"]) == (400, "tus_header")


def test_a_client_that_comes_back_takes_over_from_its_dead_connection(site: str, token: str) -> None:
    with api(site, token) as http:
        one = identifier(begin(http, length=100))
        hanging = cut(site, token, one, b"x" * 10, 100)
        time.sleep(0.3)
        have = offset(http, one)
        assert sent(http, one, b"y" * (50 - have), have).status_code == 204
        assert offset(http, one) == 50
        hanging.close()


def test_two_processes_do_not_write_one_upload_at_once(site: str, token: str) -> None:
    process, other = start_web()
    try:
        with api(site, token) as http, api(other, token) as second:
            one = identifier(begin(http, length=3_000_000))
            hanging = cut(site, token, one, b"x" * 1_200_000, 3_000_000)
            until(lambda: offset(http, one) > 1_000_000)
            refused = sent(second, one, b"y" * 10, offset(http, one))
            assert (refused.status_code, refused.json()["code"]) == (423, "upload_locked")
            hanging.close()
            until(lambda: sent(second, one, b"y" * 10, offset(second, one)).status_code == 204)
    finally:
        process.terminate()
        process.wait(20)


def test_checksums_hold(site: str, token: str) -> None:
    with api(site, token) as http:
        one = identifier(begin(http, length=30))
        right = base64.b64encode(hashlib.sha256(b"x" * 10).digest()).decode()
        assert sent(http, one, b"y" * 10, 0, **{"Upload-Checksum": f"sha256 {right}"}).status_code == 460
        assert offset(http, one) == 0
        assert sent(http, one, b"x" * 10, 0, **{"Upload-Checksum": f"sha256 {right}"}).status_code == 204
        sha1 = base64.b64encode(hashlib.sha1(b"z" * 10).digest()).decode()
        assert sent(http, one, b"z" * 10, 10, **{"Upload-Checksum": f"sha1 {sha1}"}).status_code == 204
        assert sent(http, one, b"z", 20, **{"Upload-Checksum": "crc32 AAAA"}).status_code == 400
        assert offset(http, one) == 20


def test_creation_may_bring_the_first_bytes(site: str, token: str) -> None:
    with api(site, token) as http:
        made = http.post("/", headers={**STREAM, "Upload-Length": "10", **told("tiny.zip")}, content=b"12345")
        assert (made.status_code, made.headers["upload-offset"]) == (201, "5")
        assert "upload-expires" in made.headers
        one = identifier(made)
        assert http.head(f"/{one}", headers=HEAD).headers["upload-metadata"].startswith("filename ")
        assert http.delete(f"/{one}", headers=HEAD).status_code == 204
        assert http.head(f"/{one}", headers=HEAD).status_code == 404
        assert not operations.path_of(one).exists()


def test_what_is_supported_is_told(site: str) -> None:
    options = httpx.options(f"{site}/api/v1/uploads/")
    assert (options.status_code, options.headers["tus-version"]) == (204, "1.0.0")
    assert {"creation", "termination", "checksum"} <= set(options.headers["tus-extension"].split(","))


@pytest.mark.parametrize(
    ("name", "length", "status", "code"),
    [("tiny.tar", 10, 400, "not_a_zip"), ("x" * 200 + ".zip", 10, 400, "invalid_name"), ("tiny.zip", 0, 400, "empty"),
     ("tiny.zip", 10**15, 413, "too_large"), ("taken.zip", 10, 409, "name_taken"), (".zip", 10, 400, "invalid_name")],
)  # fmt: skip
def test_what_cannot_come_is_told_before_a_byte_is_sent(
    site: str, token: str, name: str, length: int, status: int, code: str
) -> None:
    Model.objects.create(name="taken")
    with api(site, token) as http:
        refused = begin(http, name, length)
    assert (refused.status_code, refused.json()["code"], bool(refused.json()["next_step"])) == (status, code, True)
    assert not Upload.objects.exists()


def test_odd_requests_are_refused(site: str, token: str) -> None:
    with api(site, token) as http:
        one = identifier(begin(http, length=10))
        assert http.head(f"/{one}").status_code == 412
        assert http.patch(f"/{one}", headers={**HEAD, "Upload-Offset": "0"}, content=b"x").status_code == 415
        assert sent(http, one, b"x", 0, **{"Upload-Offset": "-1"}).status_code == 400
        assert sent(http, one, b"x" * 11, 0).json()["code"] == "upload_too_long"
        assert http.post("/", headers=HEAD).status_code == 400
        bad = http.post("/", headers={**HEAD, "Upload-Length": "5", "Upload-Metadata": "filename %%%"})
        assert bad.status_code == 400
        assert http.put(f"/{one}/", headers=HEAD).status_code == 405
        for strange in ("upl_none", "../../etc/passwd", "upl_x/y"):
            assert http.head(f"/{strange}", headers=HEAD).status_code in {404, 405}


def test_one_sees_ones_own_uploads_only(site: str, token: str) -> None:
    other = User.objects.create_user("otto")
    other.user_permissions.set(Permission.objects.filter(codename="import_model"))
    viewer = AuthToken.objects.create(User.objects.create_user("vera"))[1]
    with api(site, token) as mine, api(site, str(AuthToken.objects.create(other)[1])) as his, api(site, viewer) as hers:
        one = identifier(begin(mine))
        assert mine.get("/").json()["results"][0]["id"] == one
        assert his.get("/").json()["results"] == []
        assert his.head(f"/{one}", headers=HEAD).status_code == 404
        assert sent(his, one, b"x", 0).status_code == 404
        assert his.delete(f"/{one}", headers=HEAD).status_code == 404
        assert begin(his).json()["code"] == "name_taken"
        assert begin(mine).json()["code"] == "upload_unfinished"
        assert begin(hers).status_code == 403
    assert httpx.post(f"{site}/api/v1/uploads/", headers=HEAD).status_code == 401


def test_a_session_needs_the_csrf_token(site: str, person: User) -> None:
    browser = Browser()
    browser.force_login(person)
    cookies = {"sessionid": browser.cookies["sessionid"].value}
    headers = {**HEAD, "Upload-Length": "10", **told("tiny.zip")}
    assert httpx.post(f"{site}/api/v1/uploads/", headers=headers, cookies=cookies).status_code == 403
    secret = "a" * 32
    both = {**cookies, "csrftoken": secret}
    done = httpx.post(f"{site}/api/v1/uploads/", headers={**headers, "X-CSRFToken": secret}, cookies=both)
    assert done.status_code == 201


def test_a_disk_that_fills_up_meanwhile_stops_the_upload_and_keeps_what_came(
    person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = operations.begin("filling.zip", 10_000_000, by=person)
    monkeypatch.setattr(receiving, "LOOK_EVERY", 100)
    monkeypatch.setattr(operations, "RESERVE", 2**62)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": bytes(2_000_000), "more_body": True}

    request = receiving.Request({"type": "http", "method": "PATCH", "path": "/", "headers": []}, receive)
    with receiving.Part(upload) as part, pytest.raises(Problem) as told:
        asyncio.run(part.take(request, None))
    assert (told.value.code, told.value.status) == ("disk", 507)
    assert operations.received(upload) > 0


def test_what_expired_goes_and_what_a_crash_left_is_imported(
    site: str, token: str, person: User, archive: Path
) -> None:
    old = operations.begin("old.zip", 10, by=person)
    whole = operations.begin("whole.zip", archive.stat().st_size, by=person)
    operations.path_of(whole.pk).write_bytes(archive.read_bytes())
    for each in (old, whole):
        os.utime(operations.path_of(each.pk), (time.time() - 100, time.time() - 100))
    Upload.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    with api(site, token) as http:
        assert http.head(f"/{old.pk}", headers=HEAD).status_code == 410
    sweep()
    assert not operations.path_of(old.pk).exists()
    assert not Upload.objects.exists()
    assert Model.objects.get().name == "whole"


def test_the_sweep_leaves_alone_what_a_request_still_writes(site: str, person: User, archive: Path) -> None:
    whole = operations.begin("whole.zip", archive.stat().st_size, by=person)
    path = operations.path_of(whole.pk)
    path.write_bytes(archive.read_bytes())
    os.utime(path, (time.time() - 100, time.time() - 100))  # the disk has been writing it ever since
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        sweep()
        assert not Model.objects.exists()
    sweep()
    assert Model.objects.get().name == "whole"


def test_a_name_that_is_being_uploaded_is_taken_for_others(site: str, token: str, person: User) -> None:
    from apps.models import operations as models

    operations.begin("mine.zip", 10, by=person)
    with pytest.raises(Problem, match="is uploading"):
        models.begin("mine", by=person, if_taken="")


def test_tuspy_is_told_what_is_wrong(site: str, token: str, archive: Path) -> None:
    client = tus.TusClient(f"{site}/api/v1/uploads/", headers={"Authorization": f"Bearer {token}"})
    with pytest.raises(TusCommunicationError) as caught:
        client.uploader(str(archive), metadata={"filename": "wrong.tar"}).upload()
    assert caught.value.status_code == 400
