"""Attacks on whoever reads or serves a model, and how each ends."""

import json
import struct
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from apps.models import credentials, names, zips
from apps.models.formats import gguf, safetensors, templates, tokenizers
from apps.models.formats.onnx import Malformed, check_external, read
from apps.models.models import Level, Model, Status
from fuzz import seeds
from tests.models.conftest import Zip, config, good

Imported = Callable[[Path], Model]
HF = "hf_" + "Ab3" * 12
PLAIN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
TOKENIZER: dict[str, Any] = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}


def chat(template: object) -> dict[str, bytes]:
    return {**good(), "tokenizer_config.json": config(chat_template=template)}


def tokenizer(**values: Any) -> dict[str, bytes]:
    return {**good(), "tokenizer.json": config(**{**TOKENIZER, **values})}


def graph(nodes: list[Any], functions: list[Any] | None = None, **opsets: int) -> bytes:
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in "xy")
    made = onnx.helper.make_graph(nodes, "g", [x], [y])
    imports = [onnx.helper.make_opsetid(domain.replace("_", "."), version) for domain, version in opsets.items()]
    imports.append(onnx.helper.make_opsetid("", 17))
    return onnx.helper.make_model(made, opset_imports=imports, functions=functions or []).SerializeToString()


def outside() -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", dims=[4], data_type=1, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def tensors(**each: Any) -> bytes:
    raw = json.dumps(each).encode()
    return struct.pack("<Q", len(raw)) + raw


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
BLOCKED = {
    "a template that reaches for classes": ("MYI027", chat("{{ ''.__class__.__mro__ }}")),
    "one that does so in a branch not taken": ("MYI027", chat("{% if messages|length > 99 %}{{ x.__globals__ }}{% endif %}")),
    "one that asks in brackets": ("MYI027", chat("{{ messages['__init__'] }}")),
    "one that changes its input": ("MYI027", chat("{{ messages.append(1) }}")),
    "one that asks by a filter": ("MYI027", chat("{{ ''|attr('__class__') }}")),
    "one that loads another": ("MYI027", chat("{% include '/etc/passwd' %}")),
    "one that loops for ever": ("MYI027", chat("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")),
    "one that takes all memory": ("MYI027", chat("{{ 'a' * 10 ** 10 }}")),
    "one that writes without end": ("MYI027", chat("{% for a in range(99999) %}{{ 'a' * 999 }}{% endfor %}")),
    "one with seven loops in one another": ("MYI027", chat("{% for a in messages %}" * 7 + "{% endfor %}" * 7)),
    "one of a million characters": ("MYI027", chat("a" * 10**6)),
    "one in a list": ("MYI027", chat([{"name": "default", "template": PLAIN}, {"name": "rag", "template": "{{ x.__class__ }}"}])),
    "one in a file": ("MYI027", {**good(), "chat_template.jinja": b"{{ x.__class__ }}"}),
    "one of a processor": ("MYI027", {**good(), "chat_template.json": config(chat_template="{{ x.__class__ }}")}),
    "one in a GGUF header": ("MYI027", {"m.gguf": seeds.gguf().replace(b"{{ messages[0].content }}", b"{{messages[0].__class__}}")}),
    "JSON that says a thing twice": ("MYI025", {**good(), "tokenizer_config.json": b'{"a": {"auto_map": {}, "auto_map": 1}}'}),
    "JSON in JSON in JSON": ("MYI025", {**good(), "generation_config.json": b"[" * 65 + b"]" * 65}),
    "JSON as deep as it is long": ("MYI025", {**good(), "generation_config.json": b"[" * 10**6}),
    "JSON of lists without end": ("MYI025", {**good(), "a.json": b"[" + b"[]," * 2_100_000 + b"[]]"}),
    "a config of lists without end": ("MYI021", {**good(), "config.json": b'{"a": [' + b"[]," * 2_100_000 + b"[]]}"}),
    "a number of a million digits": ("MYI021", {**good(), "config.json": b'{"a": ' + b"9" * 10**6 + b"}"}),
    "a pattern that tries every way": ("MYI026", tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": r"(\w+\s?)*$"}})),
    "a normalizer that multiplies": ("MYI026", tokenizer(normalizer={"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}] * 9})),
    "a token of a megabyte": ("MYI026", tokenizer(added_tokens=[{"content": "a" * 10**6}])),
    "a hundred thousand added tokens": ("MYI026", tokenizer(added_tokens=[{"content": "a"}] * 100_001)),
    "a device of Windows": ("MYI009", {**good(), "aux.json": b"{}"}),
    "a name that ends with a dot": ("MYI009", {**good(), "evil.py.": b"x"}),
    "a stream of NTFS": ("MYI009", {**good(), "model.txt:hidden": b"x"}),
    "one name in two ways of writing": ("MYI004", {**good(), "é.txt": b"x", unicodedata.normalize("NFD", "é.txt"): b"y"}),
    "one name with a dot at its end": ("MYI004", {**good(), "model.onnx.": b"x"}),
    "a dot for a name": ("MYI002", {"./.": b"x"}),
    "external data outside, in a node": ("MYI012", {"m.onnx": graph([onnx.helper.make_node("Constant", [], ["y"], value=outside())])}),
    "a tensor of another size than it says": ("MYI012", {"m.onnx": graph([onnx.helper.make_node("Constant", [], ["y"], value=onnx.TensorProto(dims=[5], data_type=1, raw_data=bytes(16)))])}),
    "a type that is a list": ("MYI013", {"m.safetensors": tensors(a={**F32, "dtype": []}) + bytes(4)}),
    "a tensor of a thousand dimensions": ("MYI013", {"m.safetensors": tensors(a={**F32, "shape": [2**59] * 1000}) + bytes(4)}),
    "bytes behind the tensors": ("MYI013", {"m.safetensors": tensors(a=F32) + bytes(4) + b"#!/bin/sh"}),
    "bytes between tensors": ("MYI013", {"m.safetensors": tensors(a=F32, b={**F32, "data_offsets": [8, 12]}) + bytes(12)}),
    "a tensor that stands in it twice": ("MYI013", {"m.safetensors": tensors(a=F32).replace(b"}}", b"},\"a\":{}}") + bytes(4)}),
    "an index of lists": ("MYI013", {"model.safetensors": tensors(a=F32) + bytes(4),
                                     "model.safetensors.index.json": config(weight_map={"a": []})}),
}  # fmt: skip


@pytest.mark.parametrize("case", BLOCKED)
def test_an_attack_ends_the_import_with_its_rule(make_zip: Zip, imported: Imported, case: str) -> None:
    rule, files = BLOCKED[case]
    model = imported(make_zip(files))
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, rule), model.failure
    assert model.next_step


WARNED = {
    "a template that fails": ("MYI028", chat("{{ raise_exception('I take no messages') }}"), "take no messages"),
    "a template that isn't one": ("MYI028", chat("{% if %}"), "TemplateSyntaxError"),
    "auto_map of a tokenizer": ("MYI022", {**good(), "tokenizer_config.json": config(auto_map={"A": "x.Y"})}, "tokenizer_config"),
    "auto_map deep inside": ("MYI022", {**good(), "a/b.json": config(x=[{"auto_map": {"A": "x.Y"}}])}, "auto_map in a/b.json"),
    "a module of its own": ("MYI022", {**good(), "modules.json": b'[{"type": "evil.Module"}]'}, "evil.Module"),
    "code without a configuration": ("MYI022", {**good(), "x.py": b"print()"}, "x.py"),
    "an operator of somebody's": ("MYI024", {"m.onnx": graph(
        [onnx.helper.make_node("Evil", ["x"], ["y"], domain="evil.ops")], evil_ops=1)}, "evil.ops"),
}  # fmt: skip


@pytest.mark.parametrize("case", WARNED)
def test_what_is_to_be_known_is_a_warning(make_zip: Zip, imported: Imported, case: str) -> None:
    rule, files, said = WARNED[case]
    model = imported(make_zip(files))
    assert model.status == Status.READY, model.failure
    warned = model.findings.get(rule=rule, level=Level.WARN)
    assert said in warned.finding


def test_an_honest_model_with_everything_passes(make_zip: Zip, imported: Imported) -> None:
    files = {
        **good(), "chat_template.jinja": PLAIN.encode(), "config.json": config(time_step_limit=[0.0, float("inf")]),
        "tokenizer.json": tokenizer(pre_tokenizer={"pattern": {"Regex": r"\p{L}+|\s+(?!\S)|\s*[\r\n]+"}})["tokenizer.json"],
        "tokenizer_config.json": config(model_max_length=10**30, chat_template=PLAIN),
    }  # fmt: skip
    model = imported(make_zip(files))
    assert model.status == Status.READY, model.failure
    assert not model.findings.exclude(level=Level.PASS).exists()


def test_a_template_that_refuses_the_system_message_is_fine() -> None:
    text = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + PLAIN
    assert templates.render(text) == ("rendered", "")
    assert (
        templates.render("{% generation %}{{ strftime_now('%Y') }}{{ messages|tojson }}{% endgeneration %}")[0]
        == "rendered"
    )


def test_a_template_has_no_file_and_no_environment() -> None:
    assert templates.render("{{ open('/etc/passwd') }}")[0] == "failed"
    assert templates.render("{{ cycler.__init__.__globals__.os.environ }}")[0] == "refused"


def test_operators_that_the_file_defines_need_no_library(tmp_path: Path) -> None:
    body = [onnx.helper.make_node("Relu", ["a"], ["b"])]
    function = onnx.helper.make_function("own", "F", ["a"], ["b"], body, [onnx.helper.make_opsetid("", 17)])
    (tmp_path / "m.onnx").write_bytes(
        graph([onnx.helper.make_node("F", ["x"], ["y"], domain="own")], [function], own=1)
    )
    assert read(tmp_path / "m.onnx").custom == set()


def test_external_data_in_a_graph_in_a_node_is_seen(tmp_path: Path) -> None:
    y = onnx.helper.make_tensor_value_info("b", 1, [4])
    inner = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["b"])], "in", [], [y], [outside()])
    node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    (tmp_path / "m.onnx").write_bytes(graph([node]))
    with pytest.raises(Malformed, match="outside"):
        check_external(read(tmp_path / "m.onnx"), tmp_path, "m.onnx")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (struct.pack("<QQIQ", 32, 2, 2, 0), struct.pack("<QQIQ", 32, 200, 2, 0), "beyond"),
        (struct.pack("<QIQ", 4, 0, 64), struct.pack("<QIQ", 4, 0, 32), "overlap"),
        (struct.pack("<QIQ", 4, 0, 64), struct.pack("<QIQ", 4, 0, 65), "impossible"),
        (struct.pack("<QIQ", 4, 0, 64), struct.pack("<QIQ", 2**61, 0, 64), "impossible"),
        (b"alignment" + struct.pack("<II", 4, 32), b"alignment" + struct.pack("<II", 4, 31), "alignment"),
        (b"llama.context_length", b"general.architecture", "twice"),
    ],
)
def test_a_gguf_header_that_lies_is_malformed(tmp_path: Path, old: bytes, new: bytes, said: str) -> None:
    assert seeds.gguf().count(old) == 1
    (tmp_path / "m.gguf").write_bytes(seeds.gguf().replace(old, new))
    with pytest.raises(safetensors.Malformed, match=said):
        gguf.read(tmp_path / "m.gguf")


