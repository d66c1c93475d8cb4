"""What a model's folder says of itself: configuration, chat template, and the weights by their headers."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.runtimes import Failure, Model

HEADER_LIMIT = 100 * 2**20
WIDE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class Weights:
    """How many numbers are kept in 16 bits or more, and the bytes of those and of the packed ones."""

    numbers: int
    wide_bytes: int
    packed_bytes: int

    @property
    def quantized(self) -> bool:
        """Whether most of it is packed already."""
        return self.packed_bytes > self.wide_bytes


def config(model: Model) -> Mapping[str, Any]:
    """config.json; Failure if it can't be read."""
    try:
        found = json.loads((model.path / "config.json").read_bytes())
    except FileNotFoundError:
        raise Failure("no_config", "The model has no config.json.", "Import the whole repository of the model.",
                      permanent=True) from None  # fmt: skip
    except (OSError, ValueError) as error:
        raise _damaged("config.json", str(error)) from None
    if not isinstance(found, dict):
        raise _damaged("config.json", "it is no JSON object")
    return found


def text_config(model: Model) -> Mapping[str, Any]:
    """The language model's part of the configuration."""
    whole = config(model)
    inner = whole.get("text_config")
    return inner if isinstance(inner, dict) else whole


def context_length(model: Model) -> int | None:
    """Tokens that the model was made for."""
    found = text_config(model).get("max_position_embeddings")
    return found if isinstance(found, int) and found > 0 else model.context_length


def has_chat_template(model: Model) -> bool:
    """Whether TGI finds one."""
    if any((model.path / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    try:
        return bool(json.loads((model.path / "tokenizer_config.json").read_bytes()).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def weights(model: Model) -> Weights:
    """Of every safetensors file in the folder; Failure if there is none or one is damaged."""
    files = sorted(model.path.glob("*.safetensors"))
    if not files:
        raise Failure("no_weights", "The model has no .safetensors file.",
                      "Import the model with its safetensors weights.", permanent=True)  # fmt: skip
    numbers = wide = packed = 0
    for kind, size in (tensor for file in files for tensor in _tensors(file)):
        if kind in WIDE:
            numbers += size // WIDE[kind]
            wide += size
        else:
            packed += size
    return Weights(numbers, wide, packed)


def _tensors(file: Path) -> list[tuple[str, int]]:
    """Type and bytes of each."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > HEADER_LIMIT:
                raise ValueError("its header is longer than possible")
            header = json.loads(opened.read(length))
        found = [(str(tensor["dtype"]), *tensor["data_offsets"]) for name, tensor in header.items()
                 if name != "__metadata__"]  # fmt: skip
        end = max((last for _, _, last in found), default=0)
        sizes = [(kind, int(last - first)) for kind, first, last in found]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise _damaged(file.name, str(error)) from None
    if file.stat().st_size < 8 + length + end:
        raise _damaged(file.name, "it ends before its last tensor does")
    return sizes


def _damaged(name: str, why: str) -> Failure:
    return Failure("damaged_model", f"{name} can't be read: {why}.", "Import the model again.", permanent=True)
