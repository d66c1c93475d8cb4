"""Bundles: made of imported models, offered where they are brought, and refused when anything in them was changed."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import jsonschema
import pytest
import yaml
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from apps.models import hashing, pipeline, storage
from apps.models import operations as models
from apps.models.bundles import copying, making, manifest
from apps.models.catalogue import operations
from apps.models.catalogue.shelf import find, shelf
from apps.models.deployconfig import reading
from apps.models.deployconfig.schema import DeployConfig
from apps.models.models import Level, Model, Source, Status
from modelyard.problems import Problem
from tests.models.conftest import Zip, config, good, safetensors_bytes

Imported = Callable[[Path], Model]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.fixture
def model(make_zip: Zip, imported: Imported) -> Model:
    return imported(make_zip({**good(), "onnx/extra.json": b"{}"}, "Tiny model.zip"))


@pytest.fixture
def bundle(model: Model, tmp_path: Path, settings) -> Path:
    """A bundle of that model, which is deleted here and whose catalogue is added."""
    target = tmp_path / "bundle"
    deployed = DeployConfig(version=1, runtime="echo", options={"loud": True})
    making.make([making.Item(model, deployed)], target, lambda *_: None)
    models.delete(model, by=None)
    settings.CATALOGUE = [str(target)]
    return target


def run(person: User) -> Model:
    """Import it, as a worker would."""
    made = operations.start("tiny-model", by=person)
    pipeline.run(made.pk)
    made.refresh_from_db()
    return made


def files(model: Model) -> dict[str, str]:
    return dict(model.files.values_list("path", "sha256"))


def left_behind(model: Model) -> list[Path]:
    return [path for path in storage.folder(model.pk).parent.iterdir() if path.name.startswith(model.pk)]


# --- Making ---


def test_a_bundle_has_what_its_schema_says_and_sums_that_hold(bundle: Path) -> None:
    whole = json.loads((bundle / "manifest.json").read_text())
    jsonschema.validate(whole, json.loads((DOCS / "schemas/bundle-v1.json").read_text()))
    jsonschema.validate(
        yaml.safe_load((bundle / "catalogue.yaml").read_text()),
        json.loads((DOCS / "schemas/catalogue-v1.json").read_text()),
    )
    done = subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=bundle, check=False)
    assert done.returncode == 0
    listed = {line.split("  ", 1)[1] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    there = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert there - listed == {"SHA256SUMS"}


def test_a_bundle_is_there_whole_or_not_at_all(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "bundle"
    with monkeypatch.context() as patch:
        patch.setattr(making.hashing, "copy", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(Problem, match="No space"):
            making.make([making.Item(model)], target, lambda *_: None)
    assert list(tmp_path.glob("bundle*")) == []
    making.make([making.Item(model)], target, lambda *_: None)
    with pytest.raises(Problem, match="there already"):
        making.make([making.Item(model)], target, lambda *_: None)


def test_a_file_that_isnt_what_was_imported_is_not_bundled(model: Model, tmp_path: Path) -> None:
    path = storage.folder(model.pk) / "README.md"
    path.chmod(0o600)
    path.write_text("something else")
    with pytest.raises(Problem, match=r"README\.md of Tiny model isn't what was imported"):
        making.make([making.Item(model)], tmp_path / "bundle", lambda *_: None)


def test_models_of_alike_names_lie_apart(make_zip: Zip, imported: Imported, tmp_path: Path) -> None:
    made = [imported(make_zip(good(), name)) for name in ("A b.zip", "a-b.zip", "模型.zip")]
    making.make([making.Item(each) for each in made], tmp_path / "bundle", lambda *_: None)
    assert [each.id for each in manifest.load(tmp_path / "bundle").models] == ["a-b", "a-b-2", "model"]


# --- Offering and importing ---


def test_a_bundle_is_offered_and_comes_in_as_it_went_out(model: Model, bundle: Path, person: User) -> None:
    went = {row.path: row.sha256 for row in manifest.load(bundle).models[0].files if row.path != "deployconfig.json"}
    assert find("tiny-model").bundle == bundle
    made = run(person)
    assert (made.status, made.source, made.name) == (Status.READY, Source.PLATFORM_HOSTED, "Tiny model")
    assert files(made) == went
    assert not made.findings.exclude(level=Level.PASS).exists()
    assert made.findings.filter(rule="MYI035").exists()
    assert reading.of(made).options == {"loud": True}
    assert (storage.folder(made.pk) / "model.onnx").stat().st_mode & 0o222 == 0


def test_the_bundle_is_not_needed_afterwards_and_not_touched(bundle: Path, person: User) -> None:
    before = {path: (path.stat().st_mode, path.stat().st_mtime_ns) for path in bundle.rglob("*")}
    made = run(person)
    assert {path: (path.stat().st_mode, path.stat().st_mtime_ns) for path in bundle.rglob("*")} == before
    shutil.rmtree(bundle)
    data = (storage.folder(made.pk) / "model.onnx").read_bytes()
    assert hashlib.sha256(data).hexdigest() == files(made)["model.onnx"]


def test_what_the_catalogue_recommends_fills_the_form_in_where_nothing_came_along(
    model: Model, tmp_path: Path, settings, person: User
) -> None:
    making.make([making.Item(model)], tmp_path / "bundle", lambda *_: None)
    models.delete(model, by=None)
    path = tmp_path / "bundle/catalogue.yaml"
    path.write_text(f"{path.read_text()}  runtime: echo\n  options: {{loud: true}}\n")
    settings.CATALOGUE = [str(tmp_path / "bundle")]
    kept = reading.of(run(person))
    assert (kept.runtime, kept.options) == ("echo", {"loud": True})


def change(name: str, data: bytes) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return do


def flip(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)


def link(folder: Path) -> None:
    moved = folder.parent / "elsewhere.onnx"
    (folder / "model.onnx").rename(moved)
    (folder / "model.onnx").symlink_to(moved)


def linked_folder(folder: Path) -> None:
    (folder / "onnx").rename(folder.parent / "elsewhere")
    (folder / "onnx").symlink_to(folder.parent / "elsewhere")


TAMPERED = {
    "one bit": (flip, "MYI035", "model.onnx"),
    "cut off": (change("model.onnx", b"short"), "MYI035", "model.onnx"),
    "longer": (change("README.md", b"x" * 9999), "MYI035", "README.md"),
    "missing": (lambda folder: (folder / "onnx/extra.json").unlink(), "MYI035", "onnx/extra.json"),
    "added": (change("evil.py", b"print(1)"), "MYI035", "evil.py"),
    "a link": (link, "MYI003", "model.onnx"),
    "a linked folder": (linked_folder, "MYI035", "onnx"),
    "a device": (lambda folder: ((folder / "README.md").unlink(), os.mkfifo(folder / "README.md")), "MYI003", "README"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_bundle_is_refused_with_the_file_named(bundle: Path, person: User, case: str) -> None:
    damage, rule, name = TAMPERED[case]
    damage(bundle / "models/tiny-model")
    made = run(person)
    assert (made.status, made.failure_code) == (Status.IMPORT_FAILED, rule), made.failure
    assert name in made.failure
    assert made.next_step
    assert left_behind(made) == []


MANIFESTS = {
    "a path that leads out": lambda m: m["models"][0]["files"][0].update(path="../../etc/passwd"),
    "an absolute path": lambda m: m["models"][0]["files"][0].update(path="/etc/passwd"),
    "a backslash": lambda m: m["models"][0]["files"][0].update(path="..\\x"),
    "a folder that leads out": lambda m: m["models"][0].update(directory="../models"),
    "another version": lambda m: m.update(version=2),
    "a sum that is none": lambda m: m["models"][0]["files"][0].update(sha256="x"),
    "no models": lambda m: m.pop("models"),
    "an unknown field": lambda m: m.update(more=1),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_lies_is_not_offered_and_told(bundle: Path, case: str) -> None:
    whole = json.loads((bundle / "manifest.json").read_text())
    MANIFESTS[case](whole)
    (bundle / "manifest.json").write_text(json.dumps(whole))
    assert any("manifest.json" in mistake.message for mistake in shelf().mistakes)
    with pytest.raises(Problem):
        find("tiny-model")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"version": 1}'])
def test_a_manifest_that_is_none_is_told(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text)
    assert any("manifest.json" in mistake.message for mistake in shelf().mistakes)


def test_a_name_that_stands_twice_in_two_spellings_is_refused(bundle: Path, person: User) -> None:
    whole = json.loads((bundle / "manifest.json").read_text())
    first = whole["models"][0]["files"][0]
    whole["models"][0]["files"].append({**first, "path": first["path"].swapcase()})
    (bundle / "manifest.json").write_text(json.dumps(whole))
    assert run(person).failure_code == "MYI004"


@pytest.mark.parametrize(
    ("name", "data", "rule"),
    [("model.safetensors", b"\xff" * 64, "MYI013"), ("extra/payload.zip", b"PK\x03\x04" + bytes(60), "MYI005")],
)
def test_the_rules_of_every_import_hold_for_bundles_too(
    make_zip: Zip, imported: Imported, tmp_path: Path, settings, person: User, name: str, data: bytes, rule: str
) -> None:
    """A bundle whose sums are right, but whose weights lie, or with an archive in it."""
    made = imported(make_zip({"model.safetensors": safetensors_bytes(), "config.json": config()}, "Tiny model.zip"))
    making.make([making.Item(made)], tmp_path / "bundle", lambda *_: None)
    models.delete(made, by=None)
    path = tmp_path / "bundle/models/tiny-model" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    whole = json.loads((tmp_path / "bundle/manifest.json").read_text())
    rows = [each for each in whole["models"][0]["files"] if each["path"] != name]
    rows.append({"path": name, "size": 64, "sha256": hashlib.sha256(data).hexdigest()})
    whole["models"][0]["files"] = rows
    (tmp_path / "bundle/manifest.json").write_text(json.dumps(whole))
    settings.CATALOGUE = [str(tmp_path / "bundle")]
    assert run(person).failure_code == rule


def test_a_disk_that_was_pulled_out_and_is_back_goes_on_by_retry(bundle: Path, person: User) -> None:
    aside = bundle.with_name("aside")
    made = operations.start("tiny-model", by=person)
    bundle.rename(aside)
    pipeline.run(made.pk)
    made.refresh_from_db()
    assert (made.status, models.retryable(made)) == (Status.IMPORT_FAILED, True)
    aside.rename(bundle)
    pipeline.run(models.retry(made, by=person).pk)
    made.refresh_from_db()
    assert made.status == Status.READY


def test_a_disk_that_is_pulled_out_while_it_is_read_is_not_taken_for_a_full_one(
    bundle: Path, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = copying._opened

    def pulled(*args: Any) -> Any:
        failing = MagicMock(wraps=opened(*args))
        failing.__enter__.return_value = failing
        failing.read.side_effect = OSError(errno.EIO, os.strerror(errno.EIO))
        return failing

    with monkeypatch.context() as patch:
        patch.setattr(copying, "_opened", pulled)
        broken = run(person)
    assert (broken.status, broken.failure_code) == (Status.IMPORT_FAILED, "MYI035")
    assert "can't be read (Input/output error)" in broken.failure
    assert "Attach the bundle's disk again" in broken.next_step
    pipeline.run(models.retry(broken, by=person).pk)
    assert Model.objects.get(pk=broken.pk).status == Status.READY


def test_a_name_that_is_taken_is_refused_and_another_one_can_be_given(bundle: Path, person: User) -> None:
    run(person)
    with pytest.raises(Problem, match="already"):
        operations.start("tiny-model", by=person)
    assert operations.start("tiny-model", by=person, name="Tiny 2").name == "Tiny 2"


def test_by_the_api_and_the_page(bundle: Path, person: User) -> None:
    api = APIClient()
    api.force_authenticate(person)
    assert [row["id"] for row in api.get("/api/v1/catalogue/?files_here=1").json()] == ["tiny-model"]
    answer = api.post("/api/v1/catalogue/tiny-model/import/", {"name": "By script"})
    assert (answer.status_code, answer.json()["source"]) == (202, "platform_hosted")
    browser = Client()
    browser.force_login(person)
    page = "/admin/models/model/catalogue/tiny-model/"
    assert "files are here" in browser.get(page).content.decode()
    sent = {"name": "By hand", "form_id": "once"}
    told = browser.post(page, sent)
    made = Model.objects.get(name="By hand")
    assert told.headers["Location"] == f"/admin/models/model/{made.pk}/change/"
    assert browser.post(page, sent).headers["Location"] == page
    pipeline.run(made.pk)
    assert Model.objects.get(name="By hand").status == Status.READY


# --- Killed ---

KILLED = """
import os, sys, django
sys.path[:0] = [{root!r}, {root!r} + "/platform"]
os.environ["DJANGO_SETTINGS_MODULE"] = "modelyard.settings"
django.setup()
from django.conf import settings
from django.db import connections
from apps.models import hashing, pipeline
connections.databases["default"].update(NAME={database!r})
copy = hashing.copy
def slowly(source, write, chunk, each):
    print("copying", flush=True)
    import time; time.sleep(60)
