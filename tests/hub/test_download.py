"""Downloads by the real client: whole, resumed, retried, paused, and never a byte that the hub doesn't vouch for."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection as database

from apps.models import operations as models
from apps.models import pipeline, storage
from apps.models.hub import job, operations
from apps.models.hub.fetching import Child, Download
from apps.models.hub.models import Connection, HubOrigin
from apps.models.installation import operations as installation
from apps.models.models import Level, Model, Status
from modelyard.problems import Problem
from tests.hub.conftest import Bring, files, weights
from tests.hub.server import Hub, Repo

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]
DISKS = "disks"


def content(model: Model) -> dict[str, bytes]:
    folder = storage.folder(model.pk)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def taken(seed: int = 1, size: int = 400_000) -> dict[str, bytes]:
    return {
        name: data
        for name, data in files(seed, size).items()
        if name in {"config.json", "model.safetensors", "README.md"}
    }


def sent(hub: Hub) -> list[str]:
    return [each.headers.get("range", "whole") for each in hub.asked(DISKS)]


def until(true: Callable[[], bool], limit: float = 20) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it never became so"
        time.sleep(0.02)


def partial(model: Model) -> int:
    parts = (Path(settings.MODELS_DIR) / f"{model.pk}.importing" / ".hub").glob("*")
    return sum(path.stat().st_size for path in parts if path.is_file())


def children() -> list[psutil.Process]:
    return [
        each for each in psutil.Process().children(recursive=True) if "apps.models.hub.job" in " ".join(each.cmdline())
    ]


def test_a_model_comes_whole_and_is_ready(hub: Hub, bring: Bring) -> None:
    model = bring()
    assert (model.status, model.failure) == (Status.READY, "")
    assert content(model) == taken()
    assert (model.source, model.format, model.licence, model.architecture) == (
        "hugging_face", "safetensors", "apache-2.0", "BertModel",
    )  # fmt: skip
    assert model.findings.get(rule="MYI032").level == Level.PASS
    hashes = dict(model.files.values_list("path", "sha256"))
    assert hashes == {name: hashlib.sha256(data).hexdigest() for name, data in taken().items()}
    assert model.hub_origin.commit == hub.repos["acme/tiny"].commit
    assert [path.name for path in Path(settings.MODELS_DIR).glob(f"{model.pk}*")] == [model.pk]
    assert children() == []


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: Hub, bring: Bring, good: Connection, caplog) -> None:
    model = bring("acme/private", connection=good)
    assert model.status == Status.READY
    assert {each.headers.get("authorization") for each in hub.asked("front")} == {"Bearer hf_good"}
    assert hub.asked(DISKS)
    assert not any("authorization" in each.headers for each in hub.asked(DISKS))
    assert "hf_good" not in caplog.text
    assert "hf_good" not in json.dumps(list(Connection.objects.values()), default=str)


def test_a_cut_connection_costs_what_was_on_the_way(hub: Hub, bring: Bring) -> None:
    hub.troubles.break_after, hub.troubles.breaks = 300_000, 2
    model = bring(name="cut")
    assert (model.status, content(model)) == (Status.READY, taken())
    assert [each for each in sent(hub) if each != "whole"], sent(hub)


def test_a_download_that_stands_still_is_begun_anew_where_it_ended(hub: Hub, bring: Bring) -> None:
    hub.repos["acme/large"] = Repo(files(4, 3_000_000))
    hub.troubles.hang_after, hub.troubles.hangs = 1_000_000, 1
    model = bring("acme/large")
    assert (model.status, content(model)) == (Status.READY, taken(4, 3_000_000))
    assert any(each.startswith("bytes=") for each in sent(hub))


def test_one_that_never_moves_fails_with_a_reason_and_goes_on_later(
    hub: Hub, bring: Bring, monkeypatch, person: User
) -> None:
    monkeypatch.setattr("apps.models.hub.fetching.TRIES", 2)
    hub.repos["acme/large"] = Repo(files(4, 3_000_000))
    hub.troubles.hang_after, hub.troubles.hangs = 1_500_000, 1
    model = bring("acme/large", run=False)
    hub.troubles.hangs, hub.troubles.hang_after = -1, 0
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert model.status == Status.IMPORT_FAILED
    assert model.failure_code in {"hub_stalled", "hub_unreachable"}
    assert "resume" in model.next_step or "network" in model.next_step
    assert children() == []
    hub.troubles.hangs = 0
    models.retry(model, by=person)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, content(model)) == (Status.READY, taken(4, 3_000_000))


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_in_trouble_is_asked_again(hub: Hub, bring: Bring, status: int) -> None:
    model = bring(run=False)
    hub.troubles.statuses = [status] * 3
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, content(model)) == (Status.READY, taken())


def test_another_content_is_not_taken(hub: Hub, bring: Bring) -> None:
    hub.troubles.corrupt = 1
    assert content(bring(name="once")) == taken()


def test_a_body_without_end_does_not_fill_the_disk(hub: Hub, bring: Bring, settings) -> None:
    settings.HUB_STALL_SECONDS = 30
    hub.troubles.endless = 1
    assert content(bring(name="once")) == taken()
    hub.repos["acme/other"] = Repo(files(7))
    hub.troubles.endless = -1
    model = bring("acme/other")
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, "hub_checksum")
    assert "longer than the hub states" in model.failure
    assert partial(model) <= sum(map(len, taken(7).values()))


def test_what_the_own_disk_refuses_is_not_said_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    path, data = f"{'n' * 300}.txt", b"x"
    repo = hub.repos["acme/names"] = Repo({path: data})
    given = {"endpoint": hub.address, "repository": "acme/names", "commit": repo.commit, "token": "",
             "folder": str(tmp_path), "files": [{"path": path, "size": 1}], "workers": 1}  # fmt: skip
    with Child(given) as child:
        (problem,) = [line["problem"] for line in iter(lambda: child.line(20), None) if "problem" in line]
    assert problem["code"] == "hub_names"
    assert "too long for this disk" in problem["message"]
    assert job._local(OSError(errno.EIO, "Input/output error")).code == "disk"
    assert job._local(ConnectionResetError(errno.ECONNRESET, "reset")) is None


def test_content_that_stays_wrong_fails(hub: Hub, bring: Bring) -> None:
    hub.troubles.corrupt = -1
    model = bring()
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, "hub_checksum")
    assert "proxy" in model.next_step


def test_a_server_that_ignores_or_refuses_ranges(hub: Hub, bring: Bring) -> None:
    hub.repos["acme/large"] = Repo(files(4, 3_000_000))
    hub.troubles.break_after, hub.troubles.breaks, hub.troubles.ignore_range = 1_000_000, 1, True
    assert content(bring("acme/large", name="ignores")) == taken(4, 3_000_000)
    hub.repos["acme/other"] = Repo(files(5, 3_000_000))
    hub.troubles.ignore_range, hub.troubles.breaks, hub.troubles.refuse_range = False, 1, 1
    assert content(bring("acme/other", name="refuses")) == taken(5, 3_000_000)


def test_access_that_was_taken_away_is_told(hub: Hub, bring: Bring, good: Connection) -> None:
    model = bring("acme/gated", connection=good, run=False)
    hub.repos["acme/gated"].members = ()
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, "hub_gated")
    assert f"{hub.address}/acme/gated" in model.next_step


def test_a_replaced_token_is_used_by_what_goes_on(hub: Hub, bring: Bring, good: Connection, person: User) -> None:
    model = bring("acme/private", connection=good, run=False)
    operations.replace_token(good, "hf_expired", by=person)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert model.failure_code == "hub_token"
    operations.replace_token(good, "hf_good", by=person)
    models.retry(model, by=person)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert model.status == Status.READY


def test_pause_resume_and_cancel(hub: Hub, bring: Bring, person: User) -> None:
    hub.repos["acme/large"] = Repo(files(4, 4_000_000))
    hub.troubles.speed = 1_500_000
    model = bring("acme/large", run=False)
    worker = in_thread(model)
    until(lambda: partial(model) > 500_000)
    operations.pause(model, by=person)
    worker.join(10)
    model.refresh_from_db()
    assert (model.status, children()) == (Status.PAUSED, [])
    kept = partial(model)
    assert kept > 500_000
    pipeline.run(model.pk)  # nobody goes on with it unasked
    assert pipeline.sweep() == []
    assert partial(model) == kept
    hub.troubles.speed = 0
    operations.resume(model, by=person)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, content(model)) == (Status.READY, taken(4, 4_000_000))
    begun = [int(each.removeprefix("bytes=").removesuffix("-")) for each in sent(hub) if each != "whole"]
    assert max(begun) >= 500_000
    with pytest.raises(Problem):
        operations.pause(model, by=person)

    hub.repos["acme/large"].update(files(6, 4_000_000))
    hub.troubles.speed = 1_500_000
    other = bring("acme/large", run=False, name="other")
    worker = in_thread(other)
    until(lambda: partial(other) > 500_000)
    models.delete(other, by=person)
    worker.join(10)
    assert children() == []
    assert not list(Path(settings.MODELS_DIR).glob(f"{other.pk}*"))


def test_progress_is_real(hub: Hub, bring: Bring) -> None:
    hub.repos["acme/large"] = Repo(files(4, 4_000_000))
    hub.troubles.speed = 1_000_000
    model = bring("acme/large", run=False)
    worker = in_thread(model)
    seen = []

    def halfway() -> bool:
        origin, row = HubOrigin.objects.get(pk=model.pk), Model.objects.get(pk=model.pk)
        seen.append((origin.done_bytes, origin.bytes_per_second, row.stage, row.progress))
        return origin.done_bytes > 2_000_000 and origin.bytes_per_second > 0

    until(halfway)
    done, speed, stage, progress = seen[-1]
    hub.troubles.speed = 0
    worker.join(20)
    assert [each[0] for each in seen] == sorted(each[0] for each in seen)
    assert 300_000 < speed < 3_000_000
    assert abs(progress - done * 90 / 4_000_000) < 15
    assert stage.startswith("Downloading · ")
    assert "left" in stage


def test_the_same_content_is_downloaded_and_stored_once(hub: Hub, bring: Bring, person: User) -> None:
    first = bring()
    asked = len(hub.asked(DISKS))
    hub.repos["acme/copy"] = Repo({**files(), "README.md": b"---\nlicense: mit\n---\n"})
    second = bring("acme/copy")
    assert len(hub.asked(DISKS)) == asked
    both = [storage.folder(model.pk) / "model.safetensors" for model in (first, second)]
    assert both[0].samefile(both[1])
    models.delete(first, by=person)
    assert content(second)["model.safetensors"] == files()["model.safetensors"]
    models.delete(second, by=person)
    installation.marker().write_text(installation.own())  # whatever other tests left there
    pipeline.sweep()
    assert not [path for path in (Path(settings.MODELS_DIR) / ".content").rglob("*") if path.is_file()]


@pytest.mark.skipif(database.vendor != "sqlite", reason="the worker of this test has the test's database by its path")
def test_kill_9_costs_nothing_that_has_come(hub: Hub, bring: Bring) -> None:
    hub.repos["acme/large"] = Repo(files(4, 4_000_000))
    hub.troubles.speed = 1_500_000
    model = bring("acme/large", run=False)
    code = f"import django; django.setup(); from apps.models import pipeline; pipeline.run({model.pk!r})"
    env = {**os.environ, "MODELYARD_DATABASE_URL": f"sqlite:///{database.settings_dict['NAME']}", 
           "HF_ENDPOINT": hub.address,
           "MODELYARD_DATA_DIR": str(settings.DATA_DIR), "DJANGO_SETTINGS_MODULE": "modelyard.settings"}  # fmt: skip
    worker = subprocess.Popen([sys.executable, "-c", code], env=env)
    until(lambda: partial(model) > 1_000_000)
    below = psutil.Process(worker.pid).children(recursive=True)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert below
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in below), 5)
    kept = partial(model)
    assert kept > 1_000_000
    hub.troubles.speed = 0
    Model.objects.filter(pk=model.pk).update(lease_until=None, lease_owner="")  # as after a minute
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, content(model)) == (Status.READY, taken(4, 4_000_000))
    begun = [int(each.removeprefix("bytes=").removesuffix("-")) for each in sent(hub) if each != "whole"]
    assert begun
    assert max(begun) >= kept


def test_weights_that_lie_are_refused_after_the_download_too(hub: Hub, bring: Bring) -> None:
    hub.repos["acme/lies"] = Repo({**files(), "model.safetensors": b"\xff" * 2000})
    model = bring("acme/lies")
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, "MYI013")
    assert not list(Path(settings.MODELS_DIR).glob(f"{model.pk}*"))


def test_an_archive_is_refused_where_it_was_asked_for_and_left_where_not(hub: Hub, bring: Bring) -> None:
    hub.repos["acme/nested"] = Repo({**files(), "payload.zip": b"PK", "payload.tgz": b"\x1f\x8b", "a.whl": b"PK"})
    asked = bring("acme/nested", patterns=("*.safetensors", "*.zip"))
    assert (asked.status, asked.failure_code) == (Status.IMPORT_FAILED, "MYI005")
    model = bring("acme/nested", name="plain")
    assert (model.status, content(model)) == (Status.READY, taken())


def test_a_licence_that_only_the_hub_states_is_no_warning(hub: Hub, bring: Bring) -> None:
    hub.repos["acme/plain"] = Repo({"model.safetensors": weights()}, card={"license": "mit"})
    model = bring("acme/plain")
    assert (model.licence, model.findings.get(rule="MYI023").level) == ("mit", "pass")


def test_a_name_is_taken_once(hub: Hub, bring: Bring) -> None:
    bring()
    with pytest.raises(Problem, match="already"):
        bring()
    assert bring(name="another").status == Status.READY


def in_thread(model: Model) -> threading.Thread:
    def work() -> None:
        pipeline.run(model.pk)
        database.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_checking_what_has_come_is_no_standstill(hub: Hub, tmp_path: Path, bring: Bring) -> None:
    data = weights(3_000_000)
    (tmp_path / "model.safetensors").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    file = {"path": "model.safetensors", "size": len(data), "sha256": sha256}
    given = {"endpoint": hub.address, "repository": "acme/tiny", "commit": "0" * 40, "token": "",
             "folder": str(tmp_path), "files": [file], "workers": 1}  # fmt: skip
    with Child(given) as child:
        lines = [line for line in iter(lambda: child.line(20), None)]
    assert {"file": "model.safetensors", "size": len(data), "sha256": sha256} in lines
    assert lines[-1]["hashed"] == len(data)
    download = Download(HubOrigin(files=[file]), tmp_path, lambda **_: None, 90)
    assert download._moved(len(data), 1000, [file])
    assert download._moved(len(data), 2000, [file])
    assert not download._moved(len(data), 2000, [file])


@pytest.mark.parametrize("location", ["http://hub.example/a", "https://disks.example/a", "https://hub.example:444/a"])
def test_a_token_is_for_one_scheme_and_host(location: str) -> None:
    assert job._origin(location) != job._origin("https://Hub.example/b")
    assert job._origin("https://hub.example/a") == job._origin("https://Hub.example/b")


def test_a_download_that_gets_on_is_not_given_up_for_interruptions(hub: Hub, bring: Bring) -> None:
    hub.repos["acme/large"] = Repo(files(4, 4_000_000))
    hub.troubles.speed = 1_500_000
    model = bring("acme/large", run=False)
    Model.objects.update(attempts=2)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, model.attempts) == (Status.READY, 1)
