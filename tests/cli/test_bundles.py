"""Models carried from one installation to another that has no network and no worker."""

import shutil
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from apps.models.bundles import making
from apps.models.models import Model
from tests.cli.conftest import run
from tests.models import conftest as library

pytestmark = [pytest.mark.system, pytest.mark.django_db]
make_zip, imported, person = library.make_zip, library.imported, library.person  # fixtures


@pytest.fixture
def bundle(make_zip, imported, tmp_path: Path, person: User) -> Path:
    models = [imported(make_zip(library.good(), f"{name}.zip")) for name in ("Alpha", "Beta")]
    making.make([making.Item(model) for model in models], tmp_path / "bundle", lambda *_: None)
    return tmp_path / "bundle"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Another installation, its database made."""
    folder = tmp_path / "there"
    assert run("migrate", "-v0", data=folder).returncode == 0
    return folder


def line(text: str, mark: str) -> str:
    found = [each for each in text.splitlines() if each.startswith(mark)]
    assert len(found) == 1, text
    return found[0]


def test_a_bundle_goes_there_and_on_from_there(bundle: Path, data: Path, tmp_path: Path) -> None:
    done = run("import-bundle", str(bundle), "alpha", data=data)
    assert (done.returncode, "Alpha is Ready" in done.stdout) == (0, True), done.stdout
    again = run("import-bundle", str(bundle), data=data)
    assert again.returncode == 0, again.stdout
    assert "Alpha is there already" in again.stdout
    assert "Beta is Ready" in again.stdout
    on = run("bundle", "Alpha", "Beta", "--output", str(tmp_path / "on"), data=data)
    assert on.returncode == 0, on.stdout
    said = on.stdout.rsplit("SHA-256 of its manifest: ", 1)[1].strip()
    third = tmp_path / "third"
    assert run("migrate", "-v0", data=third).returncode == 0
    other = run("import-bundle", str(tmp_path / "on"), "--sha256", "0" * 64, data=third)
    assert "Don't import it" in line(other.stdout, "✗")
    last = run("import-bundle", str(tmp_path / "on"), "--sha256", said, data=third)
    assert last.returncode == 0, last.stdout
    assert {path.name for path in (third / "models").iterdir()} != set()
    assert Model.objects.count() == 2  # ours: the commands worked elsewhere


def test_what_was_changed_is_named_and_a_whole_copy_goes_on(bundle: Path, data: Path) -> None:
    whole = bundle.with_name("whole")
    shutil.copytree(bundle, whole)
    (bundle / "models/alpha/model.onnx").write_bytes(b"x")
    done = run("import-bundle", str(bundle), data=data)
    assert done.returncode == 1
    assert "Alpha (MYI035): model.onnx has 1 bytes" in line(done.stdout, "✗")
    assert "Beta is Ready" in done.stdout
    again = run("import-bundle", str(whole), data=data)
    assert (again.returncode, "Alpha is Ready" in again.stdout) == (0, True), again.stdout


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json can't be read"),
        (lambda folder: (folder / "catalogue.yaml").unlink(), "catalogue.yaml can't be read"),
        (lambda folder: (folder / "catalogue.yaml").write_text("version: 1\nmodels: []\n"), "catalogue.yaml isn't"),
        (shutil.rmtree, "manifest.json can't be read"),
    ],
)
def test_a_folder_that_is_no_whole_bundle_is_refused_in_one_line(bundle: Path, data: Path, damage, words: str) -> None:
    damage(bundle)
    done = run("import-bundle", str(bundle), data=data)
    assert done.returncode == 1
    assert words in line(done.stdout, "✗")
    assert "Traceback" not in done.stdout


def test_a_model_that_there_isnt_cannot_be_bundled_or_taken(bundle: Path, data: Path, tmp_path: Path) -> None:
    done = run("bundle", "gamma", "--output", str(tmp_path / "x"), data=data)
    assert (done.returncode, "no model 'gamma'" in line(done.stdout, "✗")) == (1, True)
    done = run("import-bundle", str(bundle), "gamma", data=data)
    assert "It has alpha, beta" in line(done.stdout, "✗")


def test_mistakes_of_the_catalogue_are_told_by_the_check(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("version: 1\nmodels:\n  - id: mine\n    task: dance\n")
    done = run("check", data=data, MODELYARD_CATALOGUE=str(path))
    assert done.returncode == 0
    assert f"{path}:4: mine: task: input should be" in done.stdout
    assert "modelyard.W007" in done.stdout
