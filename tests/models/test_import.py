"""What comes in, what is refused, and what stays behind."""

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from apps.models import archive, operations, pipeline, storage
from apps.models.models import Level, Model, Status
from apps.models.rules import RULES
from modelyard.problems import Problem
from tests.models.conftest import Zip, config, good, onnx_bytes, safetensors_bytes

Imported = Callable[[Path], Model]
TOKENIZER = config(model={"type": "WordPiece"}, version="1.0")


def link() -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo("link.onnx")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, b"/etc/passwd"


def encrypted(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    return path


def left_behind(model: Model) -> list[str]:
    return [path.name for path in Path(settings.MODELS_DIR).iterdir() if path.name.startswith(model.pk)]


def test_an_onnx_model_becomes_ready_with_its_facts(make_zip: Zip, imported: Imported) -> None:
    files = {**good(), "config.json": config(architectures=["BertModel"], max_position_embeddings=512)}
    model = imported(make_zip({**files, "tokenizer.json": TOKENIZER, "modules.json": b"[]"}))
    assert (model.status, model.format, model.task) == (Status.READY, "onnx", "feature-extraction")
    assert (model.architecture, model.context_length, model.parameter_count) == ("BertModel", 512, 4)
    assert (model.name, model.licence) == ("tiny", "apache-2.0")
    assert model.files.count() == 5
    assert not storage.upload(model.pk).exists()
    assert not model.findings.exclude(level=Level.PASS).exists()


def test_a_safetensors_model_becomes_ready(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip({"folder/model.safetensors": safetensors_bytes(), "folder/config.json": config()}))
    assert (model.status, model.format, model.parameter_count) == (Status.READY, "safetensors", 15)
    assert sorted(model.files.values_list("path", flat=True)) == ["config.json", "model.safetensors"]


def test_files_cannot_be_written_after_the_import(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip(good()))
    assert (storage.folder(model.pk) / "model.onnx").stat().st_mode & 0o222 == 0


def test_external_data_beside_the_graph_is_kept(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip({"model.onnx": onnx_bytes("weights.bin"), "weights.bin": b"\0" * 16}))
    assert model.status == Status.READY
    assert model.files.filter(path="weights.bin").exists()


def test_pickles_beside_safetensors_are_left_out(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip({"model.safetensors": safetensors_bytes(), "pytorch_model.bin": b"pickle"}))
    assert model.status == Status.READY
    assert model.findings.get(rule="MYI011").level == Level.WARN
    assert not (storage.folder(model.pk) / "pytorch_model.bin").exists()


def test_code_of_its_own_is_flagged(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip({**good(), "config.json": config(auto_map={"AutoModel": "x.Y"})}))
    assert model.findings.get(rule="MYI022").level == Level.WARN


BAD = {
    "slip": ("MYI002", [("../evil.onnx", b"x")]),
    "absolute": ("MYI002", [("/etc/evil.onnx", b"x")]),
    "drive": ("MYI002", [("C:evil.onnx", b"x")]),
    "backslash": ("MYI002", [("..\\evil.onnx", b"x")]),
    "a name of 300 characters": ("MYI002", [("x" * 300 + ".onnx", b"x")]),
    "a file in 32 folders": ("MYI002", [("a/" * 32 + "model.onnx", onnx_bytes())]),
    "symlink": ("MYI003", [link()]),
    "the same name twice": ("MYI004", [("model.onnx", b"x"), ("model.onnx", b"y")]),
    "the same name in capitals": ("MYI004", [("model.onnx", b"x"), ("MODEL.onnx", b"y")]),
    "a file where a folder is": ("MYI004", [("a", b"x"), ("a/model.onnx", b"y")]),
    "an archive inside": ("MYI005", [("inner.zip", b"PK")]),
    "empty": ("MYI001", []),
    "pickle weights only": ("MYI015", [("pytorch_model.bin", b"\x80\x04"), ("config.json", b"{}")]),
    "no weights": ("MYI010", [("README.md", b"hello")]),
    "ONNX that isn't one": ("MYI012", [("model.onnx", b"this is text and no graph")]),
    "external data outside": ("MYI012", [("model.onnx", onnx_bytes("../../etc/passwd"))]),
    "external data missing": ("MYI012", [("model.onnx", onnx_bytes("gone.bin"))]),
    "external data too short": ("MYI012", [("model.onnx", onnx_bytes("w.bin")), ("w.bin", b"\0" * 15)]),
    "safetensors that lie": ("MYI013", [("model.safetensors", struct.pack("<Q", 2**40) + b"{}")]),
    "a shard that is missing": ("MYI013", [
        ("model.safetensors", safetensors_bytes()),
        ("model.safetensors.index.json", config(weight_map={"a": "other.safetensors"})),
    ]),
    "GGUF that isn't one": ("MYI014", [("model.gguf", b"GGUX" + b"\0" * 40)]),
    "a tokenizer that doesn't parse": ("MYI020", [*good().items(), ("tokenizer.json", b"{oops")]),
    "a tokenizer that is none": ("MYI020", [*good().items(), ("tokenizer.json", b"[]")]),
    "deep JSON": ("MYI021", [*good().items(), ("config.json", b"[" * 200_000)]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", BAD)
def test_bad_archives_fail_with_the_rule_and_leave_nothing(make_zip: Zip, imported: Imported, case: str) -> None:
    rule, files = BAD[case]
    model = imported(make_zip(files))
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, rule), model.failure
    assert model.failure
    assert model.next_step
    assert model.findings.get().level == Level.BLOCK
    assert left_behind(model) == []
    assert storage.upload(model.pk).exists() == RULES[rule].overridable


def test_not_a_zip_fails(tmp_path: Path, imported: Imported) -> None:
    path = tmp_path / "text.zip"
    path.write_text("not a zip at all")
    assert imported(path).failure_code == "MYI001"


@pytest.mark.parametrize("cut", [10, 200, -30])
def test_a_truncated_zip_fails(make_zip: Zip, imported: Imported, cut: int) -> None:
    path = make_zip({**good(), "big.txt": bytes(range(256)) * 10})
    path.write_bytes(path.read_bytes()[:cut])
    assert imported(path).failure_code == "MYI001"


def test_a_damaged_entry_fails(make_zip: Zip, imported: Imported) -> None:
    path = make_zip(good())
    data = bytearray(path.read_bytes())
    data[60:70] = b"\xff" * 10
    path.write_bytes(data)
    model = imported(path)
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, "MYI001")


def test_an_encrypted_entry_fails(make_zip: Zip, imported: Imported) -> None:
    assert imported(encrypted(make_zip({"model.onnx": onnx_bytes()}))).failure_code == "MYI007"


def test_zeros_that_unpack_to_a_thousand_times_their_size_are_refused(tmp_path: Path, imported: Imported) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped, zipped.open("model.onnx", "w") as entry:
        for _ in range(100):
            entry.write(bytes(2**20))
    model = imported(path)
    assert model.failure_code == "MYI006"
    assert "times its size" in model.failure


def test_an_entry_larger_than_it_says_is_stopped(make_zip: Zip, imported: Imported) -> None:
    path = make_zip({"model.onnx": b"x" * 1000})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 1000), struct.pack("<I", 10)))
    model = imported(path)
    assert model.status == Status.IMPORT_FAILED
    assert left_behind(model) == []


