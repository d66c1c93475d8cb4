"""Hostile files of a few MB: what reading them takes stays far below what they ask for."""

import io
import json
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from apps.models import credentials, names, operations, pipeline, storage, zips
from apps.models.bundles import manifest
from apps.models.formats import gguf, inspect, onnx, pickles, templates
from apps.models.formats.safetensors import Malformed
from apps.models.models import Status
from apps.models.rules import Blocked, Policy
from tests.models.conftest import Zip, good, onnx_bytes, safetensors_bytes
from tests.models.test_headers import gguf_bytes

MB = 2**20


@contextmanager
def below(limit: int) -> Iterator[None]:
    """What runs inside allocates no more bytes at once than that."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak / MB:.0f} MiB"


def test_names_in_many_folders_are_compared_without_a_list_of_the_folders() -> None:
    paths = [f"{number}/" + "a/" * 300 + "x" for number in range(3000)]
    with below(12 * MB):
        assert names.double(paths) is None
    assert names.double([*paths, f"{7}/" + "a/" * 20 + "A"]) == "7/" + "a/" * 20 + "A"


@pytest.mark.parametrize("others", [[], ["a-b", "a.b", "a b", "a/b/c.", "b"]])
def test_a_file_where_a_folder_is_is_found_whatever_stands_between_them(others: list[str]) -> None:
    assert names.double([*others, "a/b", "A"]) in {"A", "a/b"}
    assert names.double(["ab/c", "a", "a b/c", "abc"]) is None


@pytest.mark.parametrize("path", ["a/" * 32 + "x", "a" * 901])
def test_a_bundle_keeps_to_the_depth_of_an_archive(path: str) -> None:
    assert manifest.inside("a/" * 31 + "x")
    with pytest.raises(ValueError, match="32 parts"):
        manifest.inside(path)


def end(directory: int) -> bytes:
    """The end of a zip, with the size that it says its directory has."""
    return struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, directory, 0, 0)


def end64(directory: int) -> bytes:
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 9, 9, directory, 0)
    return record + struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1) + end(zips.IN_64)


HUGE = zips.MAX_DIRECTORY + 1
TAILS = {
    "marks before the one that counts": end(10) * 1000 + end(HUGE),
    "locators before the one that counts": b"PK\x06\x07" * 1000 + end64(HUGE),
    "a record of 64 bits": end64(HUGE),
    "a size that leaves the word to a record that isn't there": end(zips.IN_64),
    "one that isn't where it is looked for": end64(10)[:56] + b"x" + end64(10)[56:],
}


@pytest.mark.parametrize("case", TAILS)
def test_no_way_round_the_bound_of_a_zips_directory_is_open(case: str) -> None:
    assert not zips.plausible(io.BytesIO(bytes(100) + TAILS[case]))


def test_honest_ends_of_zips_are_plausible() -> None:
    assert zips.plausible(io.BytesIO(bytes(100) + end64(10)))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.comment = b"quotes PK\x05\x06" + bytes(20)
    assert zips.plausible(made)


def test_texts_of_a_gguf_header_that_nobody_reads_are_not_kept(tmp_path: Path) -> None:
    texts = {f"general.{number}": "x" * MB for number in range(12)}
    (tmp_path / "m.gguf").write_bytes(gguf_bytes({**texts, "general.license": "mit"}))
    with below(4 * MB):
        assert gguf.read(tmp_path / "m.gguf").licence == "mit"


def test_no_more_templates_are_kept_than_show_that_there_are_too_many(tmp_path: Path) -> None:
    texts = {f"tokenizer.chat_template.{number}": "x" * 300_000 for number in range(60)}
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(gguf_bytes(texts))
    assert len(gguf.read(tmp_path / "a.gguf").templates) == templates.MAX_TEMPLATES + 1
    with below(20 * MB), pytest.raises(Blocked, match="more than 20 chat templates"):
        inspect(tmp_path, ["a.gguf", "b.gguf"])


def test_a_template_in_many_files_is_read_from_a_few_of_them(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx_bytes())
    paths = [f"{number}.jinja" for number in range(200)]
    for path in paths:
        (tmp_path / path).write_text("x" * 200_000)
    with below(12 * MB), pytest.raises(Blocked, match="more than 20 chat templates"):
        inspect(tmp_path, ["model.onnx", *paths])


def test_a_template_too_long_to_be_kept_is_none_that_passes(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf_bytes({"tokenizer.chat_template": "x" * 3 * MB}))
    with pytest.raises(Blocked, match="Ki characters"):
        inspect(tmp_path, ["m.gguf"])


def field(number: int, value: bytes) -> bytes:
    """A field of a protocol buffer that is a message or a text."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def model(*nodes: str, functions: list[str] | None = None, more: bytes = b"", tensors: bytes = b"") -> bytes:
    """An ONNX file with a node of each domain, and functions of those domains."""
    graph = b"".join(field(1, field(7, domain.encode())) for domain in nodes) + tensors + field(12, b"")
    defined = b"".join(field(25, field(10, domain.encode())) for domain in functions or [])
    return b"\x08\x08" + field(7, graph) + defined + more


