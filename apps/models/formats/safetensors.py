"""The header of a safetensors file: JSON with names, types, shapes and offsets of the tensors that follow it."""

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

MAX_HEADER = 100 * 2**20  # bytes, as the format's own implementation allows
MAX_VALUES = 2_000_000  # lists, objects and their members; about nine a tensor
MAX_RANK = 32  # dimensions of a tensor
MAX_DIGITS = 100  # of one number
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6,
}  # fmt: skip


class Malformed(ValueError):
    """The file isn't what its name says, or its header lies."""


def plausible(raw: bytes, most: int) -> None:
    """Counted before JSON is parsed: each list takes fifty times the bytes that stand for it. Malformed if too many."""
    if sum(raw.count(mark) for mark in (b",", b"[", b"{")) > most:
        raise Malformed("it has more values than is plausible")


def parameters(path: Path) -> int:
    """How many weights the file holds, after checking that its header is consistent with its size."""
    header, start = _header(path)
    data = path.stat().st_size - start
    spans, count = [], 0
    for name, tensor in header.items():
        if name == "__metadata__":
            _metadata(tensor)
            continue
        begin, end, numbers = _tensor(name, tensor)
        if end > data:
            raise Malformed(f"the tensor {name[:80]!r} ends beyond the file")
        spans.append((begin, end))
        count += numbers
    if count >= 2**63:
        raise Malformed("its tensors have more numbers than any file holds")
    _cover(sorted(spans), data)
    return count


def _cover(spans: list[tuple[int, int]], data: int) -> None:
    """Tensors lie end to end, up to the end of the file: what is between or behind them hides something."""
    if any(later[0] < earlier[1] for earlier, later in pairwise(spans)):
        raise Malformed("tensors overlap")
    if any(later[0] > earlier[1] for earlier, later in pairwise([(0, 0), *spans])):
        raise Malformed("it has bytes between tensors that belong to none")
    if data != (spans[-1][1] if spans else 0):
        raise Malformed("it has bytes behind the tensors that belong to none")


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor. Malformed if one has none."""
    header, _ = _header(path)
    tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
    for name, tensor in tensors.items():
        _tensor(name, tensor)
    return {name: tuple(tensor["shape"]) for name, tensor in tensors.items()}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or not 2 <= length <= MAX_HEADER or length > path.stat().st_size - 8:
            raise Malformed("the header's length is impossible")
        raw = file.read(length)
    plausible(raw, MAX_VALUES)
    try:
        header = json.loads(raw.decode(), object_pairs_hook=_once, parse_int=_number)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("the header isn't JSON") from None
    if not isinstance(header, dict) or not raw.startswith(b"{"):
        raise Malformed("the header isn't a JSON object")
    return header, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Malformed("the header says something twice")
    return made


def _number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise Malformed("a number in the header has too many digits")
    return int(text)


def _metadata(value: Any) -> None:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise Malformed("its metadata isn't text")


def _tensor(name: str, tensor: Any) -> tuple[int, int, int]:
    if not isinstance(tensor, Mapping):
        raise Malformed(f"the tensor {name[:80]!r} has no description")
    kind: Any = tensor.get("dtype")
    shape: Any = tensor.get("shape")
    span: Any = tensor.get("data_offsets")
    known = isinstance(kind, str) and kind in BITS
    if not known or not _naturals(shape) or not _naturals(span) or len(span) != 2:
        raise Malformed(f"the tensor {name[:80]!r} has an unknown type, shape or place")
    if len(shape) > MAX_RANK:
        raise Malformed(f"the tensor {name[:80]!r} has more dimensions than a tensor has")
    numbers = math.prod(shape)
    if span[1] - span[0] != (numbers * BITS[kind] + 7) // 8:
        raise Malformed(f"the tensor {name[:80]!r} has another size than its shape says")
    return span[0], span[1], numbers


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(part) is int and 0 <= part < 2**60 for part in value)
