"""Usage asked of the engine for a caller who didn't, in bodies of every size and shape."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.deployments.gateway import counting
from apps.deployments.gateway.asking import Late, asking

LONG = "a" * 200_000
SPEAKING = 'say "stream": true, {"stream_options": {"include_usage": true}} [{'
BODIES: list[tuple[dict[str, Any], bool]] = [
    ({"messages": [], "stream": True}, True),
    ({"stream": True, "messages": [LONG]}, True),
    ({"messages": [LONG], "stream": True, "tools": [{"x": {"stream": False}}]}, True),
    ({"messages": [LONG], "stream": False}, False),
    ({"messages": [LONG]}, False),
    ({"messages": [{"stream": True}, LONG], "model": "m"}, False),
    ({"messages": [SPEAKING, LONG, SPEAKING], "model": "m"}, False),
    ({"messages": [SPEAKING, LONG, SPEAKING], "stream": True}, True),
    ({"stream": True, "messages": [SPEAKING, LONG, SPEAKING]}, True),
    ({"stream": True, "stream_options": {"include_usage": True}, "messages": [LONG]}, False),
    ({"messages": [LONG], "stream": True, "stream_options": {"include_usage": True}}, False),
    ({"stream": True, "stream_options": {"include_usage": False}, "messages": [LONG]}, True),
    ({"messages": [LONG], "stream": True, "stream_options": {"include_usage": False, "x": 1}}, True),
    ({"messages": [LONG], "stream": True, "stream_options": None}, True),
    ({"messages": [LONG], "stream": True, "stream_options": {}}, True),
    ({"messages": [LONG], "stream": True, "stream_options": {"x": 1}}, True),
]


def wanted(body: dict[str, Any], asks: bool) -> dict[str, Any]:
    return {**body, "stream_options": {**(body.get("stream_options") or {}), "include_usage": True}} if asks else body


def late(data: bytes, sizes: list[int]) -> tuple[bytes, bool]:
    """What an engine gets of a body that comes in such pieces."""
    found = Late()
    out = []
    at = 70_000  # the beginning is there when it is sent
    out.append(found.feed(data[:at]))
    while at < len(data):
        size = sizes.pop() if sizes else len(data)
        out.append(found.feed(data[at : at + size]))
        at += size
    out.append(found.end())
    return b"".join(out), found.asked


@pytest.mark.parametrize(("body", "asks"), BODIES)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_whole_body(body: dict[str, Any], asks: bool, separators: tuple[str, str]) -> None:
    made, asked = asking(json.dumps(body, separators=separators).encode())
    assert (json.loads(made), asked) == (wanted(body, asks), asks)


@pytest.mark.parametrize(("body", "asks"), BODIES)
@given(sizes=st.lists(st.integers(1, 90_000), max_size=8))
def test_a_body_that_goes_on_before_it_is_whole(body: dict[str, Any], asks: bool, sizes: list[int]) -> None:
    data = json.dumps({**body, "pad": LONG} if next(iter(body)) == "stream" else {"pad": LONG, **body}).encode()
    made, asked = late(data, sizes)
    told = json.loads(made)
    told.pop("pad")
    assert (told, asked) == (wanted(body, asks), asks)
    assert len(made) == len(data) + Late.EXTRA


@pytest.mark.parametrize(
    ("body", "most"),
    [
        (b"{}", None),
        (b'{"n": 3}', None),
        (b'{"max_tokens": 10}', 10),
        (b'{"max_tokens": 10, "max_completion_tokens": 12}', 12),
        (b'{"max_tokens": 1e3}', 1000),
        (b'{"max_tokens": 1e99}', counting.HIGHEST),
        (b'{"max_tokens": 10, "n": 4}', 40),
        (b'{"best_of":5,"n":2,"max_tokens":10}', 50),
        (b'{"messages": ["\\"max_tokens\\": 99"], "max_tokens": 7, "n": 0}', 7),
    ],
)
def test_what_a_request_asks_for_at_most(body: bytes, most: int | None) -> None:
    """Of all its answers together, however the number is written."""
    assert counting.most(body) == most


@pytest.mark.parametrize(
    ("body", "several"),
    [
        (b'{"prompt": "one, [two]"}', 1),
        (b'{"prompt": [1, 2, 3], "max_tokens": 5}', 1),
        (b'{"prompt": []}', 1),
        (b'{"prompt": [ "a" ]}', 1),
        (b'{"prompt":["a","b, \\"c\\", \\\\" , "]", "[\\"d"],"stop":["x","y"]}', 4),
        (b'{"prompt": [[1, 2], [3]], "stop": ["x", "y"]}', 2),
        (b'{"prompt": ["a", "b", "and so on', 3),
    ],
)
def test_how_many_prompts_a_request_has(body: bytes, several: int) -> None:
    """Each is answered, and may take as many tokens as the request asks for."""
    assert counting.prompts(body) == several


def test_a_long_prompt_takes_no_time_to_count() -> None:
    texts = ['\\"' * 100_000, "x" * 500_000, "[" * 100_000]
    assert counting.prompts(json.dumps({"prompt": texts}).encode()) == 3
    assert counting.prompts(json.dumps({"prompt": texts}).encode()[:650_000]) == 2