HOSTILE = {
    "an entry of many fields": model("", tensors=field(5, field(13, b"".join(
        field(number, b"x" * 100) for number in range(1, 60_000))))),
    "tensors in many files": model("", tensors=b"".join(
        field(5, field(13, field(1, b"location") + field(2, str(number).encode() * 50)) + b"\x70\x01")
        for number in range(20_001))),
    "functions without end": model("", functions=[""] * 1_000_000),
    "graphs without end": model("", more=field(7, b"") * 1_000_000),
    "a domain of a megabyte": model("x" * MB),
    "a domain that isn't text": b"\x08\x08" + field(7, field(1, field(7, b"\xff")) + field(12, b"")),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_graph_takes_little_memory(tmp_path: Path, case: str) -> None:
    (tmp_path / "m.onnx").write_bytes(HOSTILE[case])
    with below(12 * MB):
        try:
            onnx.read(tmp_path / "m.onnx")
        except Malformed:
            return
    assert case == "an entry of many fields"


@pytest.mark.parametrize("count", [0, 200, 2000])
def test_a_domain_of_somebodys_is_found_behind_any_number_of_others(tmp_path: Path, count: int) -> None:
    own = [f"own{number}" for number in range(count)]
    (tmp_path / "m.onnx").write_bytes(model(*own, *onnx.KNOWN_DOMAINS, "evil", functions=own))
    custom = onnx.read(tmp_path / "m.onnx").custom
    assert custom == {"evil"} if count < onnx.MAX_DOMAINS else custom


def test_a_function_of_two_domains_defines_the_last(tmp_path: Path) -> None:
    two = field(25, field(10, b"evil") + field(10, b"own"))
    (tmp_path / "m.onnx").write_bytes(model("evil", "own", more=two))
    assert onnx.read(tmp_path / "m.onnx").custom == {"evil"}


def test_an_index_of_shards_is_read_once_with_signs_of_life(tmp_path: Path) -> None:
    paths = [f"model-{number}.safetensors" for number in range(60)]
    for path in paths:
        (tmp_path / path).write_bytes(safetensors_bytes())
    index = {"weight_map": {str(number): paths[number % 60] for number in range(20_000)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    signs = 0

    def alive() -> None:
        nonlocal signs
        signs += 1

    began = time.process_time()
    inspect(tmp_path, paths, Policy(alive=alive))
    once = time.process_time() - began
    assert 20_000 < signs < 40_000
    assert once < 8, "it takes a fraction of a second, and 60 times that if each shard reads the index"


def test_checks_that_take_too_long_end_and_are_done_again_when_there_is_more_time(
    make_zip: Zip, person: User, settings
) -> None:
    settings.CHECK_SECONDS = 0.000001
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, "MYI019")
    assert "MODELYARD_CHECK_SECONDS" in model.next_step
    assert storage.upload(model.pk).exists()
    settings.CHECK_SECONDS = 3600
    operations.retry(model, by=person)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert model.status == Status.READY, model.failure


def test_what_is_nearly_a_token_again_and_again_takes_no_time(tmp_path: Path) -> None:
    for text in ("-eyJ" * 250_000, f"{'-eyJ' * 125_000}.eyJ{'-eyJ' * 125_000}", "a.eyJaaaaaaaaaa" * 70_000):
        began = time.process_time()
        credentials.redacted(text)
        assert time.process_time() - began < 5


def test_a_token_is_found_behind_a_hyphen_too() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
    for text in (token, f"Bearer {token}", f"x-{token}", f'"{token}"'):
        assert "zjgNry" not in credentials.redacted(text)
        assert "eyJzd" not in credentials.redacted(text)
    assert credentials.redacted("torch.nn.modules.linear-layers.eyJ") == "torch.nn.modules.linear-layers.eyJ"


def test_of_very_many_credentials_the_first_are_kept(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx_bytes())
    folder = "x" * 200
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "keys.txt").write_text("AKIAABCDEFGHIJKLMNOP\n" * 60_000)
    with below(14 * MB):
        facts = inspect(tmp_path, ["model.onnx", f"{folder}/keys.txt"])
    assert "59995 more" in next(found.finding for found in facts.findings if found.rule == "MYI029")


def test_of_very_many_names_in_pickles_and_modules_the_first_are_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx_bytes())
    pickled = b"".join(b"cos\n" + f"{number:04}".encode() * 200 + b"\n0" for number in range(190)) + b"N."
    paths = [f"{number}.pkl" for number in range(150)]
    for path in paths:
        (tmp_path / path).write_bytes(pickled)
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "x" * 60}] * 20_000))
    with below(16 * MB):
        facts = inspect(tmp_path, ["model.onnx", "modules.json", *paths])
    told = {found.rule: found.finding for found in facts.findings}
    assert "19995 more" in told["MYI022"]
    assert "145 more" in told["MYI011"]


def test_texts_of_a_pickle_fill_no_memory(tmp_path: Path) -> None:
    path, one = tmp_path / "notes.txt", ("\U0001f600" + "x" * 1000).encode()
    path.write_bytes(b"\x80\x04" + (b"X" + struct.pack("<I", len(one)) + one + b"\x94") * 30_000)
    with below(50 * MB):
        assert pickles.disguised(path) is None
    # A name that was said too late to be remembered is none of the list.
    names = b"\x94".join(b"\x8c" + bytes([len(name)]) + name for name in (b"torch", b"Size")) + b"\x94"
    path.write_bytes(path.read_bytes() + names + b"j" + struct.pack("<I", 30_000) + b"j" + struct.pack("<I", 30_001)
                     + b"\x93.")  # fmt: skip
    found = pickles.disguised(path)
    assert found
    assert found.refused == [pickles.MADE_WHILE_LOADING]
