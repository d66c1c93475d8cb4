"""One loaded graph: what it takes and gives, and a run of it."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as states

from .declared import Declared
from .exits import Exit, StartFailure
from .modelproto import GraphHeader, MalformedGraph, read_graph
from .refusals import Refusal, invalid
from .tensors import Array

log = logging.getLogger(__name__)

ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    kind for kind in vars(states).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
"""onnxruntime's errors have no base class of their own."""

LOAD_ERRORS: tuple[type[Exception], ...] = (MemoryError, OSError, *ORT_ERRORS)

DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
    **{f"tensor({sign}int{bits})": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}

LOAD_FAILURES: Sequence[tuple[str, Exit]] = (
    (r"external data|GetExtDataFromTensorProto|external initializer", Exit.EXTERNAL_DATA_MISSING),
    (r"bad.alloc|failed to allocate|out of memory|MemoryError", Exit.OUT_OF_MEMORY),
    (r"No Op registered|not a registered function/op|NOT_IMPLEMENTED|Could not find an implementation|opset|IR version",
     Exit.GRAPH_UNSUPPORTED),
    (r"No space left", Exit.DISK_FULL),
    (r"NO_SUCHFILE|doesn't exist", Exit.GRAPH_MISSING),
)  # fmt: skip
REFUSED = "The model refused these inputs: "


@dataclass(frozen=True)
class Graph:
    """A session and its declarations; `declared_outputs` is what the file says, before onnxruntime infers shapes.

    Runs are safe from several threads.
    """

    session: Any
    inputs: Sequence[Declared]
    outputs: Sequence[Declared]
    declared_outputs: Sequence[Declared]
    left_out: Sequence[str]

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """The named outputs; a run that fails on its inputs is a Refusal."""
        try:
            found = self.session.run(list(outputs), dict(feeds))
        except ORT_ERRORS as error:
            raise _run_refusal(str(error)) from error
        except (MemoryError, ValueError, TypeError) as error:
            raise _run_refusal(f"{type(error).__name__}: {error}") from error
        return [np.asarray(array) for array in found]


def read_header(path: Path) -> GraphHeader:
    """The file's declarations; raises StartFailure."""
    try:
        return read_graph(path)
    except FileNotFoundError as error:
        raise StartFailure(Exit.GRAPH_MISSING, f"there is no file {path.name}") from error
    except MalformedGraph as error:
        raise StartFailure(Exit.GRAPH_INVALID, f"{path.name} is not an ONNX model: {error}") from error


def load(path: Path, header: GraphHeader, threads: int) -> Graph:
    """Loads a graph for the CPU; raises StartFailure."""
    try:
        session = ort.InferenceSession(str(path), _session_options(threads), providers=["CPUExecutionProvider"])
    except LOAD_ERRORS as error:
        raise _load_failure(path.name, f"{type(error).__name__}: {error}") from error
    outputs = [_declared(tensor) for tensor in session.get_outputs()]
    graph = Graph(
        session,
        _inputs(session, {tensor.name: tensor for tensor in header.inputs}),
        [tensor for tensor in outputs if tensor.datatype],
        header.outputs,
        [tensor.name for tensor in outputs if not tensor.datatype],
    )
    _check(graph)
    return graph


def _session_options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # every run's shape differs, so remembered memory plans would only pile up
    options.enable_mem_pattern = False
    # a refused input is the caller's to know, not the log's
    options.log_severity_level = 4
    # a thread that spins takes the core that the next inference needs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _inputs(session: Any, header: Mapping[str, Declared]) -> list[Declared]:
    """onnxruntime shows an undeclared rank like a scalar; the file itself tells them apart."""
    declared = [_declared(tensor) for tensor in session.get_inputs()]
    return [header.get(tensor.name, tensor) if tensor.rank == 0 else tensor for tensor in declared]


def _declared(tensor: Any) -> Declared:
    shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
    symbols = tuple(size if isinstance(size, str) else "" for size in tensor.shape)
    return Declared(tensor.name, DATATYPES.get(tensor.type, ""), shape, symbols)


def _check(graph: Graph) -> None:
    odd = [tensor.name for tensor in graph.inputs if not tensor.datatype]
    if odd:
        names = ", ".join(odd)
        raise StartFailure(Exit.GRAPH_UNSUPPORTED, f"the protocol can't carry the type of input {names}")
    if not graph.outputs:
        raise StartFailure(Exit.GRAPH_UNSUPPORTED, "the graph has no output that is a tensor")
    if graph.left_out:
        log.info("outputs that aren't tensors are left out: %s", ", ".join(graph.left_out))


def _load_failure(name: str, message: str) -> StartFailure:
    status = next(
        (status for pattern, status in LOAD_FAILURES if re.search(pattern, message, re.IGNORECASE)),
        Exit.GRAPH_INVALID,
    )
    return StartFailure(status, f"{name} can't be loaded: {plain(message)}")


def plain(message: str) -> str:
    """onnxruntime's message in one line, without its source paths and signatures."""
    message = message.rpartition("Status Message: ")[2] or message
    message = re.sub(
        r"(\w+: )?\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed:|/\S*onnxruntime\S* ", "", message
    )
    message = re.sub(r"\S+\.(cc|h):\d+ (\S+ )?|\b[\w:]+\([^()]*(const|&)[^()]*\)( const)?", "", message)
    return " ".join(message.split())[:400].rstrip(". ")


def _run_refusal(message: str) -> Refusal:
    if re.search(r"bad.alloc|failed to allocate|MemoryError", message, re.IGNORECASE):
        return Refusal(
            503, "out_of_memory", "There isn't enough memory for this request. Send fewer or smaller inputs."
        )
    return invalid(f"{REFUSED}{plain(message)}.")
