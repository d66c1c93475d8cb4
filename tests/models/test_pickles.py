"""Pickles: what loading one would import is told without loading it, and no way round the list is open."""

import bz2
import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from apps.models import storage
from apps.models.formats import pickles
from apps.models.models import Level, Model, Status
from tests.models.conftest import Zip, config, good, safetensors_bytes

Imported = Callable[[Path], Model]
TORCH_NAMES = b"ctorch._utils\n_rebuild_tensor_v2\n0"


class Evil:
    """Makes a file where it is loaded."""

    def __init__(self, module: str = "os", name: str = "system") -> None:
        self.module, self.name = module, name

    def __reduce__(self):
        import importlib

        return getattr(importlib.import_module(self.module), self.name), ("touch /tmp/modelyard-was-run",)


def program(*opcodes: bytes) -> bytes:
    return b"\x80\x04" + b"".join(opcodes) + b"."


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def names(module: str, name: str) -> bytes:
    """A pickle that imports one name, and calls it."""
    return program(text(module), text(name), b"\x93", b")", b"R")


def state(names: bytes = TORCH_NAMES) -> bytes:
    """A pickle as PyTorch writes for a state dict."""
    return b"\x80\x02" + names + pickle.dumps(OrderedDict(w=1), 2)[2:]


def torch_zip(data: bytes, more: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        files = {"model/data.pkl": data, "model/data/0": bytes(16), "model/version": b"3\n", **(more or {})}
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def legacy(data: bytes) -> bytes:
    head = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    return head + data + pickle.dumps(["0"], 2) + bytes(64)


def with_broken_checksum(archive: bytes) -> bytes:
    data = bytearray(archive)
    for mark, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        data[data.index(mark) + offset] ^= 0xFF
    return bytes(data)


def found(tmp_path: Path, data: bytes) -> pickles.Pickle:
    (tmp_path / "file").write_bytes(data)
    return pickles.read(tmp_path / "file")


@pytest.mark.parametrize(
    "data", [state(), torch_zip(state()), legacy(state()), torch_zip(state(), {"model/byteorder": b"little"})]
)
def test_a_state_dict_of_tensors_is_on_the_list(tmp_path: Path, data: bytes) -> None:
    one = found(tmp_path, data)
    assert one.allowed, one.said()
    assert "torch._utils._rebuild_tensor_v2" in one.names


EVIL = pickle.dumps(Evil(), 4)
BYPASSES = {
    "os.system in a zip": torch_zip(EVIL),
    "os.system in the older format": legacy(EVIL),
    "os.system as the machine's description": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + EVIL,
    "after an honest pickle": state() + EVIL,
    "a zip with a checksum that is wrong (CVE-2025-10156)": with_broken_checksum(torch_zip(EVIL)),
    "a zip with a wrong checksum and an honest pickle": with_broken_checksum(torch_zip(state())),
    "a module below an allowed one (CVE-2025-10157)": torch_zip(names("torch._utils.sub", "_rebuild_tensor_v2")),
    "a name that begins like an allowed one": torch_zip(names("torch", "FloatStorageX")),
    "a name of an allowed name": torch_zip(names("collections", "OrderedDict.__init__.__globals__")),
    "a module that scanners forgot": torch_zip(names("asyncio.unix_events", "_UnixSubprocessTransport._start")),
    "another pickle in the zip": torch_zip(state(), {"model/other.pkl": EVIL}),
    "TorchScript": torch_zip(state(), {"model/code/__torch__.py": b"print()"}),
    "a name from the memo, replaced": program(text("collections"), b"\x94", b"0", text("os"), b"q\0", b"0", b"h\0", text("system"), b"\x93", b")R"),
    "a name that is made while it is loaded": program(text("os"), b"\x85", b"0", b"(", text("os"), b"1", b"N", b"N", b"\x93", b")R"),
    "an extension": program(b"\x82\x01", b")R"),
    "INST": b"(S'touch /tmp/modelyard-was-run'\nios\nsystem\n.",
    "a pickle that begins and a zip that ends the file": state() + torch_zip(EVIL),
    "something before the zip": b"PK\x03\x04" + bytes(40) + torch_zip(EVIL),
    "cut off": torch_zip(EVIL)[:-30],
    "no STOP": EVIL[:-1],
    "a length that lies": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "not a pickle at all": b"\x89HDF\r\n\x1a\n" + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("case", BYPASSES)
def test_no_way_round_the_list_is_open(make_zip: Zip, imported: Imported, case: str) -> None:
    model = imported(make_zip({"pytorch_model.bin": BYPASSES[case], "config.json": b"{}"}))
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, "MYI015"), model.failure
    assert not Path("/tmp/modelyard-was-run").exists()
    assert not storage.upload(model.pk).exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_the_same_name_twice_is_not_allowed(tmp_path: Path) -> None:
    made = io.BytesIO(torch_zip(state()))
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("model/data.pkl", EVIL)
    assert "twice" in found(tmp_path, made.getvalue()).unreadable


DISGUISES = {
    "model.safetensors": ("MYI013", EVIL),  # CVE-2025-10155: another extension
    "config.json": ("MYI021", EVIL),
    "vocab.txt": ("MYI017", EVIL),
    "spiece.model": ("MYI017", EVIL),
    "notes.md": ("MYI017", pickle.dumps(Evil(), 0)),
    "merges.txt": ("MYI017", pickle.dumps(Evil(), 0)[:-1] + b"no STOP, and run before that is seen"),
    "training.json": ("MYI017", pickle.dumps(Evil(), 2)),
    "model.bin.": ("MYI009", EVIL),
    "voice.npy": ("MYI017", b"".join([b"\x93NUMPY\1\0", struct.pack("<H", 60), b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}".ljust(60), EVIL])),
    "weights.data": ("MYI018", torch_zip(EVIL)),
    "tokenizer.model": ("MYI018", b"\x7fELF" + bytes(60)),
    "extra.dat": ("MYI018", b"\x1f\x8b\x08\x00" + bytes(60)),
    "flags.dat": ("MYI018", b"\x1f\x8b\x08\x1c" + bytes(60)),
    "fast.dat": ("MYI018", bz2.compress(EVIL, 1)),
    "empty.dat": ("MYI018", bz2.compress(b"", 8) + bz2.compress(EVIL)),
    "README": ("MYI018", bytes(257) + b"ustar" + bytes(250)),
    "other.dat": ("MYI018", b"\x89HDF\r\n\x1a\n" + bytes(60)),
}  # fmt: skip


@pytest.mark.parametrize("name", DISGUISES)
def test_a_file_under_another_name_is_found_by_its_content(make_zip: Zip, imported: Imported, name: str) -> None:
    rule, data = DISGUISES[name]
    model = imported(make_zip({**good(), name: data}))
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, rule), model.failure
    assert not Path("/tmp/modelyard-was-run").exists()


HARMLESS = {
    "vocab.txt": b"cat\ndog\nbird\n", "words.txt": b"config\nname\nb\n", "a.md": b"i am\nhere\n.\n", "b.txt": b"", "c.txt": b".",
    "zahlen.npy": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_ordinary_files_are_no_pickles(make_zip: Zip, imported: Imported, name: str) -> None:
    numbers = io.BytesIO()
    numpy.save(numbers, numpy.zeros(4))
    model = imported(make_zip({**good(), name: HARMLESS[name] or numbers.getvalue()}))
    assert model.status == Status.READY, model.failure


def test_the_report_says_what_a_pickle_that_is_left_out_would_import(make_zip: Zip, imported: Imported) -> None:
    files = {"model.safetensors": safetensors_bytes(), "pytorch_model.bin": torch_zip(EVIL), "old.pt": legacy(state())}
    model = imported(make_zip(files))
    said = model.findings.get(rule="MYI011")
    assert (model.status, said.level) == (Status.READY, Level.WARN)
    assert "pytorch_model.bin would import posix.system" in said.finding
    assert "old.pt would import tensors only" in said.finding
    assert not model.files.exclude(path="model.safetensors").exists()


def test_pickles_that_pass_the_list_are_refused_all_the_same(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip({"pytorch_model.bin": torch_zip(state()), "config.json": config()}))
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, "MYI016")
    assert storage.upload(model.pk).exists()
