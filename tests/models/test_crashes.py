"""What is left when processes are killed, or stop and come back, at the worst moment."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from apps.models import archive, operations, pipeline, storage
from apps.models.formats import templates
from apps.models.models import Model, Status
from apps.models.uploads import operations as uploads
from apps.models.uploads import receiving
from apps.models.uploads.models import Upload
from tests.models.conftest import Files, Zip, config, good

Imported = Callable[[Path], Model]
LONG_AGO = time.time() - 10 * 24 * 3600


class Killed(BaseException):
    """Nothing in the code may hear of it."""


def uploaded(person: User, source: Path) -> Upload:
    upload = uploads.begin(source.name, source.stat().st_size, by=person)
    uploads.path_of(upload.pk).write_bytes(source.read_bytes())
    return upload


def test_a_worker_that_comes_back_leaves_what_another_makes_now(
    make_zip: Zip, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = operations.import_file(make_zip({**good(), "model.onnx": b"\x08\x07"}), "tiny", by=person)
    look = pipeline.inspect

    def stop_and_come_back(*args: Any) -> Any:
        Model.objects.filter(pk=model.pk).update(lease_owner="another", lease_until=timezone.now())
        return look(*args)

    monkeypatch.setattr(pipeline, "inspect", stop_and_come_back)
    pipeline.run(model.pk)
    assert (storage.half_made(model.pk) / "model.onnx").exists()
    assert storage.upload(model.pk).exists()
    assert Model.objects.get().lease_owner == "another"


def test_long_checks_keep_the_lease(make_zip: Zip, person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {**good(), "tokenizer_config.json": config(chat_template={"a": "{{ 1 }}", "b": "{{ 2 }}"})}
    model = operations.import_file(make_zip(files), "tiny", by=person)
    monkeypatch.setattr(pipeline, "REPORT_EVERY", 0.0)
    render, left = templates.render, []

    def slow(text: str) -> tuple[str, str]:
        left.append(Model.objects.get().lease_until - timezone.now())
        Model.objects.update(lease_until=timezone.now())  # as if so much time had gone by
        return render(text)

    monkeypatch.setattr(templates, "render", slow)
    pipeline.run(model.pk)
    assert [round(each.total_seconds(), -1) for each in left] == [60, 60]


def test_an_update_that_begins_at_this_moment_is_not_taken_for_an_import(
    make_zip: Zip, imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = imported(make_zip(good()))
    one = pipeline.Import(model.pk)
    take = one._take_lease

    def late() -> bool:
        Model.objects.update(status=Status.UPDATING)
        return take()

    monkeypatch.setattr(one, "_take_lease", late)
    monkeypatch.setattr(one, "_import", lambda: None)
    one.run()
    assert (one.updating, Model.objects.get().status) == (True, Status.UPDATING)


def test_deleting_while_files_are_checked_is_no_error(
    make_zip: Zip, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    identifier, look = model.pk, pipeline.inspect

    def checked(*args: Any) -> Any:
        facts = look(*args)
        operations.delete(Model.objects.get(), by=person)
        return facts

    monkeypatch.setattr(pipeline, "inspect", checked)
    pipeline.run(identifier)
    assert not list(Path(settings.MODELS_DIR).glob(f"{identifier}*"))


def test_an_archive_whose_import_has_ended_well_goes(
    make_zip: Zip, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    discard = storage.discard
    with monkeypatch.context() as patch:
        patch.setattr(storage, "discard", lambda path: killed() if path.suffix == ".zip" else discard(path))
        with pytest.raises(Killed):
            pipeline.run(model.pk)
    assert (Model.objects.get().status, storage.upload(model.pk).exists()) == (Status.READY, True)
    pipeline.sweep()
    assert not storage.upload(model.pk).exists()


def killed() -> None:
    raise Killed


def test_what_an_import_that_was_given_up_had_unpacked_goes(make_zip: Zip, person: User) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    half = storage.fresh(model.pk)
    Model.objects.update(lease_until="2020-01-01T00:00Z", attempts=3)
    os.utime(half, (LONG_AGO, LONG_AGO))
    pipeline.sweep()
    assert (half.exists(), storage.upload(model.pk).exists()) == (False, True)


@pytest.mark.django_db(transaction=True)
def test_an_end_before_the_model_is_written_down_costs_no_upload(
    make_zip: Zip, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = uploaded(person, make_zip(good()))
    with monkeypatch.context() as patch:
        patch.setattr(operations, "enqueue", lambda _: killed())
        with pytest.raises(Killed):
            uploads.finish(upload)
    assert uploads.received(Upload.objects.get()) == upload.length
    model = uploads.finish(upload)
    assert storage.upload(model.pk).stat().st_size == upload.length
    assert not uploads.path_of(upload.pk).exists()


def test_an_old_file_is_no_stray_while_its_model_is_written_down(make_zip: Zip, person: User) -> None:
    source = make_zip(good())
    os.utime(source, (LONG_AGO, LONG_AGO))
    model = operations.import_file(source, "tiny", by=person)
    assert storage.strays([], time.time() - pipeline.STRAY_AFTER) == []
    assert storage.upload(model.pk).stat().st_mtime > time.time() - 3600


def test_a_copy_for_which_the_disk_is_too_full_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_source: Path, target: Path) -> None:
        Path(target).write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="No space"):
        storage.take(tmp_path / "on another disk", "mdl_none")
    assert not storage.upload("mdl_none").exists()


def test_a_file_that_nobody_looked_at_is_not_published(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for name in ("model.onnx", "stray.py"):
        (made / name).write_bytes(b"x")
    storage.publish(made, "mdl_stray", 1, {"model.onnx": "0" * 64})
    assert [path.name for path in storage.folder("mdl_stray").iterdir()] == ["model.onnx"]


def test_a_connection_that_is_given_up_closes_the_file_after_its_last_write(tmp_path: Path) -> None:
    """Else another request's file, which may get the same number, would get these bytes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    part = receiving.Part(Upload(pk="upl_x", length=2**21))
    part.file = os.open(path, os.O_WRONLY)

    async def give_up() -> bool:
        messages = iter([{"type": "http.request", "body": bytes(2**20), "more_body": True}])
        request = receiving.Request({"headers": [], "method": "PATCH", "path": ""}, lambda: _next(messages))
        task = asyncio.ensure_future(part.take(request, None))
        while not await asyncio.to_thread(_readable, reader, 1):
            continue  # until it writes
        task.cancel()
        await asyncio.sleep(0.05)
        over = task.done()
        drain = threading.Thread(target=lambda: [os.read(reader, 2**16) for _ in range(200) if _readable(reader, 0.05)])
        drain.start()
        await asyncio.wait([task])
        drain.join()
        return over

    assert asyncio.run(give_up()) is False
    os.close(part.file)
    os.close(reader)


