"""Reads what an ONNX file declares, without onnxruntime, without the weights and without executing anything.

Standard library only: the plug reads graphs with it in the platform's processes.
"""

import functools
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .declared import Declared

DATATYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "BYTES",
    9: "BOOL", 10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64",
}  # fmt: skip
ELEMENT_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
SMALL = 1 << 20
MAX_VARINT_BYTES = 10
MAX_RANK = 64
Value = int | tuple[int, int]
Type = tuple[str, tuple[int, ...] | None, tuple[str, ...]]


class MalformedGraph(Exception):
    """The file isn't an ONNX model, or it is cut off."""


@dataclass(frozen=True)
class Weights:
    """One initializer: how it is stored and, where it lives in another file, in which."""

    elem_type: int
    elements: int
    external: str | None

    @property
    def bytes(self) -> int:
        """Its size in memory as stored."""
        return self.elements * ELEMENT_BYTES.get(self.elem_type, 1)


@dataclass(frozen=True)
class GraphHeader:
    """What an ONNX file declares about itself."""

    ir_version: int
    opsets: dict[str, int]
    inputs: list[Declared]
    outputs: list[Declared]
    weights: list[Weights]
    operators: set[str]

    @property
    def weight_bytes(self) -> int:
        """All weights as stored, wherever they are stored."""
        return sum(weights.bytes for weights in self.weights)

    @property
    def external_files(self) -> set[str]:
        """Locations of weights outside the file, relative to its folder."""
        return {weights.external for weights in self.weights if weights.external is not None}


@dataclass
class _Graph:
    inputs: list[Declared] = field(default_factory=list)
    outputs: list[Declared] = field(default_factory=list)
    weights: list[Weights] = field(default_factory=list)
    initialized: set[str] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)


def read_graph(path: Path) -> GraphHeader:
    """The declarations of an ONNX file; raises MalformedGraph or OSError."""
    found = path.stat()
    return _read(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=16)
def _read(path: Path, _modified: int, size: int) -> GraphHeader:
    with path.open("rb") as file:
        return _model(file, size)


def _model(file: BinaryIO, size: int) -> GraphHeader:
    version, opsets, graph = 0, dict[str, int](), _Graph()
    seen = False
    for number, value in _walk(file, 0, size):
        if number == 1 and isinstance(value, int):
            version = value
        elif number == 8:
            domain, opset = _opset(file, value)
            opsets[domain] = opset
        elif number == 7:
            seen = True
            _graph(file, value, graph)
    if not seen:
        raise MalformedGraph("there is no graph in it")
    inputs = [tensor for tensor in graph.inputs if tensor.name not in graph.initialized]
    return GraphHeader(version, opsets, inputs, graph.outputs, graph.weights, graph.operators)


def _graph(file: BinaryIO, value: Value, graph: _Graph) -> None:
    for number, inner in _message(file, value):
        if number == 1:
            graph.operators.add(_operator(file, inner))
        elif number == 5:
            name, weights = _initializer(file, inner)
            graph.weights.append(weights)
            graph.initialized.add(name)
        elif number == 11:
            graph.inputs.append(_declared(file, inner))
        elif number == 12:
            graph.outputs.append(_declared(file, inner))


def _operator(file: BinaryIO, value: Value) -> str:
    operator, domain = "", ""
    for number, inner in _small(file, value):
        if number == 4:
            operator = inner.decode(errors="replace")
        elif number == 7:
            domain = inner.decode(errors="replace")
    return f"{domain}:{operator}" if domain else operator


def _initializer(file: BinaryIO, value: Value) -> tuple[str, Weights]:
    name, elem_type, dims, location = "", 0, list[int](), None
    for number, inner in _message(file, value):
        if number == 1:
            dims += _dims(file, inner)
        elif number == 2 and isinstance(inner, int):
            elem_type = inner
        elif number == 8:
            name = _text(file, inner)
        elif number == 13:
            location = _location(file, inner) or location
    if len(dims) > MAX_RANK:
        raise MalformedGraph("a tensor in it has too many axes")
    return name, Weights(elem_type, math.prod(dims), location)


def _location(file: BinaryIO, value: Value) -> str | None:
    pair = {number: _text(file, inner) for number, inner in _message(file, value)}
    return pair.get(2, "") if pair.get(1) == "location" else None


