"""How far two answers agree, on shapes that engines give."""

import base64
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.deployments.optimization.agreement import (
    Answer,
    Unreadable,
    compare,
    cosine,
    neighbour_overlap,
    read,
    token_overlap,
)

numbers = st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=8)


def test_each_shape_is_read() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -1)).decode()
    assert read({"data": [{"embedding": [0.5, -1]}]}).numbers == [0.5, -1]
    assert read({"data": [{"embedding": packed}]}).numbers == [0.5, -1]
    assert read({"choices": [{"message": {"content": "hi"}}]}).text == "hi"
    assert read({"choices": [{"text": "ho"}]}).text == "ho"
    assert read({"data": [{"label": "good", "probs": [0.1, 0.9]}]}).label == "good"
    ranked = read({"results": [{"index": 1, "relevance_score": 2.0}, {"index": 0, "relevance_score": 1.0}]})
    assert (ranked.label, ranked.numbers) == ("1", [1.0, 2.0])
    assert read({"outputs": [{"data": [[1, 3], [2, 0]]}]}).label == "1"


@pytest.mark.parametrize("body", [{}, {"data": []}, {"choices": [{}]}, {"results": []}, {"data": [{"embedding": "!"}]}])
def test_other_shapes_are_refused(body: dict[str, object]) -> None:
    with pytest.raises(Unreadable):
        read(body)


@given(numbers)
def test_a_vector_agrees_with_itself(vector: list[float]) -> None:
    assert cosine(vector, vector) == pytest.approx(1)


@given(numbers, numbers)
def test_cosine_is_a_share(one: list[float], other: list[float]) -> None:
    assert 0 <= cosine(one, other) <= 1


def test_what_is_not_finite_does_not_agree() -> None:
    assert cosine([1, math.nan], [1, 1]) == 0
    assert cosine([1, math.inf], [1, 1]) == 0


@given(st.text(), st.text())
def test_overlap_of_words_is_the_same_both_ways(one: str, other: str) -> None:
    assert token_overlap(one, other) == token_overlap(other, one)
    assert 0 <= token_overlap(one, other) <= 1


def test_neighbours_are_compared_by_place() -> None:
    line = [[1.0, float(place)] for place in range(8)]
    assert neighbour_overlap(line, line) == 1
    assert neighbour_overlap(line, line[::2] + line[1::2]) < 1


def test_an_answer_that_is_missing_counts_as_nothing() -> None:
    answers = [Answer("classification", [0.2, 0.8], "b"), Answer("classification", [0.9, 0.1], "a")]
    found = compare(answers, [Answer("classification", [0.3, 0.7], "b"), None])
    assert (found.score, found.each) == (0.5, [1, 0])
    assert found.measures["largest_shift"] == pytest.approx(0.1)


def test_different_kinds_cannot_be_compared() -> None:
    with pytest.raises(Unreadable):
        compare([Answer("embedding", [1])], [Answer("generation", text="x")])