def test_more_than_is_allowed_is_refused(make_zip: Zip, imported: Imported, settings) -> None:
    settings.MAX_UNPACKED_BYTES = 100
    assert imported(make_zip({"model.onnx": b"x" * 101})).failure_code == "MYI006"


def test_a_full_disk_keeps_the_archive_for_a_retry(
    make_zip: Zip, imported: Imported, monkeypatch: pytest.MonkeyPatch, person: User
) -> None:
    monkeypatch.setattr(archive, "FREE_RESERVE", 2**62)
    model = imported(make_zip(good()))
    assert (model.failure_code, storage.upload(model.pk).exists()) == ("MYI008", True)
    monkeypatch.undo()
    pipeline.run(operations.retry(model, by=person).pk)
    model.refresh_from_db()
    assert model.status == Status.READY


@pytest.mark.parametrize("name", ["模型.zip", "модель v2.zip", "a" * 120 + ".zip", "UPPER.ZIP", "ﬁne-é.zip"])
def test_names_in_any_script_are_kept(name: str) -> None:
    assert operations.name_of(name) == name[:-4]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("x" * 300 + ".zip", "invalid_name"),
        (".zip", "invalid_name"),
        ("a\tb\x07.zip", "invalid_name"),
        ("m.tar", "not_a_zip"),
    ],
)
def test_names_that_will_not_do_are_refused(name: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        operations.name_of(name)
    assert caught.value.code == code
    assert caught.value.next_step


def test_a_path_in_the_file_name_is_no_path() -> None:
    assert operations.name_of("../../etc/model.zip") == "model"
    assert operations.name_of("C:\\Users\\anna\\model.zip") == "model"


def test_of_two_imports_of_one_name_one_is_refused(make_zip: Zip, person: User) -> None:
    operations.import_file(make_zip(good()), "tiny", by=person)
    with pytest.raises(Problem, match="already") as caught:
        operations.import_file(make_zip(good(), "other.zip"), "tiny", by=person)
    assert caught.value.code == "name_taken"
    assert Model.objects.count() == 1


def test_deleting_while_importing_cancels_without_a_trace(
    make_zip: Zip, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    identifier = model.pk
    look = archive.look

    def look_and_delete(*args, **kwargs):
        operations.delete(Model.objects.get(pk=identifier), by=person)
        return look(*args, **kwargs)

    monkeypatch.setattr(archive, "look", look_and_delete)
    pipeline.run(identifier)
    assert not Model.objects.exists()
    assert not storage.upload(identifier).exists()
    assert not list(Path(settings.MODELS_DIR).glob(f"{identifier}*"))


def test_a_model_in_use_is_not_deleted(make_zip: Zip, imported: Imported, person: User) -> None:
    from apps.deployments import operations as deployments

    model = imported(make_zip(good()))
    deployments.create(model=model, name="user", runtime="echo", by=person)
    with pytest.raises(Problem, match="used by user"):
        operations.delete(model, by=person)
    assert storage.folder(model.pk).exists()


def test_an_interrupted_import_is_taken_up_again_and_ends_well(
    make_zip: Zip, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Import, "_register", lambda *_: (_ for _ in ()).throw(SystemExit("killed here")))
        with pytest.raises(SystemExit):
            pipeline.run(model.pk)
    assert pipeline.sweep() == []
    Model.objects.update(lease_until="2020-01-01T00:00Z")
    assert pipeline.sweep() == [model.pk]
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, model.attempts) == (Status.READY, 2)


def test_an_import_interrupted_too_often_fails_and_says_so(make_zip: Zip, person: User) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    Model.objects.update(lease_until="2020-01-01T00:00Z", attempts=3)
    pipeline.sweep()
    model.refresh_from_db()
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, "interrupted")
    assert storage.upload(model.pk).exists()


def test_an_import_is_done_once_at_a_time(make_zip: Zip, person: User) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    assert pipeline.Import(model.pk)._take_lease()
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert model.status == Status.IMPORTING