def _opset(file: BinaryIO, value: Value) -> tuple[str, int]:
    domain, version = "", 0
    for number, inner in _message(file, value):
        if number == 1:
            domain = _text(file, inner)
        elif number == 2 and isinstance(inner, int):
            version = inner
    return domain, version


def _declared(file: BinaryIO, value: Value) -> Declared:
    name = ""
    declared: Type = "", None, ()
    for number, inner in _message(file, value):
        if number == 1:
            name = _text(file, inner)
        elif number == 2:
            declared = _type(file, inner)
    return Declared(name, *declared)


def _type(file: BinaryIO, value: Value) -> Type:
    for number, tensor in _message(file, value):
        if number != 1:
            continue
        datatype, dims = "", None
        for inner_number, inner in _message(file, tensor):
            if inner_number == 1 and isinstance(inner, int):
                datatype = DATATYPES.get(inner, "")
            elif inner_number == 2:
                dims = [_dim(file, dim) for dim_number, dim in _message(file, inner) if dim_number == 1]
        if dims is None:
            return datatype, None, ()
        return datatype, tuple(size for size, _ in dims), tuple(symbol for _, symbol in dims)
    return "", None, ()


def _dim(file: BinaryIO, value: Value) -> tuple[int, str]:
    size, symbol = -1, ""
    for number, inner in _message(file, value):
        if number == 1 and isinstance(inner, int) and 0 < inner < 1 << 63:
            size = inner
        elif number == 2:
            symbol = _text(file, inner)
    return size, symbol


def _dims(file: BinaryIO, value: Value) -> list[int]:
    if isinstance(value, int):
        return [value]
    start, end = value
    file.seek(start)
    sizes = []
    while file.tell() < end:
        sizes.append(_varint(file))
    return sizes


def _text(file: BinaryIO, value: Value) -> str:
    return _bytes(file, value).decode(errors="replace")


def _bytes(file: BinaryIO, value: Value) -> bytes:
    start, end = _span(value)
    if end - start > SMALL:
        raise MalformedGraph("a name in it is longer than a megabyte")
    file.seek(start)
    return file.read(end - start)


def _small(file: BinaryIO, value: Value) -> Iterator[tuple[int, bytes]]:
    """The byte fields of a message, without those too long to be a name; small messages are read in one go."""
    start, end = _span(value)
    file.seek(start)
    source: BinaryIO = io.BytesIO(file.read(end - start)) if end - start <= SMALL else file
    begin = 0 if source is not file else start
    for number, inner in _walk(source, begin, begin + end - start):
        if isinstance(inner, tuple) and inner[1] - inner[0] <= 4096:
            yield number, _bytes(source, inner)


def _message(file: BinaryIO, value: Value) -> Iterator[tuple[int, Value]]:
    start, end = _span(value)
    return _walk(file, start, end)


def _span(value: Value) -> tuple[int, int]:
    if isinstance(value, int):
        raise MalformedGraph("a field in it has the wrong type")
    return value


def _walk(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, Value]]:
    """Field numbers with an integer or the span of the bytes; skips by seeking, so weights are never read."""
    at = start
    while at < end:
        file.seek(at)
        tag = _varint(file)
        read = _WIRE.get(tag & 7)
        if read is None or tag >> 3 == 0:
            raise MalformedGraph("it isn't a protocol buffer")
        value, at = read(file)
        if at > end:
            raise MalformedGraph("it is cut off")
        yield tag >> 3, value


def _read_varint(file: BinaryIO) -> tuple[Value, int]:
    return _varint(file), file.tell()


def _read_bytes(file: BinaryIO) -> tuple[Value, int]:
    length = _varint(file)
    start = file.tell()
    return (start, start + length), start + length


def _read_fixed(file: BinaryIO, width: int) -> tuple[Value, int]:
    end = file.tell() + width
    return 0, end


_WIRE: dict[int, Callable[[BinaryIO], tuple[Value, int]]] = {
    0: _read_varint,
    1: functools.partial(_read_fixed, width=8),
    2: _read_bytes,
    5: functools.partial(_read_fixed, width=4),
}


def _varint(file: BinaryIO) -> int:
    value = 0
    for place in range(MAX_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            raise MalformedGraph("it is cut off")
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return value
    raise MalformedGraph("it isn't a protocol buffer")
