"""Small made-up model folders, with real headers."""

import functools
import json
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.runtimes import Model
from modelyard.runtimes.testing import describe

LLAMA: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "hidden_size": 576,
    "max_position_embeddings": 8192,
}


def write_llama(
    folder: Path, config: Mapping[str, Any] = LLAMA, *, numbers: int = 1_000_000, dtype: str = "BF16"
) -> Model:
    """A folder with as many zeros as its header says."""
    folder.mkdir(parents=True, exist_ok=True)
    size = numbers * (4 if dtype == "F32" else 2)
    header = json.dumps({"w": {"dtype": dtype, "shape": [numbers], "data_offsets": [0, size]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    (folder / "config.json").write_text(json.dumps(config))
    return describe(folder, format="safetensors", task="text-generation")


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="models-")


@functools.cache
def llama() -> Model:
    """One for all tests of this process, with a chat template; to be read only."""
    folder = Path(_scratch().name) / "llama"
    model = write_llama(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return describe(model.path, format="safetensors", task="text-generation")
