"""The reference page of each runtime in the box has every option and every route."""

import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from modelyard.runtimes import Runtime

PAGES = Path(__file__).parents[2] / "docs/reference/runtimes"
BUILT_IN = sorted(p.name for p in entry_points(group="modelyard.runtimes") if p.value.startswith("runtimes."))


def runtime(name: str) -> Runtime:  # type: ignore[type-arg]
    (point,) = entry_points(group="modelyard.runtimes", name=name)
    found: Runtime = point.load()()  # type: ignore[type-arg]
    return found


def test_the_box_has_its_three_plugs() -> None:
    assert BUILT_IN == ["onnx", "tgi", "vllm"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_option_has_a_row_on_the_page(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    rows = " ".join(line.partition(" | ")[0] for line in page.splitlines() if line.startswith("| `"))
    assert [option for option in runtime(name).options.model_fields if f"`{option}`" not in rows] == []


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_text_route_is_on_the_page(name: str) -> None:
    routes = re.findall(r'Route\("POST", "([^"{]+)"', inspect.getsource(inspect.getmodule(type(runtime(name)))))
    page = (PAGES / f"{name}.md").read_text()
    assert routes
    assert [route for route in routes if f"{route}`" not in page] == []