def test_texts_of_a_gguf_header_that_nobody_wants_take_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    name = struct.pack("<Q1sIQ", 1, b"k", 8, 8 * 2**20)
    (tmp_path / "m.gguf").write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + name + bytes(8 * 2**20))
    tracemalloc.start()
    assert gguf.read(tmp_path / "m.gguf").architecture == ""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


SECRETS = {
    "a Hugging Face token": f'{{"token": "{HF}"}}',
    "an AWS access key": "aws = AKIA" + "ABCD2345" * 2,
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a password in an address": "postgres://anna:hunter22@db.example/x",
    "a password or token": 'password = "correct-horse-battery"',
    "an OpenAI or Anthropic key": "sk-proj-" + "a1B2" * 10,
}


@pytest.mark.parametrize("kind", SECRETS)
def test_credentials_are_told_and_never_shown(make_zip: Zip, imported: Imported, kind: str) -> None:
    model = imported(make_zip({**good(), "notes.txt": f"first line\n{SECRETS[kind]}\n".encode()}))
    warned = model.findings.get(rule="MYI029", level=Level.WARN)
    assert f"{kind} in line 2 of notes.txt" in warned.finding
    for secret in (HF, "AKIA", "MIIE", "hunter22", "correct-horse", "a1B2"):
        assert secret not in warned.finding
    assert SECRETS[kind].split("\n")[0] not in credentials.redacted(SECRETS[kind])


