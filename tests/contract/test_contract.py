"""The contract is what its reference page says, and small."""

import dataclasses
import re
from pathlib import Path

import pytest

from modelyard import runtimes
from modelyard.runtimes import Failure, Runtime, with_text

PAGE = (Path(__file__).parents[2] / "docs/reference/runtime-contract.md").read_text()


@pytest.mark.parametrize("name", runtimes.__all__)
def test_every_public_name_is_on_the_reference_page(name: str) -> None:
    assert re.search(rf"`{name}`", PAGE)


def test_every_verb_is_on_the_page_in_the_order_of_the_class() -> None:
    verbs = [name for name, value in vars(Runtime).items() if callable(value) and not name.startswith("_")]
    rows = re.findall(
        r"^\| `(\w+)`(?: \*)? \|", PAGE.partition("## The verbs")[2].partition("## What crosses")[0], re.M
    )
    assert rows == verbs


def test_only_optional_verbs_have_a_body() -> None:
    optional = set(re.findall(r"^\| `(\w+)` \* \|", PAGE, re.MULTILINE))
    abstract = Runtime.__abstractmethods__
    assert not optional & abstract
    assert {
        name for name in vars(Runtime) if callable(getattr(Runtime, name)) and name[0] != "_"
    } - optional == abstract


@pytest.mark.parametrize("name", runtimes.__all__)
def test_what_crosses_the_border_can_not_be_changed(name: str) -> None:
    value = getattr(runtimes, name)
    if dataclasses.is_dataclass(value):
        assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_a_failure_carries_what_a_person_needs() -> None:
    failure = Failure("code", "What happened.", "What to do.", permanent=True)
    assert (str(failure), failure.next_step, failure.permanent) == ("What happened.", "What to do.", True)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, lambda b: b["messages"][0]["content"]),
        ({"prompt": "x"}, lambda b: b["prompt"]),
        ({"input": ["x"]}, lambda b: b["input"]),
        ({"query": "x", "documents": ["y"]}, lambda b: b["query"]),
    ],
)
def test_a_text_goes_where_the_request_has_one(body: dict[str, object], place: object) -> None:
    assert place(with_text(body, "another")) == "another"  # type: ignore[operator]