hashing.copy = slowly
pipeline.run({model!r})
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="the child opens the test's SQLite file")
def test_an_import_killed_in_the_middle_begins_again_and_leaves_nothing(bundle: Path, person: User) -> None:
    made = operations.start("tiny-model", by=person)
    code = KILLED.format(root=str(DOCS.parents[1]), database=str(connection.settings_dict["NAME"]), model=made.pk)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "copying\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert [path.name for path in left_behind(made)] == [f"{made.pk}.importing"]
    assert pipeline.sweep() == []
    Model.objects.update(lease_until="2020-01-01T00:00Z")
    assert pipeline.sweep() == [made.pk]
    pipeline.run(made.pk)
    made.refresh_from_db()
    assert (made.status, made.attempts) == (Status.READY, 2)
    assert [path.name for path in left_behind(made)] == [made.pk]


# --- Hashing ---


def test_a_copy_holds_few_pieces_however_slow_the_hash_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def __init__(self) -> None:
            self.seen = 0

        def update(self, piece: bytes) -> None:
            time.sleep(0.002)
            self.seen += 1

        def hexdigest(self) -> str:
            return str(self.seen)

    slow, most = Slow(), 0
    monkeypatch.setattr(hashing.hashlib, "sha256", lambda: slow)
    with hashing.Digest() as digest:
        for number in range(100):
            digest.update(b"x")
            most = max(most, number + 1 - slow.seen)
    assert digest.hexdigest() == "100"
    assert most <= hashing.AHEAD + 2


def test_a_copy_that_is_ended_leaves_no_thread() -> None:
    import io
    import threading

    def stop(_size: int) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        hashing.copy(io.BytesIO(b"x" * 100), lambda data: None, 10, stop)
    assert not [thread for thread in threading.enumerate() if thread.name == "sha256"]
