"""The readers of model files under a few inputs of the fuzz lane, `make fuzz` being the long run."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.models.formats import templates
from fuzz import guard, inputs, seeds, targets

SHORT = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", targets.TARGETS)
@SHORT
@given(data=st.data())
def test_a_reader_answers_or_refuses_and_writes_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: st.DataObject
) -> None:
    monkeypatch.setattr(templates, "render", templates.render)  # put back what `run` replaces
    targets.run(name, tmp_path, data.draw(inputs.of(name)))


@pytest.mark.parametrize("name", ["safetensors", "gguf", "onnx"])
def test_the_honest_inputs_are_read(tmp_path: Path, name: str) -> None:
    reader = {"safetensors": targets.safetensors.parameters, "gguf": targets.gguf.read, "onnx": targets.onnx.read}[name]
    for number, data in enumerate(seeds.of(name)):
        (tmp_path / str(number)).write_bytes(data)
        assert reader(tmp_path / str(number))


def test_the_guard_sees_what_a_reader_must_not_do(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    with guard.guarded(tmp_path / "box"):
        (tmp_path / "box/inside").write_text("fine")
    with pytest.raises(guard.Escaped, match="open"), guard.guarded(tmp_path / "box"):
        (tmp_path / "box/../outside").write_text("not fine")
    with pytest.raises(guard.Escaped, match="find_class"), guard.guarded(tmp_path / "box"):
        __import__("pickle").loads(seeds.pickles()[6])
    assert not (tmp_path / "outside").exists()