async def _next(messages: Any) -> Any:
    return next(messages)


def _readable(file: int, seconds: float) -> bool:
    return bool(select.select([file], [], [], seconds)[0])


KILLED_BEFORE_THE_SUM = """
import asyncio, os, signal, sys, django
django.setup()
from apps.models.uploads import receiving, tus
from apps.models.uploads.models import Upload

async def receive():
    if more:
        return {"type": "http.request", "body": more.pop(), "more_body": True}
    os.kill(os.getpid(), signal.SIGKILL)

more = [b"wrong" * 2**18]
with receiving.Part(Upload(pk=sys.argv[1], length=2**21)) as part:
    part.begin(5)
    request = receiving.Request({"headers": [], "method": "PATCH", "path": ""}, receive)
    asyncio.run(part.take(request, tus.Checksum("sha256", b"another one")))
"""


def test_bytes_that_were_not_compared_with_their_checksum_do_not_count_after_a_kill(person: User) -> None:
    upload = uploads.begin("tiny.zip", 5 + 5 * 2**18, by=person)
    path = uploads.path_of(upload.pk)
    path.write_bytes(b"right")
    env = {**os.environ, "MODELYARD_DATA_DIR": str(settings.DATA_DIR), "DJANGO_SETTINGS_MODULE": "modelyard.settings"}
    code = [sys.executable, "-c", KILLED_BEFORE_THE_SUM, upload.pk]
    assert subprocess.run(code, env=env, check=False).returncode == -signal.SIGKILL
    assert path.stat().st_size == upload.length  # all of it, but not what was meant
    os.utime(path, (LONG_AGO, LONG_AGO))
    uploads.sweep()
    assert (uploads.received(Upload.objects.get()), Model.objects.count()) == (5, 0)
    with receiving.Part(upload) as part:
        part.begin(5)
    assert path.read_bytes() == b"right"
    assert uploads.checked(upload.pk) is None


def test_everything_is_on_the_disk_itself_before_the_archive_goes(
    make_zip: Zip, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as that can be tested without cutting the power."""
    model = operations.import_file(make_zip({**good(), "data/more.txt": b"x"}), "tiny", by=person)
    half, sync, seen = storage.half_made(model.pk), os.fsync, []

    def synced(file: int) -> None:
        seen.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        assert storage.upload(model.pk).exists()
        sync(file)

    monkeypatch.setattr(os, "fsync", synced)
    pipeline.run(model.pk)
    names = ("", "/model.onnx", "/README.md", "/data", "/data/more.txt")
    assert {f"{half}{name}" for name in names} | {str(half.parent)} <= set(seen)
    assert (Model.objects.get().status, storage.upload(model.pk).exists()) == (Status.READY, False)


def test_other_archives_are_left_alone(make_zip: Zip, person: User) -> None:
    files: Files = good()
    model = operations.import_file(make_zip(files), "tiny", by=person)
    pipeline.sweep()
    assert storage.upload(model.pk).exists()
    assert archive.opened(storage.upload(model.pk)).namelist() == list(files)


@pytest.mark.django_db(transaction=True)
def test_deleting_at_the_moment_in_which_files_are_registered(
    make_zip: Zip, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    identifier, publish, ended = model.pk, storage.publish, []

    def delete() -> None:
        try:
            operations.delete(model, by=person)
            ended.append("deleted")
        finally:
            connection.close()

    deleting = threading.Thread(target=delete)

    def meanwhile(*args: Any) -> None:
        deleting.start()
        time.sleep(0.5)  # it waits for what is being written
        publish(*args)

    monkeypatch.setattr(storage, "publish", meanwhile)
    pipeline.run(identifier)
    deleting.join(30)
    assert (ended, Model.objects.exists()) == (["deleted"], False)
    assert not list(Path(settings.MODELS_DIR).glob(f"{identifier}*"))
