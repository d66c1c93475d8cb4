"""How much the answers of an optimized model agree with the original's."""

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NEIGHBOURS = 5


class Unreadable(ValueError):
    """An answer in a shape that can't be compared."""


@dataclass(frozen=True)
class Answer:
    """What of one answer is compared. `kind` is embedding, classification, ranking, generation or tensors."""

    kind: str
    numbers: Sequence[float] = ()
    label: str = ""
    text: str = ""

    def as_json(self) -> dict[str, Any]:
        """For keeping it while the other side is measured."""
        return {"kind": self.kind, "numbers": list(self.numbers), "label": self.label, "text": self.text}


@dataclass(frozen=True)
class Agreement:
    """One score between 0 and 1 that is held against the threshold, what it is made of, and each sample's own score."""

    kind: str
    score: float
    measures: Mapping[str, float] = field(default_factory=dict)
    each: Sequence[float] = ()


def read(body: Mapping[str, Any]) -> Answer:
    """What an answer says, by its shape. Unreadable for any other shape."""
    try:
        return _read(body)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, struct.error) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None


def _read(body: Mapping[str, Any]) -> Answer:
    if "choices" in body:
        choice = body["choices"][0]
        text = choice["message"].get("content") if "message" in choice else choice["text"]
        return Answer("generation", text=str(text or ""))
    if "results" in body:
        scores = {int(each["index"]): float(each["relevance_score"]) for each in body["results"]}
        ordered = [scores[index] for index in sorted(scores)]
        return Answer("ranking", ordered, label=str(max(scores, key=lambda index: scores[index])))
    if "outputs" in body:
        return _tensors(body["outputs"])
    first = body["data"][0]
    if "embedding" in first:
        vectors = [_vector(each["embedding"]) for each in body["data"]]
        return Answer("embedding", [number for vector in vectors for number in vector])
    return Answer("classification", [float(number) for number in first.get("probs") or ()], label=str(first["label"]))


def _vector(value: Any) -> list[float]:
    if isinstance(value, str):
        raw = base64.b64decode(value, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return [float(number) for number in value]


def _tensors(outputs: Sequence[Mapping[str, Any]]) -> Answer:
    numbers: list[float] = []
    words: list[str] = []
    for output in outputs:
        for value in _flat(output["data"]):
            if isinstance(value, str):
                words.append(value)
            else:
                numbers.append(float(value))
    largest = max(range(len(numbers)), key=numbers.__getitem__) if numbers else 0
    return Answer("tensors", numbers, label=str(largest), text="\n".join(words))


def _flat(values: Any) -> list[Any]:
    if not isinstance(values, list):
        return [values]
    return [leaf for value in values for leaf in _flat(value)]


def compare(before: Sequence[Answer], after: Sequence[Answer | None]) -> Agreement:
    """Both sides' answers to the same samples; None where the optimized side gave none, which counts as 0."""
    kind = before[0].kind
    if any(answer.kind != kind for answer in [*before, *(each for each in after if each)]):
        raise Unreadable("the answers are of different kinds")
    pairs = list(zip(before, after, strict=True))
    each = [0.0 if other is None else _one(one, other) for one, other in pairs]
    return Agreement(kind, _mean(each), MEASURES[kind](pairs, each), each)


def _one(one: Answer, other: Answer) -> float:
    if one.kind == "generation":
        return token_overlap(one.text, other.text)
    if one.kind in {"classification", "ranking"}:
        return float(one.label == other.label)
    return cosine(one.numbers, other.numbers) if one.numbers else float(one.text == other.text)


type _Pairs = Sequence[tuple[Answer, Answer | None]]


def _of_vectors(pairs: _Pairs, each: Sequence[float]) -> dict[str, float]:
    measures = {"cosine_mean": _mean(each), "cosine_min": min(each)}
    if len(pairs) > NEIGHBOURS and all(other for _, other in pairs):
        measures["neighbour_overlap"] = neighbour_overlap(
            [one.numbers for one, _ in pairs], [other.numbers for _, other in pairs if other]
        )
    return measures


def _of_tensors(pairs: _Pairs, each: Sequence[float]) -> dict[str, float]:
    same = [float(other is not None and one.label == other.label) for one, other in pairs]
    return {"cosine_mean": _mean(each), "cosine_min": min(each), "same_largest": _mean(same)}


def _of_labels(pairs: _Pairs, each: Sequence[float]) -> dict[str, float]:
    shifts = [
        max((abs(a - b) for a, b in zip(one.numbers, other.numbers, strict=False)), default=0.0)
        for one, other in pairs
        if other
    ]
    return {"label_agreement": _mean(each), "largest_shift": max(shifts, default=0.0)}


def _of_texts(pairs: _Pairs, each: Sequence[float]) -> dict[str, float]:
    exact = [float(other is not None and one.text == other.text) for one, other in pairs]
    return {"exact_match": _mean(exact), "token_overlap": _mean(each)}


MEASURES = {
    "embedding": _of_vectors, "tensors": _of_tensors, "classification": _of_labels, "ranking": _of_labels,
    "generation": _of_texts,
}  # fmt: skip


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two vectors, no less than 0; 0 where their lengths differ or one isn't finite, 1 for two of only zeros."""
    if len(one) != len(other):
        return 0.0
    lengths = math.hypot(*one) * math.hypot(*other)
    if lengths == 0:
        return float(list(one) == list(other))
    value = math.sumprod(one, other) / lengths
    return min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0


def neighbour_overlap(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], count: int = NEIGHBOURS
) -> float:
    """The share of each sample's nearest neighbours that are the same on both sides."""
    pairs = zip(_nearest(before, count), _nearest(after, count), strict=True)
    return _mean([len(one & other) / count for one, other in pairs])


def _nearest(vectors: Sequence[Sequence[float]], count: int) -> list[set[int]]:
    found = []
    for index, vector in enumerate(vectors):
        near = [(cosine(vector, other), place) for place, other in enumerate(vectors) if place != index]
        found.append({place for _, place in sorted(near, reverse=True)[:count]})
    return found


def token_overlap(one: str, other: str) -> float:
    """F1 of the words that two texts share; 1 where both are empty."""
    mine, yours = one.split(), other.split()
    if not mine and not yours:
        return 1.0
    left = list(yours)
    shared = 0
    for word in mine:
        if word in left:
            left.remove(word)
            shared += 1
    return 2 * shared / (len(mine) + len(yours))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
