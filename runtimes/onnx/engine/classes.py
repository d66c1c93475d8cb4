"""Texts, or pairs of texts, to the scores of labels: classifiers, and cross-encoders that rank documents."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .declared import label_names, score_output
from .graph import Graph
from .sentences import Folder
from .tensors import Array
from .texts import TextItem, feeds, load_tokenizer, lowercases, tokens_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassModel:
    """A graph that scores texts. One label: it ranks; more: it classifies. `activation` is softmax, sigmoid or none."""

    graph: Graph
    output: str
    tokenizer: Any
    pad_id: int
    lowercase: bool
    labels: Sequence[str]
    activation: str

    @property
    def ranks(self) -> bool:
        """Whether it gives one score, of how well two texts belong together."""
        return len(self.labels) == 1

    def tokenize(self, texts: Sequence[str | tuple[str, str]]) -> list[TextItem]:
        """Tokens of each text or pair, cut to the model's length."""
        return tokens_of(self.tokenizer, texts, lowercase=self.lowercase)

    def run(self, items: Sequence[TextItem]) -> list[Array]:
        """The scores of each item, by label."""
        given, _ = feeds(self.graph, items, self.pad_id)
        (found,) = self.graph.run([self.output], given)
        scores = found.astype(np.float32, copy=False).reshape(len(items), -1)
        if scores.shape[1] != len(self.labels):
            raise ValueError(f"output {self.output} has {scores.shape[1]} scores, the model names {len(self.labels)}")
        return list(_activated(scores, self.activation))


def _activated(scores: Array, activation: str) -> Array:
    if activation == "none":
        return scores
    if activation == "sigmoid":
        halves: Array = (np.tanh(scores * np.float32(0.5)) + 1) * np.float32(0.5)  # the same, and never overflows
        return halves
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Array = raised / raised.sum(axis=1, keepdims=True)
    return shares


def load_class_model(graph: Graph, root: Path, path: Path, length: int) -> ClassModel | None:
    """The scoring side of a graph; None where the model has no tokenizer or the graph doesn't score texts."""
    folder = Folder(root, path)
    tokenizer_path = folder.find("tokenizer.json")
    output = score_output(graph.inputs, graph.declared_outputs)
    if tokenizer_path is None or output is None:
        return None
    config = folder.read_object("config.json")
    width = output.shape[-1] if output.shape else -1
    labels = label_names(config, width)
    if not labels:
        return None
    tokenizer, longest, pad_id = load_tokenizer(tokenizer_path, folder, length)
    activation = _activation(config, len(labels))
    what = "ranks documents" if len(labels) == 1 else f"tells {len(labels)} labels apart"
    log.info("%s: %s from %s, up to %d tokens", what, activation, output.name, longest)
    return ClassModel(graph, output.name, tokenizer, pad_id, lowercases(folder), labels, activation)


def _activation(config: dict[str, Any], labels: int) -> str:
    """As sentence-transformers' cross-encoders say it, else as transformers' problem type does."""
    own = config.get("sentence_transformers")
    named = own.get("activation_fn") if isinstance(own, dict) else None
    named = str(named or config.get("sbert_ce_default_activation_function") or "").rpartition(".")[2]
    if named:
        return {"Identity": "none", "Sigmoid": "sigmoid", "Softmax": "softmax"}.get(named, "none")
    if config.get("problem_type") == "multi_label_classification" or labels == 1:
        return "none" if config.get("problem_type") == "regression" else "sigmoid"
    return "softmax"
