"""The metadata at the start of a GGUF file: what the memory of a model depends on."""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from modelyard.runtimes import Failure, Model

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
LONGEST = 2**24  # entries of an array, or bytes of a text: a larger one is damage
KEPT = 4096  # entries of an array that are kept; of longer ones the length


@dataclass(frozen=True)
class Header:
    """What the estimate needs. `kv_width` is the numbers of one token in K and V together, over all layers."""

    architecture: str
    layers: int
    kv_width: int
    kv_formula: str
    embedding: int
    vocabulary: int
    context_length: int | None
    has_chat_template: bool


def graph(model: Model) -> Path:
    """The file that the engine is given; Failure if there is none."""
    found = sorted(model.path.rglob("*.gguf"))
    candidates = [path for path in found if "mmproj" not in path.name.lower()]
    parts = [path for path in candidates if re.search(r"-\d{5}-of-\d{5}\.gguf$", path.name)]
    whole = [path for path in candidates if path not in parts]
    chosen = [*(path for path in parts if "-00001-of-" in path.name), *whole]
    if chosen:
        return chosen[0]
    raise Failure(
        "no_gguf", "The model has no .gguf file.", "Import a model in GGUF format for this runtime.", permanent=True
    )


def read(path: Path) -> Header:
    """The header; Failure if the file is damaged."""
    try:
        with path.open("rb") as file:
            magic, version, _tensors, keys = struct.unpack("<4sIQQ", file.read(24))
            if magic != b"GGUF" or version not in {2, 3} or keys > 100_000:
                raise ValueError("it doesn't start as a GGUF file does")
            values = dict(_pair(file) for _ in range(keys))
    except (OSError, ValueError, struct.error, MemoryError) as error:
        raise Failure(
            "damaged_model", f"{path.name} can't be read: {error}.", "Import the model again.", permanent=True
        ) from None
    return _header(values)


def _header(values: Mapping[str, Any]) -> Header:
    architecture = str(values.get("general.architecture") or "")

    def number(name: str, default: int = 0) -> Any:
        return values.get(f"{architecture}.{name}", default)

    layers, embedding = int(number("block_count")), int(number("embedding_length"))
    heads = number("attention.head_count", 1)
    each = heads if isinstance(heads, list) else [heads] * layers
    kv_heads = number("attention.head_count_kv", each)
    kv_each = kv_heads if isinstance(kv_heads, list) else [kv_heads] * layers
    size = embedding // max(*each, 1) if each else 0
    key, value = int(number("attention.key_length", size)), int(number("attention.value_length", size))
    width = sum(int(n) for n in kv_each) * (key + value)
    context = number("context_length")
    return Header(
        architecture=architecture,
        layers=layers,
        kv_width=width,
        kv_formula=f"{layers} layers × {max(kv_each, default=0)} KV heads × {key + value}",
        embedding=embedding,
        vocabulary=_length(values.get("tokenizer.ggml.tokens")),
        context_length=int(context) if isinstance(context, int) and context > 0 else None,
        has_chat_template=bool(values.get("tokenizer.chat_template")),
    )


def _length(value: Any) -> int:
    return value if isinstance(value, int) else len(value or ())


def _pair(file: IO[bytes]) -> tuple[str, Any]:
    name = _text(file)
    return name, _value(file, _number(file, "<I"))


def _value(file: IO[bytes], kind: int) -> Any:
    if kind == STRING:
        return _text(file)
    if kind != ARRAY:
        return _number(file, SCALARS.get(kind) or _damaged(f"a value of type {kind}"))
    inner, length = _number(file, "<I"), _number(file, "<Q")
    if length > LONGEST or inner == ARRAY:
        _damaged(f"an array of {length} entries")
    if length > KEPT:
        _skip(file, inner, length)
        return length
    return [_value(file, inner) for _ in range(length)]


def _skip(file: IO[bytes], kind: int, length: int) -> None:
    if kind == STRING:
        for _ in range(length):
            file.seek(_number(file, "<Q"), 1)
    else:
        file.seek(struct.calcsize(SCALARS.get(kind) or _damaged(f"entries of type {kind}")) * length, 1)


def _text(file: IO[bytes]) -> str:
    length = _number(file, "<Q")
    if length > LONGEST:
        _damaged(f"a text of {length} bytes")
    return file.read(length).decode(errors="replace")


def _number(file: IO[bytes], form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _damaged(what: str) -> str:
    raise ValueError(f"its header has {what}")
