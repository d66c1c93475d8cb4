"""The structure of an ONNX file, walked as protocol buffers: what it declares and where its data lies.

Field numbers are those of the published `onnx.proto`. The file is mapped, not read; nothing is executed.
"""

import math
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from apps.models.formats.safetensors import Malformed

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELDS = 8_000_000  # of a whole file; more is an attack on the reader
MAX_NODES = 1_000_000  # of a graph with what is in it; the largest in use have a tenth of that
MAX_DEPTH = 16  # graphs in the nodes of graphs
MAX_EXTERNAL = 500_000  # tensors in other files
MAX_LOCATIONS = 20_000  # different files that they are in
MAX_LOCATION = 4096  # bytes of the name of one
MAX_FUNCTIONS = 20_000  # that a file defines; those in use define some hundreds
MAX_GRAPHS = 16  # pieces that the graph of a model comes in; all in use have one
MAX_DOMAINS = 1000  # of operators, that are remembered of each kind
MAX_DOMAIN = 255  # bytes of the name of one
MODEL_IR_VERSION, MODEL_GRAPH, MODEL_OPSET, MODEL_FUNCTION = 1, 7, 8, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_SPARSE = 1, 5, 11, 12, 15
NODE_ATTRIBUTE, NODE_DOMAIN = 5, 7
ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS, ATTRIBUTE_SPARSE = {5, 10}, {6, 11}, {22, 23}
FUNCTION_NODE, FUNCTION_DOMAIN, FUNCTION_ATTRIBUTE = 7, 10, 11
TENSOR_DIMS, TENSOR_TYPE, TENSOR_RAW, TENSOR_EXTERNAL, TENSOR_LOCATION = 1, 2, 9, 13, 14
BYTES_OF = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 14: 8, 15: 16, 16: 2}
"""Bytes of a number of each type that has whole ones."""
KNOWN_DOMAINS = frozenset({
    "", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft",
    "com.microsoft.nchwc", "com.microsoft.dml", "com.ms.internal.nhwc", "org.pytorch.aten",
})  # fmt: skip
"""Domains of operators that ONNX Runtime has built in."""

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
    functions: set[str] = field(default_factory=set)
    """Domains whose operators the file itself defines from others."""
    custom: set[str] = field(default_factory=set)
    """Domains whose operators need a library of somebody's."""


