"""Files that the database doesn't know may be another database's: nothing of them is lost."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from apps.deployments.models import Artifact
from apps.deployments.monitoring import troubles
from apps.deployments.optimization import artifacts
from apps.models import operations, pipeline, storage
from apps.models.installation import operations as installation
from apps.models.installation.models import Installation
from apps.models.models import Model
from modelyard.cli.doctor import _gateway
from tests.models.conftest import Zip, good

Imported = Callable[[Path], Model]
LONG_AGO = time.time() - 10 * 24 * 3600


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    """Folders without what other tests left, and nothing left of these."""
    _clean()
    yield
    _clean()


def _clean() -> None:
    for root in (Path(settings.MODELS_DIR), Path(settings.UPLOADS_DIR)):
        for path in root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (LONG_AGO, LONG_AGO))


def forgotten(model: Model) -> Path:
    """The folder of a model that the database doesn't know any more, as after another one was restored."""
    Model.objects.filter(pk=model.pk).delete()
    age(storage.folder(model.pk))
    return storage.folder(model.pk)


def aside(days: int = 0) -> Path:
    return Path(settings.MODELS_DIR) / storage.ASIDE / (date.today() - timedelta(days)).isoformat()


def test_an_empty_database_costs_no_files(make_zip: Zip, imported: Imported, caplog: pytest.LogCaptureFixture) -> None:
    model = imported(make_zip(good()))
    pipeline.sweep()
    archive = Path(settings.UPLOADS_DIR) / "mdl_0000000000000000.zip"
    archive.write_bytes(b"kept for a retry")
    content = Path(settings.MODELS_DIR) / ".content" / "00" / ("0" * 64)
    content.parent.mkdir(parents=True)
    content.write_bytes(b"its folder is being copied back just now")
    folder = forgotten(model)
    age(archive)
    Installation.objects.all().delete()  # as if MODELYARD_DATABASE_URL named another one
    with caplog.at_level(logging.WARNING):
        pipeline.sweep()
        pipeline.sweep()
    assert (folder / "model.onnx").exists()
    assert archive.exists()
    assert content.exists()
    assert len([line for line in caplog.messages if "another database" in line]) == 1


def test_files_from_before_there_were_markers_are_not_an_empty_databases(make_zip: Zip, imported: Imported) -> None:
    folder = forgotten(imported(make_zip(good())))
    pipeline.sweep()
    imported(make_zip(good(), "new.zip"))  # and in use for some time
    pipeline.sweep()
    assert (folder / "model.onnx").exists()


def test_an_installation_that_knows_its_models_adopts_them(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip(good()))
    pipeline.sweep()
    assert installation.marker().read_text().strip() == installation.own()
    assert storage.folder(model.pk).exists()
    assert troubles.troubles() == []


def test_a_new_installation_marks_its_files_as_its_own(person: User) -> None:
    pipeline.sweep()
    assert installation.ours()
    assert not installation.another()


def test_what_an_older_state_of_the_database_does_not_know_is_set_aside_and_kept(
    make_zip: Zip, imported: Imported
) -> None:
    imported(make_zip(good()))
    model = imported(make_zip({**good(), "new.txt": b"since the backup"}, "new.zip"))
    pipeline.sweep()
    folder = forgotten(model)
    pipeline.sweep()
    assert not folder.exists()
    assert (aside() / model.pk / "new.txt").read_bytes() == b"since the backup"
    (aside() / model.pk).rename(folder)  # as the guide says
    assert (folder / "model.onnx").exists()


def test_what_was_set_aside_goes_after_a_month(make_zip: Zip, imported: Imported) -> None:
    imported(make_zip(good()))
    for days in (29, 31):
        (aside(days) / "mdl_old").mkdir(parents=True)
    mine = Path(settings.MODELS_DIR) / storage.ASIDE / "my-own-notes"
    mine.mkdir()
    pipeline.sweep()
    assert [path.exists() for path in (aside(29), aside(31), mine)] == [True, False, True]


def test_only_what_modelyard_makes_is_cleaned_up(make_zip: Zip, imported: Imported) -> None:
    imported(make_zip(good()))
    names = ("README", "lost+found", "backup-of-mdl_x", "tmpab12.upload", "upl_0000000000000000.part")
    paths = [Path(settings.UPLOADS_DIR) / name for name in names]
    for path in paths:
        path.write_bytes(b"x")
    age(*paths)
    pipeline.sweep()
    assert [path.exists() for path in paths] == [True, True, True, False, False]


def test_artifacts_of_another_database_stay(person: User) -> None:
    folder = Path(settings.ARTIFACTS_DIR) / "art_0000000000000000"
    folder.mkdir(exist_ok=True)
    installation.marker().write_text("ins_another\n")
    artifacts.sweep()
    assert folder.exists()
    installation.marker().write_text(installation.own())
    artifacts.sweep()
    assert not folder.exists()
    assert not Artifact.objects.exists()


def test_operators_are_told_and_what_they_are_told_helps(
    make_zip: Zip, imported: Imported, person: User, client: Client
) -> None:
    folder = forgotten(imported(make_zip(good())))
    pipeline.sweep()
    client.force_login(person)
    assert "belong to another database" in client.get("/admin/").content.decode()
    assert any("another database" in line for line in client.get("/readyz").json()["warnings"])
    assert [found.subject for found in _gateway()] == ["files", "gateway"]
    (trouble,) = troubles.troubles()
    assert installation.own() in trouble.mend
    installation.marker().write_text(f"{installation.own()}\n")
    pipeline.sweep()
    assert troubles.troubles() == []
    assert (aside() / folder.name / "model.onnx").exists()


def test_a_deleted_model_is_not_set_aside(make_zip: Zip, imported: Imported, person: User) -> None:
    model = imported(make_zip(good()))
    pipeline.sweep()
    operations.delete(model, by=person)
    pipeline.sweep()
    assert not list(Path(settings.MODELS_DIR).rglob("mdl_*"))
