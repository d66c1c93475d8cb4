"""Content that several models have is on disk once, for as long as one of them has it."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from apps.models import blobs, operations, pipeline, storage
from apps.models.models import Model, Status
from tests.models.conftest import Zip, good, safetensors_bytes

pytestmark = pytest.mark.django_db(transaction=True)


def imported(make_zip: Zip, person: User, name: str, files: dict[str, bytes]) -> Model:
    model = operations.import_file(make_zip(files, f"{name}.zip"), name, by=person)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert model.status == Status.READY
    return model


def inode(model: Model, path: str) -> int:
    return (storage.folder(model.pk) / path).stat().st_ino


def test_two_models_share_what_they_have_in_common(make_zip: Zip, person: User) -> None:
    one = imported(make_zip, person, "one", good())
    other = imported(make_zip, person, "other", {**good(), "README.md": b"---\nlicense: mit\n---\n"})
    assert inode(one, "model.onnx") == inode(other, "model.onnx")
    assert inode(one, "README.md") != inode(other, "README.md")


def test_deleting_one_keeps_the_other_and_the_last_takes_the_content_along(make_zip: Zip, person: User) -> None:
    content = uuid.uuid4().bytes.hex().encode()  # that no other test has
    one, other = (imported(make_zip, person, name, {**good(), "notes.txt": content}) for name in ("one", "other"))
    pattern = f".content/??/{one.files.get(path='notes.txt').sha256}"
    operations.delete(one, by=person)
    pipeline.sweep()
    assert (storage.folder(other.pk) / "notes.txt").read_bytes() == content
    assert len(list(Path(settings.MODELS_DIR).glob(pattern))) == 1
    operations.delete(other, by=person)
    assert blobs.sweep() >= len(content)
    assert not list(Path(settings.MODELS_DIR).glob(pattern))


def test_a_file_that_is_twice_in_one_model(make_zip: Zip, person: User) -> None:
    model = imported(
        make_zip, person, "double", {"a.safetensors": safetensors_bytes(), "b/a.safetensors": safetensors_bytes()}
    )
    assert inode(model, "a.safetensors") == inode(model, "b/a.safetensors")


def test_content_of_another_size_is_never_taken(tmp_path: Path, settings: Any) -> None:
    """A store that was damaged doesn't spread."""
    settings.MODELS_DIR = tmp_path
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"cut")
    second.write_bytes(b"whole")
    assert not blobs.share(first, "ab" * 32)
    assert not blobs.share(second, "ab" * 32)
    assert second.read_bytes() == b"whole"