def read(path: Path) -> Graph:
    """The graph's declarations. Malformed if this is no ONNX model."""
    if not path.stat().st_size:
        raise Malformed("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Walk(data).model()


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
        if "\0" in external.location or len(external.location) > 900 or not os.path.isfile(target):  # noqa: PTH113
            raise Malformed(f"the file {shown!r} with its weights is missing")
        size = target.stat().st_size
        if external.offset + (external.length or 0) > size:
            raise Malformed(f"the file {shown!r} with its weights is too short")
        found.add(str(base / location))
    return found


class _Walk:
    """One way through a file. Everything that can hold a tensor is looked into, however deep it lies."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.graph = Graph()
        self.left = MAX_FIELDS
        self.locations: dict[str, str] = {}

    def model(self) -> Graph:
        """The whole file."""
        graph = self.graph
        graphs, functions = self._head()
        for span in functions:
            self._defines(span)
        for span in graphs:
            self._graph(span, 1)
        if not graph.nodes or not graph.outputs:
            raise Malformed("its graph has no nodes or no outputs")
        for span in functions:
            self._function(span)
        return graph

    def _head(self) -> tuple[list[Span], list[Span]]:
        """The model's own fields; answers where its graph and its functions are."""
        graph = self.graph
        graphs: list[Span] = []
        functions: list[Span] = []
        for number, value in self._fields((0, len(self.data))):
            if number == MODEL_IR_VERSION and isinstance(value, int):
                graph.ir_version = value
            elif isinstance(value, int):
                continue
            elif number == MODEL_GRAPH:
                graphs.append(value)
            elif number == MODEL_FUNCTION:
                functions.append(value)
            elif number == MODEL_OPSET:
                self._opset(value)
            if len(graphs) > MAX_GRAPHS or len(functions) > MAX_FUNCTIONS:
                raise Malformed("it has more functions or graphs than a model has")
        if not graphs or not 1 <= graph.ir_version < 1000:
            raise Malformed("it has no graph, or no format version")
        return graphs, functions

    def _graph(self, span: Span, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Malformed("it has more graphs in one another than a model has")
        for number, value in self._fields(span):
            if isinstance(value, int):
                continue
            self.graph.inputs += depth == 1 and number == GRAPH_INPUT
            self.graph.outputs += depth == 1 and number == GRAPH_OUTPUT
            if number == GRAPH_NODE:
                self._node(value, depth)
            elif number == GRAPH_INITIALIZER:
                self._tensor(value)
            elif number == GRAPH_SPARSE:
                self._sparse(value)

    def _node(self, span: Span, depth: int) -> None:
        self.graph.nodes += 1
        if self.graph.nodes > MAX_NODES:
            raise Malformed("its graph has more nodes than a model has")
        domain = ""
        for number, value in self._fields(span):
            if isinstance(value, int):
                continue
            if number == NODE_DOMAIN:
                domain = _domain(self.data, value)
            elif number == NODE_ATTRIBUTE:
                self._attribute(value, depth)
        foreign = domain not in KNOWN_DOMAINS and domain not in self.graph.functions
        if foreign and len(self.graph.custom) < MAX_DOMAINS:
            self.graph.custom.add(domain)

    def _attribute(self, span: Span, depth: int) -> None:
        for number, value in self._fields(span):
            if isinstance(value, int):
                continue
            if number in ATTRIBUTE_TENSORS:
                self._tensor(value)
            elif number in ATTRIBUTE_SPARSE:
                self._sparse(value)
            elif number in ATTRIBUTE_GRAPHS:
                self._graph(value, depth + 1)

    def _defines(self, span: Span) -> None:
        """The domain of a function. Operators of one that isn't remembered any more count as somebody's."""
        domain = ""
        for number, value in self._fields(span):
            if number == FUNCTION_DOMAIN and not isinstance(value, int):
                domain = _domain(self.data, value)
        if len(self.graph.functions) < MAX_DOMAINS:
            self.graph.functions.add(domain)

    def _function(self, span: Span) -> None:
        for number, value in self._fields(span):
            if isinstance(value, int):
                continue
            if number == FUNCTION_NODE:
                self._node(value, 1)
            elif number == FUNCTION_ATTRIBUTE:
                self._attribute(value, 1)

    def _sparse(self, span: Span) -> None:
        """Two tensors: the numbers, and where they belong."""
        for number, value in self._fields(span):
            if number in {1, 2} and not isinstance(value, int):
                self._tensor(value)

    def _tensor(self, span: Span) -> None:
        dims: list[int] = []
        external, is_external, kind, raw = External(), False, 0, None
        for number, value in self._fields(span):
            if number == TENSOR_DIMS:
                dims += [value] if isinstance(value, int) else _packed(self.data, value)
            elif number == TENSOR_TYPE and isinstance(value, int):
                kind = value
            elif number == TENSOR_RAW and not isinstance(value, int):
                raw = value[1] - value[0]
            elif number == TENSOR_LOCATION and isinstance(value, int):
                is_external = value == 1
            elif number == TENSOR_EXTERNAL and not isinstance(value, int):
                self._entry(value, external)
            if len(dims) > 64:
                raise Malformed("a tensor has an impossible shape")
        if any(not 0 <= dim < 2**60 for dim in dims):
            raise Malformed("a tensor has an impossible shape")
        self._numbers(math.prod(dims), kind, raw, external if is_external else None)

    def _numbers(self, numbers: int, kind: int, raw: int | None, external: External | None) -> None:
        """Add a tensor to what the graph has; its bytes must be those of its shape."""
        graph, size = self.graph, BYTES_OF.get(kind)
        graph.parameters += numbers
        if graph.parameters >= 2**63:
            raise Malformed("its tensors have more numbers than any file holds")
        if size and raw and external is None and raw != numbers * size:
            raise Malformed("a tensor has another size than its shape says")
        if external is not None:
            if size and external.length is not None and external.length < numbers * size:
                raise Malformed("a tensor in another file has another size than its shape says")
            if size and external.length is None:
                external.length = numbers * size
            graph.external.append(external)
            if len(graph.external) > MAX_EXTERNAL:
                raise Malformed("it has more tensors in other files than a model has")

    def _entry(self, span: Span, external: External) -> None:
        texts = {1: "", 2: ""}
        for number, where in self._fields(span):
            if number in texts and not isinstance(where, int):
                texts[number] = _text(self.data, where, MAX_LOCATION)
        key, value = texts[1], texts[2]
        if key == "location":
            external.location = self.locations.setdefault(value, value)
            if len(self.locations) > MAX_LOCATIONS:
                raise Malformed("its tensors are in more other files than a model has")
        elif key in {"offset", "length"}:
            if not (value.isascii() and value.isdecimal()) or len(value) > 18:
                raise Malformed("a tensor's place in another file is no number")
            setattr(external, key, int(value))

    def _opset(self, span: Span) -> None:
        domain, version = "", 0
        for number, value in self._fields(span):
            if number == 1 and not isinstance(value, int):
                domain = _domain(self.data, value)
            elif number == 2 and isinstance(value, int):
                version = value
        if len(self.graph.opsets) < MAX_DOMAINS:
            self.graph.opsets[domain] = version

    def _fields(self, span: Span) -> Iterator[tuple[int, int | Span]]:
        """The fields of one message: numbers as they are, everything else as where it lies."""
        data, (position, end) = self.data, span
        while position < end:
            self.left -= 1
            if self.left < 0:
                raise Malformed("it has more fields than a model has")
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


def _text(data: mmap.mmap, span: Span, most: int) -> str:
    return data[span[0] : min(span[1], span[0] + most)].decode(errors="replace")


def _domain(data: mmap.mmap, span: Span) -> str:
    """Whole, and as it stands there: two that only look the same aren't."""
    if span[1] - span[0] > MAX_DOMAIN:
        raise Malformed("a domain of operators has a longer name than possible")
    try:
        return data[span[0] : span[1]].decode()
    except UnicodeDecodeError:
        raise Malformed("the name of a domain of operators is no text") from None


def _packed(data: mmap.mmap, span: Span) -> list[int]:
    numbers, position = [], span[0]
    while position < span[1]:
        number, position = _varint(data, position, span[1])
        numbers.append(number)
        if len(numbers) > 64:
            raise Malformed("a tensor has too many dimensions")
    return numbers


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
