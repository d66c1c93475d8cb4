"""Engines that many tests only read from: one of each kind for a test process."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# some tests import onnxruntime themselves, which would write outside the tests' folders and call home
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from tests.runtimes.demo_model import demo_model_folder
from tests.runtimes.onnx import graphs
from tests.runtimes.onnx.engines import Engine, running


@pytest.fixture(scope="session")
def demo_model() -> Path:
    return demo_model_folder()


@pytest.fixture(scope="session")
def embedder(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The demo model; sharing runs is on whatever a measurement on a busy machine would say."""
    with running(demo_model, tmp_path_factory.mktemp("embedder"), max_batch_size=8) as engine:
        yield engine


@pytest.fixture(scope="session")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A graph with an input of every datatype."""
    place = tmp_path_factory.mktemp("typed")
    with running(graphs.every_datatype(place / "model"), place / "work") as engine:
        yield engine


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A graph of one input (n x 3) and two outputs."""
    place = tmp_path_factory.mktemp("pair")
    with running(graphs.two_heads(place / "model"), place / "work", max_batch_size=8) as engine:
        yield engine


@pytest.fixture(scope="session")
def lookup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A table of four rows; other indices fail inside the graph."""
    place = tmp_path_factory.mktemp("lookup")
    with running(graphs.lookup(place / "model"), place / "work", workers=1, max_batch_size=16) as engine:
        yield engine
