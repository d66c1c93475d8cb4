"""The structure of an ONNX file, walked as protocol buffers: what it declares and where its data lies.

Field numbers are those of the published `onnx.proto`. The file is mapped, not read; nothing is executed.
"""

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from apps.models.formats.safetensors import Malformed

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELDS = 5_000_000  # of one message; more is an attack on the reader
MODEL_IR_VERSION, MODEL_GRAPH, MODEL_OPSET = 1, 7, 8
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 1, 5, 11, 12
TENSOR_DIMS, TENSOR_EXTERNAL, TENSOR_LOCATION = 1, 13, 14

Span = tuple[int, int]


@dataclass
class External:
    """Where the data of one tensor lies in another file: offset and length in bytes, None where not said."""

    location: str = ""
    offset: int = 0
    length: int | None = None


@dataclass
class Graph:
    """What an ONNX file declares: its format version, opsets by domain, and its weights."""

    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    nodes: int = 0
    inputs: int = 0
    outputs: int = 0
    parameters: int = 0
    external: list[External] = field(default_factory=list)


def read(path: Path) -> Graph:
    """The graph's declarations. Malformed if this is no ONNX model."""
    if not path.stat().st_size:
        raise Malformed("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        graph = Graph()
        spans: list[Span] = []
        for number, value in _fields(data, (0, len(data))):
            if number == MODEL_IR_VERSION and isinstance(value, int):
                graph.ir_version = value
            elif number == MODEL_GRAPH and not isinstance(value, int):
                spans.append(value)
            elif number == MODEL_OPSET and not isinstance(value, int):
                _opset(data, value, graph)
        if not spans or not 1 <= graph.ir_version < 1000:
            raise Malformed("it has no graph, or no format version")
        for span in spans:
            _graph(data, span, graph)
    if not graph.nodes or not graph.outputs:
        raise Malformed("its graph has no nodes or no outputs")
    return graph


def check_external(graph: Graph, folder: Path, graph_path: str) -> set[str]:
    """The model's files that hold the graph's data, beside or below it. Malformed if one is elsewhere or missing."""
    base = PurePosixPath(graph_path).parent
    found = set()
    for external in graph.external:
        location = PurePosixPath(external.location)
        shown = external.location[:100]
        if location.is_absolute() or ".." in location.parts or "\\" in external.location or ":" in external.location:
            raise Malformed(f"it takes weights from {shown!r}, outside the model's folder")
        target = folder / base / location
        if not target.is_file():
            raise Malformed(f"the file {shown!r} with its weights is missing")
        size = target.stat().st_size
        if external.offset + (external.length or 0) > size:
            raise Malformed(f"the file {shown!r} with its weights is too short")
        found.add(str(base / location))
    return found


def _graph(data: mmap.mmap, span: Span, graph: Graph) -> None:
    for number, value in _fields(data, span):
        if isinstance(value, int):
            continue
        graph.nodes += number == GRAPH_NODE
        graph.inputs += number == GRAPH_INPUT
        graph.outputs += number == GRAPH_OUTPUT
        if number == GRAPH_INITIALIZER:
            _tensor(data, value, graph)


def _tensor(data: mmap.mmap, span: Span, graph: Graph) -> None:
    dims: list[int] = []
    external, is_external = External(), False
    for number, value in _fields(data, span):
        if number == TENSOR_DIMS:
            dims += [value] if isinstance(value, int) else _packed(data, value)
        elif number == TENSOR_LOCATION and value == 1:
            is_external = True
        elif number == TENSOR_EXTERNAL and not isinstance(value, int):
            _entry(data, value, external)
    if len(dims) > 64 or any(not 0 <= dim < 2**60 for dim in dims):
        raise Malformed("a tensor has an impossible shape")
    graph.parameters += math.prod(dims)
    if graph.parameters >= 2**63:
        raise Malformed("its tensors have more numbers than any file holds")
    if is_external:
        graph.external.append(external)


def _entry(data: mmap.mmap, span: Span, external: External) -> None:
    texts = {n: _text(data, value) for n, value in _fields(data, span) if not isinstance(value, int)}
    key, value = texts.get(1, ""), texts.get(2, "")
    if key == "location":
        external.location = value
    elif key in {"offset", "length"}:
        if not value.isdecimal() or len(value) > 18:
            raise Malformed("a tensor's place in another file is no number")
        setattr(external, key, int(value))


def _opset(data: mmap.mmap, span: Span, graph: Graph) -> None:
    domain, version = "", 0
    for number, value in _fields(data, span):
        if number == 1 and not isinstance(value, int):
            domain = _text(data, value)
        elif number == 2 and isinstance(value, int):
            version = value
    graph.opsets[domain] = version


def _text(data: mmap.mmap, span: Span) -> str:
    return data[span[0] : min(span[1], span[0] + 4096)].decode(errors="replace")


def _packed(data: mmap.mmap, span: Span) -> list[int]:
    numbers, position = [], span[0]
    while position < span[1]:
        number, position = _varint(data, position, span[1])
        numbers.append(number)
        if len(numbers) > 64:
            raise Malformed("a tensor has too many dimensions")
    return numbers


def _fields(data: mmap.mmap, span: Span) -> Iterator[tuple[int, int | Span]]:
    """The fields of one message: numbers as they are, everything else as where it lies."""
    position, end = span
    for _ in range(MAX_FIELDS):
        if position >= end:
            return
        tag, position = _varint(data, position, end)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise Malformed("it isn't a protocol buffer")
        if kind == VARINT:
            value, position = _varint(data, position, end)
            yield number, value
            continue
        if kind == BYTES:
            length, position = _varint(data, position, end)
        elif kind in {FIXED64, FIXED32}:
            length = 8 if kind == FIXED64 else 4
        else:
            raise Malformed("it isn't a protocol buffer")
        if position + length > end:
            raise Malformed("it is cut off")
        yield number, (position, position + length)
        position += length
    raise Malformed("it has more fields than a model has")


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise Malformed("it is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise Malformed("it isn't a protocol buffer")
