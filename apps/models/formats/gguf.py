"""The head of a GGUF file: metadata, and what it says of where each tensor lies, compared with the file."""

import math
import os
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from apps.models.formats.safetensors import Malformed
from apps.models.formats.templates import MAX_LENGTH, MAX_TEMPLATES

MAX_TENSORS, MAX_KEYS, MAX_TEXT, MAX_ARRAY = 100_000, 10_000, 16 * 2**20, 10_000_000
MAX_KEPT = 4 * MAX_LENGTH + 4  # bytes of a text that is kept: a template that is too long still is; the rest isn't read
MAX_STRINGS = 4_000_000  # texts in all arrays together; the largest vocabularies and merges have a million
MAX_NAME = 1024  # bytes of a key or a tensor's name
MAX_DIMENSIONS = 4
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
TEMPLATE = "tokenizer.chat_template"
TEXTS = frozenset({"general.architecture", "general.license"})
ALIGNMENT = 32  # bytes, where the file doesn't say otherwise
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""Numbers and bytes of one block of each type; of a type that isn't here, only the place is checked."""


@dataclass(frozen=True)
class Header:
    """What the metadata says; empty or None where it doesn't. `templates` are its chat templates by name."""

    architecture: str
    context_length: int | None
    licence: str
    templates: dict[str, str] = field(default_factory=dict)
    vocabulary: int = 0
    parameters: int = 0


@dataclass
class Reader:
    """Reads what is there: a length is looked at before anything is read, whatever it says."""

    file: IO[bytes]
    size: int
    strings: int = MAX_STRINGS

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        self._reaches(size)
        return self.file.read(size)

    def skip(self, size: int) -> None:
        """Past so many bytes."""
        self._reaches(size)
        self.file.seek(size, os.SEEK_CUR)

    def _reaches(self, size: int) -> None:
        if self.file.tell() + size > self.size:
            raise Malformed("the file ends within its header")

    def number(self, form: str) -> Any:
        """One number."""
        return struct.unpack(form, self.exactly(struct.calcsize(form)))[0]

    def text(self, most: int) -> str:
        """One text, as far as it is kept."""
        length = self.number("<Q")
        if length > MAX_TEXT:
            raise Malformed("a text in the header is longer than possible")
        kept = self.exactly(min(length, most))
        self.skip(length - len(kept))
        return kept.decode(errors="replace")

    def name(self) -> str:
        """A text that is a key or a tensor's name."""
        length = self.number("<Q")
        if not 0 < length <= MAX_NAME:
            raise Malformed("a name in the header is longer than possible, or empty")
        return self.exactly(length).decode(errors="replace")

    def value(self, kept: bool) -> Any:
        """One value; of an array, how many it has. Texts that nobody wants are passed over."""
        kind = self.number("<I")
        if kind == STRING:
            return self.text(MAX_KEPT if kept else 0)
        if kind == ARRAY:
            return self._array()
        if kind not in SCALARS:
            raise Malformed("the header has a value of an unknown type")
        return self.number(SCALARS[kind])

    def _array(self) -> int:
        kind, length = self.number("<I"), self.number("<Q")
        if length > MAX_ARRAY or kind == ARRAY:
            raise Malformed("an array in the header is longer or deeper than possible")
        if kind != STRING and kind not in SCALARS:
            raise Malformed("an array in the header is of an unknown type")
        if kind == STRING:
            self._reaches(8 * length)
            self.strings -= length
            if self.strings < 0:
                raise Malformed("its arrays have more texts than a model has")
            for _ in range(length):
                self.text(0)
        else:
            self.skip(struct.calcsize(SCALARS[kind]) * length)
        return int(length)


def read(path: Path) -> Header:
    """The header. Malformed if it isn't GGUF, its counts are impossible, or a tensor isn't where it says."""
    with path.open("rb") as file:
        reader = Reader(file, os.fstat(file.fileno()).st_size)
        magic, version, tensors, keys = struct.unpack("<4sIQQ", reader.exactly(24))
        if magic != b"GGUF" or version not in {2, 3}:
            raise Malformed("it isn't a GGUF file of version 2 or 3")
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise Malformed("the header counts more tensors or keys than a model has")
        values = _metadata(reader, keys)
        parameters = _tensors(reader, tensors, values.get("general.alignment", ALIGNMENT))
    return _header(values, parameters)


def _metadata(reader: Reader, keys: int) -> dict[str, Any]:
    """What is used of it: numbers, and few texts."""
    values: dict[str, Any] = {}
    templates = 0
    for _ in range(keys):
        name = reader.name()
        if name in values:
            raise Malformed(f"the header says {name[:60]!r} twice")
        is_template = name.startswith(TEMPLATE) and templates <= MAX_TEMPLATES
        kept = is_template or name in TEXTS
        found = reader.value(kept)
        templates += is_template and isinstance(found, str)
        values[name] = None if isinstance(found, str) and not kept else found
    return values


def _tensors(reader: Reader, count: int, alignment: Any) -> int:
    """How many numbers the tensors have, whose places must be in the file, and each its own."""
    if type(alignment) is not int or alignment not in {2**power for power in range(3, 21)}:
        raise Malformed("its alignment is no power of two")
    places, names, parameters = [], set(), 0
    for _ in range(count):
        name, numbers, size, offset = _tensor(reader)
        if name in names or offset % alignment:
            raise Malformed(f"the tensor {name[:60]!r} stands in it twice, or at an impossible place")
        names.add(name)
        places.append((offset, offset + size))
        parameters += numbers
    data = reader.size - (-(-reader.file.tell() // alignment) * alignment)
    if parameters >= 2**63 or any(end > max(data, 0) for _, end in places):
        raise Malformed("a tensor ends beyond the file")
    if any(later[0] < earlier[1] for earlier, later in pairwise(sorted(places))):
        raise Malformed("tensors overlap")
    return parameters


def _tensor(reader: Reader) -> tuple[str, int, int, int]:
    name, rank = reader.name(), reader.number("<I")
    if rank > MAX_DIMENSIONS:
        raise Malformed(f"the tensor {name[:60]!r} has more dimensions than a tensor has")
    shape = struct.unpack(f"<{rank}Q", reader.exactly(8 * rank))
    kind, offset = reader.number("<I"), reader.number("<Q")
    numbers = math.prod(shape)
    block, size = BLOCKS.get(kind, (1, 0))
    if numbers >= 2**60 or offset >= 2**60 or (shape and shape[0] % block):
        raise Malformed(f"the tensor {name[:60]!r} has an impossible shape or place")
    return name, numbers, numbers // block * size, offset


def _header(values: dict[str, Any], parameters: int) -> Header:
    architecture = str(values.get("general.architecture") or "")
    context = values.get(f"{architecture}.context_length")
    tokens = values.get("tokenizer.ggml.tokens")
    return Header(
        architecture,
        context if type(context) is int and 0 < context < 2**31 else None,
        str(values.get("general.license") or ""),
        {key: text for key, text in values.items() if key.startswith(TEMPLATE) and isinstance(text, str)},
        tokens if type(tokens) is int else 0,
        parameters,
    )
