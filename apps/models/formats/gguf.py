"""The start of a GGUF file: magic, version, and metadata enough to know the architecture and the context length."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from apps.models.formats.safetensors import Malformed

MAX_TENSORS, MAX_KEYS, MAX_TEXT, MAX_ARRAY = 100_000, 10_000, 16 * 2**20, 10_000_000
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class Header:
    """What the metadata says; empty or None where it doesn't."""

    architecture: str
    context_length: int | None
    licence: str


def read(path: Path) -> Header:
    """The header. Malformed if it isn't GGUF, or its counts are impossible."""
    with path.open("rb") as file:
        magic, version, tensors, keys = struct.unpack("<4sIQQ", _exactly(file, 24))
        if magic != b"GGUF" or version not in {2, 3}:
            raise Malformed("it isn't a GGUF file of version 2 or 3")
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise Malformed("the header counts more tensors or keys than a model has")
        values = dict(_pair(file) for _ in range(keys))
    architecture = str(values.get("general.architecture") or "")
    context = values.get(f"{architecture}.context_length")
    return Header(
        architecture,
        context if isinstance(context, int) and 0 < context < 2**31 else None,
        str(values.get("general.license") or ""),
    )


def _exactly(file: IO[bytes], size: int) -> bytes:
    _reaches(file, size)
    return file.read(size)


def _reaches(file: IO[bytes], size: int) -> None:
    """Looked at before reading: a reader takes the memory that it is asked for, whatever the file holds."""
    if file.tell() + size > os.fstat(file.fileno()).st_size:
        raise Malformed("the file ends within its header")


def _pair(file: IO[bytes]) -> tuple[str, Any]:
    name = _text(file)
    return name, _value(file, _number(file, "<I"))


def _number(file: IO[bytes], form: str) -> Any:
    return struct.unpack(form, _exactly(file, struct.calcsize(form)))[0]


def _text(file: IO[bytes]) -> str:
    length = _number(file, "<Q")
    if length > MAX_TEXT:
        raise Malformed("a text in the header is longer than possible")
    return _exactly(file, length).decode(errors="replace")


def _value(file: IO[bytes], kind: int) -> Any:
    if kind == STRING:
        return _text(file)
    if kind == ARRAY:
        return _skip_array(file)
    if kind not in SCALARS:
        raise Malformed("the header has a value of an unknown type")
    return _number(file, SCALARS[kind])


def _skip_array(file: IO[bytes]) -> None:
    kind, length = _number(file, "<I"), _number(file, "<Q")
    if length > MAX_ARRAY or kind == ARRAY:
        raise Malformed("an array in the header is longer or deeper than possible")
    for _ in range(length if kind == STRING else 0):
        _text(file)
    if kind != STRING:
        if kind not in SCALARS:
            raise Malformed("an array in the header is of an unknown type")
        size = struct.calcsize(SCALARS[kind]) * length
        _reaches(file, size)
        file.seek(size, os.SEEK_CUR)
