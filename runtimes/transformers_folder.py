"""What a model folder says of itself: configuration, and the weights' number and size from their headers."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.runtimes import Failure, Model

HEADER_LIMIT = 100 * 2**20
DTYPE_BYTES = {"F64": 8.0, "F32": 4.0, "I32": 4.0, "U32": 4.0, "I64": 8.0, "F16": 2.0, "BF16": 2.0, "I16": 2.0}
POOLING = ("feature-extraction", "sentence-similarity", "text-ranking", "text-classification")


@dataclass(frozen=True)
class Weights:
    """Tensors of a model: how many numbers are kept in 16 bits or more, and the bytes of all."""

    wide: int
    stored: int
    packed: int


def config(model: Model) -> Mapping[str, Any]:
    """config.json, the part for text where there are several; Failure if it can't be read."""
    try:
        found = json.loads((model.path / "config.json").read_text())
    except FileNotFoundError:
        raise Failure("no_config", "The model has no config.json.", "Import the whole repository of the model.",
                      permanent=True) from None  # fmt: skip
    except (OSError, ValueError) as error:
        raise _damaged("config.json", str(error)) from None
    if not isinstance(found, dict):
        raise _damaged("config.json", "it is no JSON object")
    return found


def text_config(whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a configuration."""
    inner = whole.get("text_config") or whole.get("llm_config")
    return inner if isinstance(inner, dict) else whole


def architectures(model: Model) -> list[str]:
    """The classes that the model names."""
    found = config(model).get("architectures")
    return [str(name) for name in found] if isinstance(found, list) else []


def task(model: Model) -> str:
    """What the model is for: `generate`, `embed`, `rank` or `classify`."""
    if model.task in {"feature-extraction", "sentence-similarity"}:
        return "embed"
    if model.task == "text-ranking":
        return "rank"
    names = " ".join(architectures(model))
    if "ForSequenceClassification" in names or model.task == "text-classification":
        labels = config(model).get("id2label")
        return "rank" if isinstance(labels, dict) and len(labels) == 1 else "classify"
    if any(word in names for word in ("ForCausalLM", "ForConditionalGeneration", "LMHead")) or not names:
        return "generate"
    return "embed" if names.endswith(("Model", "ForMaskedLM")) and model.task != "text-generation" else "generate"


def context_length(model: Model) -> int | None:
    """Tokens that the model was made for."""
    found = text_config(config(model)).get("max_position_embeddings")
    return found if isinstance(found, int) and found > 0 else model.context_length


def has_chat_template(model: Model) -> bool:
    """Whether it can chat without one being given."""
    if (model.path / "chat_template.jinja").exists() or (model.path / "chat_template.json").exists():
        return True
    try:
        return bool(json.loads((model.path / "tokenizer_config.json").read_text()).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def weights(model: Model) -> Weights:
    """From the headers of every safetensors file; Failure if one is damaged."""
    files = sorted(model.path.glob("*.safetensors"))
    if not files:
        raise Failure(
            "no_weights", "The model has no .safetensors file.", "Import the model with its safetensors weights.",
            permanent=True,
        )  # fmt: skip
    wide = stored = packed = 0
    for file in files:
        for name, tensor in _header(file).items():
            if name == "__metadata__":
                continue
            begin, end = tensor["data_offsets"]
            width = DTYPE_BYTES.get(str(tensor["dtype"]), 0.0)
            stored += end - begin
            if str(tensor["dtype"]) in {"F32", "F16", "BF16", "F64"}:
                wide += int((end - begin) / width)
            else:
                packed += end - begin
    return Weights(wide, stored, packed)


def _header(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > HEADER_LIMIT:
                raise ValueError("its header is longer than possible")
            header = json.loads(opened.read(length))
            last = max((t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"), default=0)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise _damaged(file.name, str(error)) from None
    if file.stat().st_size < 8 + length + last:
        raise _damaged(file.name, "it ends before its last tensor does")
    return dict(header)


def _damaged(name: str, why: str) -> Failure:
    return Failure("damaged_model", f"{name} can't be read: {why}.", "Import the model again.", permanent=True)