def test_files_for_credentials_are_left_out(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip({**good(), ".env": b"TOKEN=x", "keys/id_rsa": b"x", "server.pem": b"x"}))
    assert sorted(model.files.values_list("path", flat=True)) == ["README.md", "model.onnx"]
    assert ".env, keys/id_rsa, server.pem" in model.findings.get(rule="MYI029").finding


def test_a_credential_in_what_a_rule_quotes_is_hidden(make_zip: Zip, imported: Imported) -> None:
    licence = f"---\nlicense: {HF}\n---\n".encode()
    model = imported(make_zip({**good(), "README.md": licence, "config.json": config(architectures=[HF])}))
    assert HF not in model.licence + model.architecture + " ".join(model.findings.values_list("finding", flat=True))
    assert credentials.HIDDEN in model.licence


@pytest.mark.parametrize("name", ["CON", "nul.txt", "com1.json", "a?b", "a.", "b ", "lpt9"])
def test_names_that_windows_changes_are_seen(name: str) -> None:
    assert names._why(name)


@pytest.mark.parametrize("name", ["console.txt", "com10.json", ".gitattributes", "a b.txt", "模型.bin"])
def test_ordinary_names_are_fine(name: str) -> None:
    assert not names._why(name)


def test_a_list_of_entries_without_end_is_refused_before_it_is_read(tmp_path: Path, imported: Imported) -> None:
    path = tmp_path / "many.zip"
    with path.open("wb") as file:
        file.truncate(zips.MAX_DIRECTORY + 100)
        file.seek(0, 2)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, zips.MAX_DIRECTORY + 1, 0, 0))
    assert imported(path).failure_code == "MYI006"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_takes_memory_as_it_likes_is_refused(tmp_path: Path, imported: Imported, method: int) -> None:
    (tmp_path / "odd.zip").write_bytes(seeds.zipped(good(), method))
    assert imported(tmp_path / "odd.zip").failure_code == "MYI006"


def test_an_entry_that_would_begin_before_the_archive_is_no_full_disk(tmp_path: Path, imported: Imported) -> None:
    (tmp_path / "cut.zip").write_bytes(seeds.zipped(good())[1:])
    assert imported(tmp_path / "cut.zip").failure_code == "MYI001"


@pytest.mark.parametrize("pattern", [r"(a+)+", r"(?:x*)*", r"(a|b*){2,}", r"(\w+\s?)*$", r"((ab)+c?)+"])
def test_patterns_that_repeat_what_repeats_are_seen(pattern: str) -> None:
    assert tokenizers.nested(pattern)


@pytest.mark.parametrize("pattern", [
    r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}]?[\p{Lu}\p{Lt}]*[\p{Ll}]+(?i:'s|'t)?", r" ?[^(\s|[.,!?…])]+", r"(?>a+)+", r"(a++)+", r"\(a+\)+", r"(?:[a-z]{1,3})+",
])  # fmt: skip
def test_patterns_in_use_are_fine(pattern: str) -> None:
    assert not tokenizers.nested(pattern)


def test_numbers_of_every_kind_of_file_are_the_real_ones(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(seeds.gguf())
    assert gguf.read(tmp_path / "m.gguf").parameters == 68
