"""The reader of ONNX declarations, beside the reference implementation."""

import itertools

import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.onnx.engine.modelproto import MalformedGraph, read_graph
from tests.runtimes.onnx import graphs

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("reader")


def test_declarations_match_onnxruntimes_view(demo_model):
    header = read_graph(demo_model / "model.onnx")
    session = ort.InferenceSession(str(demo_model / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [tensor.name for tensor in header.inputs] == [tensor.name for tensor in session.get_inputs()]
    assert [tensor.symbols for tensor in header.inputs] == [tuple(tensor.shape) for tensor in session.get_inputs()]
    assert {tensor.datatype for tensor in header.inputs} == {"INT64"}
    assert header.outputs[0].shape == (-1, -1, 384)


def test_weights_and_operators_match_the_reference_reader(demo_model):
    header = read_graph(demo_model / "model.onnx")
    graph = onnx.load(str(demo_model / "model.onnx")).graph
    assert header.operators == {node.op_type for node in graph.node}
    assert header.weight_bytes == sum(onnx.numpy_helper.to_array(weight).nbytes for weight in graph.initializer)


def test_every_datatype_is_read(tmp_path):
    header = read_graph(graphs.every_datatype(tmp_path) / "model.onnx")
    assert [tensor.datatype for tensor in header.inputs] == list(graphs.TYPES)


def test_scalar_and_undeclared_shape_are_told_apart(tmp_path):
    scalar = read_graph(graphs.identity(tmp_path / "a", "FP32", []) / "model.onnx")
    anything = read_graph(graphs.identity(tmp_path / "b", "FP32", None) / "model.onnx")
    assert (scalar.inputs[0].shape, anything.inputs[0].shape) == ((), None)


def test_initializers_listed_as_inputs_are_not_inputs(tmp_path):
    path = graphs.lookup(tmp_path) / "model.onnx"
    model = onnx.load(str(path))
    model.graph.input.append(graphs.tensor("table", "FP32", [4, 2]))
    path.write_bytes(model.SerializeToString())
    assert [tensor.name for tensor in read_graph(path).inputs] == ["row"]


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=300))
def test_garbage_is_malformed_and_nothing_worse(place, content):
    path = place / f"{next(NUMBERS)}.onnx"
    path.write_bytes(content)
    with pytest.raises(MalformedGraph) if b":" not in content else expected_or_read():
        read_graph(path)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_damaged_graph_is_read_or_malformed(place, at, value, cut):
    content = bytearray((graphs.busy(place / "busy") / "model.onnx").read_bytes()[-800:])
    content[at % len(content)] = value
    path = place / f"{next(NUMBERS)}.onnx"
    path.write_bytes(bytes(content[: cut % len(content)]))
    with expected_or_read():
        read_graph(path)


class expected_or_read:  # noqa: N801 (reads as a word in the tests)
    """Lets MalformedGraph pass and nothing else."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return kind is not None and issubclass(kind, MalformedGraph)
