"""What a graph declares: its tensors, example values for them, and whether it embeds text.

Standard library only: the plug reads the same rules in the platform's processes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_EXAMPLE_ELEMENTS = 2_000
"""About 8 KB of JSON: above it, an example uses the smallest shape that the graph allows."""

EXAMPLE_AXIS = 8
TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
SENTENCE_OUTPUTS = ("sentence_embedding", "sentence_embeddings", "text_embeds", "embeddings", "embedding")
TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings", "hidden_states")
MAX_LABELS = 10_000
NOT_EMBEDDINGS = frozenset({"logits", "scores", "probabilities"})

EXAMPLE_VALUES: Mapping[str, Any] = {"BOOL": True, "BYTES": "text", "FP16": 0.5, "FP32": 0.5, "FP64": 0.5}
"""Integers take 1: a valid id for most graphs, and never a division by zero."""


@dataclass(frozen=True)
class Declared:
    """A tensor that a graph declares.

    `datatype` is the Open Inference Protocol's, or "" for what it can't carry; -1 in `shape` is a dynamic axis and
    None an undeclared rank; `symbols` names the dynamic axes, "" elsewhere.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] | None
    symbols: tuple[str, ...] = ()

    @property
    def rank(self) -> int | None:
        """Number of axes, None where the graph doesn't say."""
        return None if self.shape is None else len(self.shape)


def embedding_output(
    inputs: Sequence[Declared], outputs: Sequence[Declared], hidden: int, pooling: str
) -> Declared | None:
    """The output to make a text's embedding from, None for a graph that doesn't embed text.

    `hidden` is the width that the model's configuration states, or 0; pooling `none` takes any output of two axes.
    """
    names = {tensor.name for tensor in inputs}
    if "input_ids" not in names or not names <= TEXT_INPUTS:
        return None
    floats = [tensor for tensor in outputs if tensor.datatype.startswith("FP")]
    if pooling == "none":
        return next((tensor for tensor in floats if tensor.rank == 2), None)
    floats = [tensor for tensor in floats if tensor.name not in NOT_EMBEDDINGS]
    return _named(floats, SENTENCE_OUTPUTS, 2) or _named(floats, TOKEN_OUTPUTS, 3) or _token_like(floats, hidden)


def score_output(inputs: Sequence[Declared], outputs: Sequence[Declared]) -> Declared | None:
    """The output with the scores of a text's labels, None for a graph that doesn't score texts."""
    names = {tensor.name for tensor in inputs}
    if "input_ids" not in names or not names <= TEXT_INPUTS:
        return None
    scores = [tensor for tensor in outputs if tensor.name in NOT_EMBEDDINGS and tensor.datatype.startswith("FP")]
    return next((tensor for tensor in scores if tensor.rank in (2, None)), None)


def label_names(config: Mapping[str, Any], width: int) -> list[str]:
    """What the scores stand for, by the model's configuration; empty where it doesn't classify whole texts.

    `width` is the number of scores that the graph declares, or -1.
    """
    architectures = config.get("architectures")
    named = [str(name) for name in architectures] if isinstance(architectures, list) else []
    if named and not any(name.endswith("ForSequenceClassification") for name in named):
        return []
    by_id = config.get("id2label")
    labels = [str(by_id[key]) for key in sorted(by_id, key=_number)] if isinstance(by_id, dict) else []
    if labels and (width < 0 or len(labels) == width):
        return labels
    count = width if width > 0 else config.get("num_labels") if isinstance(config.get("num_labels"), int) else 0
    return [f"LABEL_{place}" for place in range(min(int(count or 0), MAX_LABELS))]


def _number(key: object) -> int:
    return int(key) if isinstance(key, str | int) and str(key).isdigit() else 0


def is_pooled(output: Declared) -> bool:
    """Whether an embedding output has one vector a text already."""
    return output.rank == 2 or (output.rank is None and output.name in SENTENCE_OUTPUTS)


def _named(outputs: Sequence[Declared], names: Sequence[str], rank: int) -> Declared | None:
    by_name = {tensor.name: tensor for tensor in outputs if tensor.rank in (rank, None)}
    return next((by_name[name] for name in names if name in by_name), None)


def _token_like(outputs: Sequence[Declared], hidden: int) -> Declared | None:
    token = [tensor for tensor in outputs if tensor.rank == 3]
    wide = [tensor for tensor in token if tensor.shape and tensor.shape[-1] == hidden]
    return next(iter(wide or token), None)


def example_inputs(inputs: Sequence[Declared]) -> list[dict[str, Any]]:
    """Inputs of a valid infer request, small where the graph leaves a choice."""
    for axis in (EXAMPLE_AXIS, 1):
        shapes = example_shapes(inputs, axis)
        if sum(math.prod(shape) for shape in shapes) <= MAX_EXAMPLE_ELEMENTS:
            break
    return [_example(tensor, shape) for tensor, shape in zip(inputs, shapes, strict=True)]


def example_shapes(inputs: Sequence[Declared], axis: int) -> list[list[int]]:
    """One row, and `axis` for every dynamic axis that isn't named like a first axis, which is the batch."""
    batch = {tensor.symbols[0] for tensor in inputs if tensor.symbols} - {""}
    return [_shape(tensor, batch, axis) for tensor in inputs]


def _shape(tensor: Declared, batch: set[str], axis: int) -> list[int]:
    if tensor.shape is None:
        return [1]
    return [
        size if size >= 0 else 1 if place == 0 or tensor.symbols[place] in batch else axis
        for place, size in enumerate(tensor.shape)
    ]


def example_elements(inputs: Sequence[Declared]) -> int:
    """How many values the smallest request has."""
    return sum(math.prod(shape) for shape in example_shapes(inputs, 1))


def _example(tensor: Declared, shape: list[int]) -> dict[str, Any]:
    value = EXAMPLE_VALUES.get(tensor.datatype, 1)
    return {"name": tensor.name, "shape": shape, "datatype": tensor.datatype, "data": [value] * math.prod(shape)}
