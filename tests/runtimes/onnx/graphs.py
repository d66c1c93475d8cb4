"""Small ONNX graphs, made on the spot."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
WIDTH = 96


def tensor(name: str, datatype: str, shape: Sequence[int | str | None] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TYPES[datatype], shape)


def write(folder: Path, nodes, inputs, outputs, weights=(), *, opset: int = 17, name: str = "model.onnx") -> Path:
    """Saves a model and returns its folder."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(model.SerializeToString())
    return folder


def identity(folder: Path, datatype: str, shape: Sequence[int | str | None] | None = ("n", 2)) -> Path:
    node = helper.make_node("Identity", ["x"], ["y"])
    return write(folder, [node], [tensor("x", datatype, shape)], [tensor("y", datatype, shape)])


def every_datatype(folder: Path) -> Path:
    """One graph with an input and an output of each datatype; output `out_X` is input `in_X`."""
    nodes = [helper.make_node("Identity", [f"in_{kind}"], [f"out_{kind}"]) for kind in TYPES]
    inputs = [tensor(f"in_{kind}", kind, ["n"]) for kind in TYPES]
    return write(folder, nodes, inputs, [tensor(f"out_{kind}", kind, ["n"]) for kind in TYPES])


def softmax_over_rows(folder: Path) -> Path:
    """Rows depend on one another, so requests must not be stacked."""
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    return write(folder, [node], [tensor("x", "FP32", ["n", 2])], [tensor("y", "FP32", ["n", 2])])


def lookup(folder: Path) -> Path:
    """Rows of a table of four; any other index fails inside the graph."""
    table = numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "table")
    node = helper.make_node("Gather", ["table", "row"], ["y"])
    return write(folder, [node], [tensor("row", "INT64", ["n"])], [tensor("y", "FP32", ["n", 2])], [table])


def busy(folder: Path) -> Path:
    """Multiplies matrices as often as the input says: about 0.05 ms a time."""
    matrix = numpy_helper.from_array(np.eye(WIDTH, dtype=np.float32), "matrix")
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["carried", "matrix"], ["next"]),
            helper.make_node("Identity", ["going"], ["still"]),
        ],
        "body",
        [tensor("turn", "INT64", []), tensor("going", "BOOL", []), tensor("carried", "FP32", [WIDTH, WIDTH])],
        [tensor("still", "BOOL", []), tensor("next", "FP32", [WIDTH, WIDTH])],
    )
    nodes = [
        helper.make_node("Identity", ["matrix"], ["start"]),
        helper.make_node("Loop", ["times", "", "start"], ["end"], body=body),
        helper.make_node("ReduceMax", ["end"], ["y"], keepdims=0),
    ]
    return write(folder, nodes, [tensor("times", "INT64", [])], [tensor("y", "FP32", [])], [matrix])


def two_heads(folder: Path) -> Path:
    """Doubles and negates, as two outputs."""
    nodes = [helper.make_node("Add", ["x", "x"], ["double"]), helper.make_node("Neg", ["x"], ["negative"])]
    outputs = [tensor("double", "FP32", ["n", 3]), tensor("negative", "FP32", ["n", 3])]
    return write(folder, nodes, [tensor("x", "FP32", ["n", 3])], outputs)


def unknown_operator(folder: Path) -> Path:
    node = helper.make_node("Nope", ["x"], ["y"])
    return write(folder, [node], [tensor("x", "FP32", ["n"])], [tensor("y", "FP32", ["n"])])


def future_opset(folder: Path) -> Path:
    node = helper.make_node("Identity", ["x"], ["y"])
    return write(folder, [node], [tensor("x", "FP32", ["n"])], [tensor("y", "FP32", ["n"])], opset=99)


def external_weights(folder: Path, location: str) -> Path:
    """A graph whose weights lie in another file, which isn't written."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return write(folder, [node], [tensor("x", "FP32", ["n", 4])], [tensor("y", "FP32", ["n", 4])], [weights])


def sentence_graph(folder: Path, vocabulary: int = 30522) -> Path:
    """Embeds a text as the graph's own sentence output: how many ids it has, and 2."""
    two = numpy_helper.from_array(np.array([[0.0, 2.0]], dtype=np.float32), "two")
    axes = numpy_helper.from_array(np.array([1], dtype=np.int64), "axes")
    pad = numpy_helper.from_array(np.array([0, 0, 0, 1], dtype=np.int64), "pad")
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["mask", "axes"], ["length"]),
        helper.make_node("Pad", ["length", "pad"], ["wide"]),
        helper.make_node("Add", ["wide", "two"], ["sentence_embedding"]),
        helper.make_node("Identity", ["input_ids"], ["ids"]),
    ]
    inputs = [tensor(name, "INT64", ["batch", "tokens"]) for name in ("input_ids", "attention_mask")]
    outputs = [tensor("sentence_embedding", "FP32", ["batch", 2]), tensor("ids", "INT64", ["batch", "tokens"])]
    return write(folder, nodes, inputs, outputs, [two, axes, pad])


def strict(folder: Path) -> Path:
    """A table of one row: index 0 is right, and the made-up 1 is not."""
    table = numpy_helper.from_array(np.zeros((1, 2), dtype=np.float32), "table")
    node = helper.make_node("Gather", ["table", "row"], ["y"])
    return write(folder, [node], [tensor("row", "INT64", ["n"])], [tensor("y", "FP32", ["n", 2])], [table])


def scorer(folder: Path, tokenizer: Path, favourites: dict[str, int], labels: int, *, of_pairs: bool) -> Path:
    """A text model with `logits`: each favourite word adds one to its label; of pairs, only in the second text."""
    vocabulary = json.loads(tokenizer.read_text())["model"]["vocab"]
    table = np.zeros((max(vocabulary.values()) + 1, labels), np.float32)
    for word, label in favourites.items():
        table[vocabulary[word], label] = 1
    counted = "token_type_ids" if of_pairs else "attention_mask"
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("Cast", [counted], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "last"], ["weights"]),
        helper.make_node("Mul", ["found", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "middle"], ["logits"], keepdims=0),
    ]
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if of_pairs else [])]
    weights = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([1]), "middle"),
    ]
    write(folder, nodes, [tensor(name, "INT64", ["b", "s"]) for name in names],
          [tensor("logits", "FP32", ["b", labels])], weights)  # fmt: skip
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    config = {"architectures": ["BertForSequenceClassification"], "max_position_embeddings": 128}
    names_of_labels = {str(place): name for place, name in enumerate(["cats", "ships", "bills"][:labels])}
    (folder / "config.json").write_text(json.dumps({**config, "id2label": names_of_labels}))
    return folder
