"""Archives as people make them, and the import run as the worker would."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy
import onnx
import pytest
import safetensors.numpy
from django.contrib.auth.models import User

from apps.models import operations, pipeline
from apps.models.models import Model

Files = dict[str, bytes]
Zip = Callable[..., Path]


def onnx_bytes(external: str | None = None) -> bytes:
    """A graph that adds a weight to its input; the weight in another file where one is named."""
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    if external:
        weight = onnx.TensorProto(name="w", dims=[4], data_type=onnx.TensorProto.FLOAT, raw_data=bytes(16))
        onnx.external_data_helper.set_external_data(weight, external, 0, 16)
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.ClearField("raw_data")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", [value], [out], [weight])
    return onnx.helper.make_model(graph).SerializeToString()


def safetensors_bytes() -> bytes:
    return safetensors.numpy.save({"w": numpy.zeros((3, 5), dtype=numpy.float32)})


def good() -> Files:
    return {"model.onnx": onnx_bytes(), "README.md": b"---\nlicense: apache-2.0\n---\n# Tiny\n"}


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create(username="anna", is_staff=True, is_superuser=True)


@pytest.fixture
def make_zip(tmp_path: Path) -> Zip:
    """Makes a zip of the given files, in which names may stand twice."""

    def make(files: Files | list[tuple[str | zipfile.ZipInfo, bytes]], name: str = "tiny.zip") -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, data in files.items() if isinstance(files, dict) else files:
                archive.writestr(entry, data)
        return path

    return make


@pytest.fixture
def imported(person: User) -> Callable[[Path], Model]:
    """Imports an archive to its end."""

    def run(path: Path) -> Model:
        model = operations.import_file(path, operations.name_of(path.name), by=person)
        pipeline.run(model.pk)
        model.refresh_from_db()
        return model

    return run


def config(**values: object) -> bytes:
    return json.dumps(values).encode()


def as_stream(path: Path) -> io.BytesIO:
    stream = io.BytesIO(path.read_bytes())
    stream.name = path.name
    return stream
