"""Inference on plain tensors, alone or as rows of one batch."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .declared import Declared, example_inputs
from .graph import Graph
from .tensors import DTYPES, Array


@dataclass(frozen=True)
class TensorItem:
    """One infer request: its tensors and the outputs that it wants."""

    feeds: Mapping[str, Array]
    outputs: tuple[str, ...]
    stackable: bool
    length: int = 0

    @cached_property
    def group(self) -> Hashable:
        """Items of one group can be stacked along the first axis."""
        if not self.stackable:
            return id(self)
        return self.outputs, tuple((name, array.shape[1:]) for name, array in sorted(self.feeds.items()))

    @property
    def weight(self) -> int:
        """Rows along the first axis."""
        return self.rows if self.stackable else 1

    @property
    def rows(self) -> int:
        """Length of the first axis."""
        return len(next(iter(self.feeds.values())))


class TensorModel:
    """A graph behind the infer endpoint. `stacks` says whether requests may share a run; it is proven, not assumed."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.stacks = False

    @property
    def may_stack(self) -> bool:
        """Whether every input and output has a dynamic first axis."""
        tensors = [*self.graph.inputs, *self.graph.outputs]
        return bool(self.graph.inputs) and all(tensor.shape and tensor.shape[0] == -1 for tensor in tensors)

    def item(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> TensorItem:
        """An infer request as a piece of a batch."""
        rows = {array.shape[0] if array.ndim else 0 for array in feeds.values()}
        return TensorItem(feeds, tuple(outputs), self.stacks and len(rows) == 1 and 0 not in rows)

    def run(self, items: Sequence[TensorItem]) -> list[list[Array]]:
        """The wanted outputs of each item."""
        outputs = items[0].outputs
        if len(items) == 1:
            return [self.graph.run(outputs, items[0].feeds)]
        feeds = {name: np.concatenate([item.feeds[name] for item in items]) for name in items[0].feeds}
        found = self.graph.run(outputs, feeds)
        rows = [item.rows for item in items]
        if any(array.ndim == 0 or len(array) != sum(rows) for array in found):
            raise ValueError("the graph doesn't keep rows apart")
        cuts = [np.split(array, np.cumsum(rows)[:-1]) for array in found]
        return [list(parts) for parts in zip(*cuts, strict=True)]

    def example(self, seed: int = 0) -> TensorItem:
        """A request of made-up values; seeds differ in values, not in shape."""
        made = example_inputs(self.graph.inputs)
        feeds = {
            tensor.name: _example(tensor, entry["shape"], entry["data"][:1], seed)
            for tensor, entry in zip(self.graph.inputs, made, strict=True)
        }
        return TensorItem(feeds, tuple(tensor.name for tensor in self.graph.outputs), stackable=True)


def _example(tensor: Declared, shape: Sequence[int], values: Sequence[object], seed: int) -> Array:
    array: Array = np.full(shape, values[0] if values else 0, DTYPES[tensor.datatype])
    if array.dtype.kind == "f":
        array += np.asarray(seed * np.linspace(0.1, 0.4, array.size).reshape(shape), array.dtype)
    elif array.dtype.kind in "iu" and seed:
        array.flat[:: seed + 1] = 0
    return array
