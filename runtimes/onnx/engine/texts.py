"""Texts to embeddings: tokens, one run of the graph, pooling and normalisation."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .declared import Declared, embedding_output, is_pooled
from .exits import Exit, StartFailure
from .graph import Graph
from .refusals import invalid
from .sentences import Folder, Prompts, Recipe, max_length, prompts, recipe
from .tensors import Array

log = logging.getLogger(__name__)

TOKENS_PER_WEIGHT = 64
"""A text this long fills a batch's place by itself: beyond it, padding and memory cost more than a batch saves."""


@dataclass(frozen=True)
class TextItem:
    """One tokenized text, or a pair; `types` says which of the two a token belongs to."""

    ids: Sequence[int]
    types: Sequence[int] | None = None
    group: str = "text"

    @property
    def length(self) -> int:
        """Tokens."""
        return len(self.ids)

    @property
    def weight(self) -> int:
        """Long texts fill a batch sooner."""
        return -(-len(self.ids) // TOKENS_PER_WEIGHT) or 1


@dataclass(frozen=True)
class TextModel:
    """A graph that embeds text, its tokenizer and its recipe."""

    graph: Graph
    output: str
    tokenizer: Any
    recipe: Recipe
    max_length: int
    pad_id: int
    vocabulary: int
    lowercase: bool
    prompts: Prompts

    def tokenize(self, texts: Sequence[str]) -> list[TextItem]:
        """Tokens of each text, cut to the model's length."""
        return tokens_of(self.tokenizer, texts, lowercase=self.lowercase)

    def accept(self, ids: Sequence[int]) -> TextItem:
        """Token ids as a caller sent them."""
        if len(ids) > self.max_length:
            raise invalid(f"{len(ids)} tokens are more than the model's {self.max_length}.", param="input")
        if min(ids) < 0 or max(ids) >= self.vocabulary:
            raise invalid(f"Token ids have to be from 0 to {self.vocabulary - 1}.", param="input")
        return TextItem(ids)

    def run(self, items: Sequence[TextItem]) -> list[Array]:
        """One embedding for each item."""
        given, mask = feeds(self.graph, items, self.pad_id)
        (found,) = self.graph.run([self.output], given)
        vectors = self._pool(found.astype(np.float32, copy=False), mask)
        return list(_normalized(vectors) if self.recipe.normalize else vectors)

    def _pool(self, found: Array, mask: Array) -> Array:
        axes = 3 if self.recipe.poolings else 2
        if found.ndim != axes:
            raise ValueError(f"output {self.output} has {found.ndim} axes instead of {axes}")
        if not self.recipe.poolings:
            return found
        return np.concatenate([pool(kind, found, mask) for kind in self.recipe.poolings], axis=1)


def tokens_of(tokenizer: Any, texts: Sequence[str | tuple[str, str]], *, lowercase: bool) -> list[TextItem]:
    """Tokens of each text or pair of texts."""
    given = [_lowered(text) for text in texts] if lowercase else list(texts)
    if len(given) == 1 and isinstance(given[0], str):
        items = [TextItem(tokenizer.encode(given[0]).ids)]
    else:
        found = tokenizer.encode_batch_fast(given)
        paired = isinstance(given[0], tuple)
        items = [TextItem(each.ids, each.type_ids if paired else None) for each in found]
    if not all(item.ids for item in items):
        raise invalid("A text has nothing that the model's tokenizer knows.", param="input")
    return items


def _lowered(text: str | tuple[str, str]) -> str | tuple[str, str]:
    return text.lower() if isinstance(text, str) else (text[0].lower(), text[1].lower())


def feeds(graph: Graph, items: Sequence[TextItem], pad_id: int) -> tuple[dict[str, Array], Array]:
    """What the graph takes for these texts as one batch, and which tokens aren't padding."""
    longest = max(item.length for item in items)
    ids = np.full((len(items), longest), pad_id, np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for row, item in enumerate(items):
        ids[row, : item.length] = item.ids
        mask[row, : item.length] = 1
        if item.types is not None:
            types[row, : item.length] = item.types
    made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return {tensor.name: _feed(tensor, made) for tensor in graph.inputs}, mask


def _feed(tensor: Declared, made: dict[str, Array]) -> Array:
    if tensor.name == "position_ids":
        rows, longest = made["input_ids"].shape
        given: Array = np.tile(np.arange(longest, dtype=np.int64), (rows, 1))
    else:
        given = made[tensor.name]
    return given.astype(np.int32) if tensor.datatype == "INT32" else given


def pool(kind: str, tokens: Array, mask: Array) -> Array:
    """One vector a text, of the token vectors that aren't padding."""
    lengths = mask.sum(axis=1)
    if kind in ("cls", "lasttoken"):
        place = 0 if kind == "cls" else lengths - 1
        chosen: Array = tokens[np.arange(len(tokens)), place]
        return chosen
    if kind == "max":
        highest: Array = np.where(mask[..., None] > 0, tokens, np.float32(-np.inf)).max(axis=1)
        return highest
    weights = mask.astype(np.float32)
    if kind == "weightedmean":
        weights = weights * np.arange(1, mask.shape[1] + 1, dtype=np.float32)
    total = np.einsum("bsd,bs->bd", tokens, weights)
    divisor = np.sqrt(lengths) if kind == "mean_sqrt_len_tokens" else weights.sum(axis=1)
    pooled: Array = total / divisor[:, None]
    return pooled.astype(np.float32)


def _normalized(vectors: Array) -> Array:
    norms: Array = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Array = vectors / np.maximum(norms, 1e-12)
    return scaled.astype(np.float32)


def shorten(vector: Array, dimensions: int | None) -> Array:
    """The first dimensions of an embedding, at length 1 again."""
    if dimensions is None:
        return vector
    if dimensions > len(vector):
        raise invalid(f"The model's embeddings have {len(vector)} dimensions, not {dimensions}.", param="dimensions")
    return _normalized(vector[:dimensions])


def load_text_model(
    graph: Graph, root: Path, path: Path, pooling: str, normalize: str, length: int
) -> TextModel | None:
    """The text side of a graph; None where the model has no tokenizer or the graph doesn't embed text."""
    folder = Folder(root, path)
    tokenizer_path = folder.find("tokenizer.json")
    if tokenizer_path is None:
        return None
    hidden = folder.read_object("config.json").get("hidden_size")
    output = embedding_output(graph.inputs, graph.declared_outputs, hidden if isinstance(hidden, int) else 0, pooling)
    if output is None and pooling == "none":
        raise StartFailure(Exit.POOLING_UNSUPPORTED, "pooling none needs an output of two axes; the graph has none")
    if output is None:
        return None
    tokenizer, longest, pad_id = load_tokenizer(tokenizer_path, folder, length)
    model = TextModel(
        graph,
        output.name,
        tokenizer,
        recipe(folder, pooling, normalize, pooled_output=is_pooled(output)),
        longest,
        pad_id,
        tokenizer.get_vocab_size(),
        lowercases(folder),
        prompts(folder),
    )
    _describe(model)
    return model


def lowercases(folder: Folder) -> bool:
    """Whether texts are put into small letters before the tokenizer sees them."""
    return folder.read_object("sentence_bert_config.json").get("do_lower_case") is True


def load_tokenizer(path: Path, folder: Folder, length: int) -> tuple[Any, int, int]:
    """The tokenizer, the longest text in tokens, and the id of padding."""
    try:
        tokenizer: Any = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise StartFailure(Exit.TOKENIZER_INVALID, f"{path.name} can't be read: {error}") from error
    truncation, padding = tokenizer.truncation or {}, tokenizer.padding or {}
    longest = max_length(folder, length, truncation.get("max_length"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return tokenizer, longest, int(padding.get("pad_id") or 0)


def _describe(model: TextModel) -> None:
    how = " + ".join(model.recipe.poolings) or "the graph's own sentence output"
    scale = "normalised to length 1" if model.recipe.normalize else "not normalised"
    log.info("embeds text: %s from %s, %s, up to %d tokens", how, model.output, scale, model.max_length)
