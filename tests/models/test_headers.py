"""Properties of the header readers: whatever a file holds, they answer or say Malformed, in bounded memory."""

import contextlib
import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.models.formats import gguf, inspect, onnx, safetensors
from apps.models.formats.safetensors import Malformed
from apps.models.models import Level
from apps.models.rules import RULES, Blocked
from tests.models.conftest import onnx_bytes, safetensors_bytes

BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
READERS: dict[str, Callable[[Path], Any]] = {
    "onnx": onnx.read, "safetensors": safetensors.parameters, "gguf": gguf.read,
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "I64", "F4", "nonsense"]),
    "shape": st.lists(st.integers(-1, 2**62), max_size=4),
    "data_offsets": st.lists(st.integers(-1, 2**62), max_size=3),
})  # fmt: skip


def gguf_bytes(values: dict[str, str], tensors: int = 1) -> bytes:
    """A header with text values."""
    parts = [struct.pack("<4sIQQ", b"GGUF", 3, tensors, len(values))]
    for key, value in values.items():
        name, text = key.encode(), value.encode()
        parts += [struct.pack("<Q", len(name)), name, struct.pack("<IQ", 8, len(text)), text]
    if tensors:
        parts.append(struct.pack("<Q1sIQIQ", 1, b"w", 1, 8, 0, 0) * tensors)
        here = sum(map(len, parts))
        parts.append(bytes(-here % 32 + 32))
    return b"".join(parts)


GOOD = {
    "onnx": onnx_bytes(), "safetensors": safetensors_bytes(), "gguf": gguf_bytes({"general.architecture": "llama"}),
}  # fmt: skip


def answers(reader: Callable[[Path], Any], path: Path, data: bytes) -> None:
    """Reads it; anything but an answer or Malformed fails the test."""
    path.write_bytes(data)
    with contextlib.suppress(Malformed):
        reader(path)


@pytest.mark.parametrize("kind", READERS)
def test_a_good_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(GOOD[kind])
    assert READERS[kind](path)


@pytest.mark.parametrize("kind", READERS)
@BOUNDED
@given(data=st.binary(max_size=400))
def test_noise_is_malformed(tmp_path: Path, kind: str, data: bytes) -> None:
    answers(READERS[kind], tmp_path / "file", data)


@pytest.mark.parametrize("kind", READERS)
@BOUNDED
@given(data=st.data())
def test_a_damaged_file_never_breaks_a_reader(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    damaged = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    answers(READERS[kind], tmp_path / "file", bytes(damaged))


@pytest.mark.parametrize("kind", READERS)
def test_every_truncation_is_answered(tmp_path: Path, kind: str) -> None:
    for length in range(len(GOOD[kind])):
        answers(READERS[kind], tmp_path / "file", GOOD[kind][:length])


@BOUNDED
@given(header=st.dictionaries(st.text(max_size=8), JSON | TENSOR, max_size=4), extra=st.binary(max_size=64))
def test_any_json_is_an_answer_of_safetensors(tmp_path: Path, header: dict[str, Any], extra: bytes) -> None:
    raw = json.dumps(header).encode()
    answers(safetensors.parameters, tmp_path / "file", struct.pack("<Q", len(raw)) + raw + extra)


@BOUNDED
@given(tag=st.binary(min_size=1, max_size=12), head=st.sampled_from([b"\x08\x08", b"\x08\x08\x3a\x04", b"\x3a"]))
def test_any_field_is_an_answer_of_onnx(tmp_path: Path, head: bytes, tag: bytes) -> None:
    answers(onnx.read, tmp_path / "file", head + tag)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("safetensors", struct.pack("<Q", 2**63) + b"{}"),
        ("safetensors", struct.pack("<Q", 90 * 2**20) + b"{}"),
        ("gguf", struct.pack("<4sIQQ", b"GGUF", 3, 2**63, 2**63)),
        ("gguf", struct.pack("<4sIQQQ", b"GGUF", 3, 1, 1, 2**62)),
        ("gguf", struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 1, 1, 1, b"k", 9, 12, 10_000_000)),
        ("onnx", b"\x08\x08\x3a\xff\xff\xff\xff\x7f"),
    ],
)
def test_a_length_that_lies_takes_no_memory(tmp_path: Path, kind: str, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(Malformed):
        READERS[kind](path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_more_numbers_than_a_file_holds_are_malformed(tmp_path: Path) -> None:
    dims = b"".join(b"\x08" + b"\xff" * 7 + b"\x7f" for _ in range(3))
    tensor = b"\x2a" + bytes([len(dims)]) + dims
    path = tmp_path / "file"
    path.write_bytes(b"\x08\x08\x3a" + bytes([len(tensor)]) + tensor)
    with pytest.raises(Malformed, match="numbers"):
        onnx.read(path)


@BOUNDED
@given(config=JSON, tokenizer=JSON)
def test_any_configuration_ends_in_a_report(tmp_path: Path, config: Any, tokenizer: Any) -> None:
    (tmp_path / "model.onnx").write_bytes(GOOD["onnx"])
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with contextlib.suppress(Blocked):
        facts = inspect(tmp_path, ["model.onnx", "config.json", "tokenizer.json"])
        assert {found.rule for found in facts.findings} <= set(RULES)


@BOUNDED
@given(name=st.text(st.characters(), max_size=20) | st.sampled_from(["\ud800", "\0", "a\nb"]))
def test_text_of_a_configuration_can_be_stored(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.onnx").write_bytes(GOOD["onnx"])
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [name]}))
    facts = inspect(tmp_path, ["model.onnx", "config.json"])
    assert "\0" not in facts.architecture
    assert facts.architecture.encode() or not name


def test_long_texts_of_a_gguf_header_are_cut(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf_bytes({"general.architecture": "x" * 999, "general.license": "y" * 999}))
    facts = inspect(tmp_path, ["m.gguf"])
    assert (len(facts.architecture), len(facts.licence)) == (128, 128)


def test_of_shards_the_first_says_what_it_is(tmp_path: Path) -> None:
    said = {"general.architecture": "llama", "general.license": "mit"}
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(gguf_bytes(said))
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(gguf_bytes({"split.no": "1"}))
    (tmp_path / "a-mmproj.gguf").write_bytes(gguf_bytes({"general.architecture": "clip"}))
    names = sorted(path.name for path in tmp_path.iterdir())
    for order in (names, names[::-1]):
        facts = inspect(tmp_path, order)
        assert (facts.architecture, facts.licence) == ("llama", "mit")


def test_files_that_claim_more_numbers_together_than_can_be_counted_are_refused(tmp_path: Path) -> None:
    head = struct.pack("<4sIQQ", b"GGUF", 3, 15, 0)  # of a type that nobody knows, so of no size
    tensors = [struct.pack("<Q1sIQIQ", 1, bytes([65 + each]), 1, 2**59, 99, 0) for each in range(15)]
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(head + b"".join(tensors) + bytes(64))
    assert inspect(tmp_path, ["a.gguf"]).parameter_count == 15 * 2**59
    with pytest.raises(Blocked, match="more numbers than any file holds"):
        inspect(tmp_path, ["a.gguf", "b.gguf"])


def test_an_index_with_names_nobody_can_print_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(GOOD["safetensors"])
    index = {"weight_map": {"a": "\ud800.safetensors", "b": "\0", "c": 7}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Blocked) as caught:
        inspect(tmp_path, ["model.safetensors", "model.safetensors.index.json"])
    assert caught.value.found.finding.encode()
    assert caught.value.found.level == Level.BLOCK
