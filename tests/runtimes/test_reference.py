"""The reference page of each runtime in the box has every option and every route."""

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
def test_every_option_is_on_the_page_with_its_default(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    for option, field in runtime(name).options.model_fields.items():
        default = "" if field.default in ("", ()) else str(field.default)
        assert f"| `{option}` | {default} |".replace("|  |", "| |") in page.replace("|  |", "| |"), option
