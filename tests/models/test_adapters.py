"""Adapters: which base they are for, whether they fit it, and what becomes of both."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors.numpy
from django.contrib.auth.models import User

from apps.models import operations, pipeline
from apps.models.adapters import bases
from apps.models.models import Kind, Level, Model, Status
from modelyard.problems import Problem
from tests.models.conftest import Files, Zip, config, good

Imported = Callable[[Path], Model]
SIZE, MODULE = 16, "model.layers.0.self_attn.q_proj"


def zeros(**shapes: tuple[int, ...]) -> bytes:
    arrays = {name: numpy.zeros(shape, dtype=numpy.float32) for name, shape in shapes.items()}
    return bytes(safetensors.numpy.save(arrays))


def base_files(size: int = SIZE, module: str = MODULE) -> Files:
    about = config(architectures=["LlamaForCausalLM"], max_position_embeddings=512)
    return {"config.json": about, "model.safetensors": zeros(**{f"{module}.weight": (size, size)})}


def adapter_files(*, size: int = SIZE, rank: int = 4, module: str = MODULE, **said: Any) -> Files:
    key = f"base_model.model.{module}"
    shapes = {f"{key}.lora_A.weight": (rank, size), f"{key}.lora_B.weight": (size, rank)}
    usual = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    told = {**usual, "base_model_name_or_path": "acme/Llama", **said}
    return {"adapter_config.json": config(**told), "adapter_model.safetensors": zeros(**shapes)}


@pytest.fixture
def base(make_zip: Zip, imported: Imported) -> Model:
    return imported(make_zip(base_files(), "Llama.zip"))


@pytest.fixture
def adapter(base: Model, make_zip: Zip, imported: Imported) -> Model:
    return imported(make_zip(adapter_files(), "polite.zip"))


def test_an_adapter_finds_the_base_that_it_names(adapter: Model, base: Model) -> None:
    assert (adapter.status, adapter.kind, adapter.base_model) == (Status.READY, Kind.ADAPTER, base)
    assert (adapter.architecture, adapter.task, adapter.context_length) == ("LlamaForCausalLM", "text-generation", 512)
    assert adapter.adapter["rank"] == 4
    assert adapter.adapter["target_modules"] == ["q_proj"]
    assert adapter.base_revision(1) == base.revision
    assert {found.rule for found in adapter.findings.filter(level=Level.PASS)} >= {"MYI040", "MYI041", "MYI042"}


def test_a_chosen_base_comes_before_the_named_one(base: Model, make_zip: Zip, person: User) -> None:
    files = adapter_files(base_model_name_or_path="somebody/else")
    model = operations.import_file(make_zip(files, "polite.zip"), "polite", by=person, base_model=base)
    assert model.kind == Kind.ADAPTER
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, model.base_model) == (Status.READY, base)
    assert "somebody/else" in model.findings.get(rule="MYI042", level=Level.WARN).finding


WRONG: dict[str, tuple[str, Files]] = {
    "of another size": ("MYI042", adapter_files(size=SIZE * 2)),
    "for layers that the base has not": ("MYI042", adapter_files(module="model.layers.7.self_attn.q_proj")),
    "for a base that is not here": ("MYI041", adapter_files(base_model_name_or_path="acme/Other")),
    "that names no base": ("MYI041", adapter_files(base_model_name_or_path=None)),
    "of another rank than it says": ("MYI040", adapter_files(rank=2)),
    "of another method": ("MYI040", adapter_files(peft_type="IA3")),
    "without a rank": ("MYI040", adapter_files(r=0)),
    "without matrices": ("MYI040", {**adapter_files(), "adapter_model.safetensors": zeros(w=(2, 2))}),
    "without weights": ("MYI010", {"adapter_config.json": config(peft_type="LORA", r=4)}),
    "that is no JSON": ("MYI040", {**adapter_files(), "adapter_config.json": b"{"}),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_adapter_is_refused(base: Model, make_zip: Zip, imported: Imported, case: str) -> None:
    rule, files = WRONG[case]
    model = imported(make_zip(files, "polite.zip"))
    assert (model.status, model.failure_code) == (Status.IMPORT_FAILED, rule), model.failure
    assert model.failure
    assert model.next_step


def test_matrices_that_do_not_fit_each_other_are_refused(base: Model, make_zip: Zip, imported: Imported) -> None:
    key = f"base_model.model.{MODULE}"
    weights = zeros(**{f"{key}.lora_A.weight": (4, SIZE), f"{key}.lora_B.weight": (SIZE, 3)})
    model = imported(make_zip({**adapter_files(), "adapter_model.safetensors": weights}, "polite.zip"))
    assert model.failure_code == "MYI040"


def test_a_module_is_found_under_the_prefix_of_another_version(make_zip: Zip, imported: Imported) -> None:
    imported(make_zip(base_files(module="language_model.layers.0.self_attn.q_proj"), "Llama.zip"))
    assert imported(make_zip(adapter_files(), "polite.zip")).status == Status.READY


@pytest.mark.parametrize("last", ["language_model.model.", "vision_tower."])
def test_layers_of_pictures_are_not_taken_for_those_of_the_text(make_zip: Zip, imported: Imported, last: str) -> None:
    sizes = {f"language_model.{MODULE}.weight": SIZE, "vision_tower.layers.0.self_attn.q_proj.weight": SIZE * 3}
    order = sorted(sizes, key=lambda name: name.startswith(last))
    both = zeros(**{name: (sizes[name], sizes[name]) for name in order})
    imported(make_zip({**base_files(), "model.safetensors": both}, "Llama.zip"))
    module = MODULE.replace("model.", "model.language_model.")
    assert imported(make_zip(adapter_files(module=module), "polite.zip")).status == Status.READY
    wrong = imported(make_zip(adapter_files(module=module, size=SIZE * 2), "wrong.zip"))
    assert wrong.failure_code == "MYI042"


def test_an_adapter_without_its_base_is_retried_when_that_is_here(
    make_zip: Zip, imported: Imported, person: User
) -> None:
    model = imported(make_zip(adapter_files(), "polite.zip"))
    assert model.failure_code == "MYI041"
    base = imported(make_zip(base_files(), "Llama.zip"))
    pipeline.run(operations.retry(model, by=person).pk)
    model.refresh_from_db()
    assert (model.status, model.base_model) == (Status.READY, base)


def test_another_base_is_chosen_for_the_next_try(
    base: Model, make_zip: Zip, imported: Imported, person: User, client: Any
) -> None:
    model = imported(make_zip(adapter_files(base_model_name_or_path="x/y"), "polite.zip"))
    client.force_login(person)
    assert "Retry with this base" in client.get(f"/admin/models/model/{model.pk}/change/").text
    answer = client.post(f"/api/v1/models/{model.pk}/retry/", {"base_model": "Llama"}, "application/json")
    assert answer.status_code == 202, answer.content
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, model.base_model) == (Status.READY, base)


def test_a_base_is_not_deleted_while_an_adapter_needs_it(adapter: Model, base: Model, person: User) -> None:
    with pytest.raises(Problem, match="it is the base of polite") as refused:
        operations.delete(base, by=person)
    assert refused.value.code == "in_use"
    operations.delete(adapter, by=person)
    operations.delete(base, by=person)
    assert not Model.objects.exists()


def test_an_adapter_is_no_base(adapter: Model, make_zip: Zip, person: User, client: Any) -> None:
    client.force_login(person)
    with make_zip(adapter_files(), "more.zip").open("rb") as file:
        answer = client.post("/api/v1/models/", {"file": file, "base_model": adapter.pk})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_base")


def test_a_whole_model_needs_no_base(base: Model, make_zip: Zip, person: User) -> None:
    model = operations.import_file(make_zip(base_files(), "other.zip"), "other", by=person, base_model=base)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert model.failure_code == "MYI040"


def test_the_api_tells_the_base(adapter: Model, base: Model, person: User, client: Any) -> None:
    client.force_login(person)
    listed = client.get("/api/v1/models/", {"kind": "adapter", "base_model": base.pk}).json()["results"]
    assert [(row["id"], row["base_model"]) for row in listed] == [(adapter.pk, base.pk)]
    assert client.get(f"/api/v1/models/{adapter.pk}/").json()["adapter"]["base"] == "acme/Llama"


def test_the_pages_show_both_ways(adapter: Model, base: Model, person: User, client: Any) -> None:
    client.force_login(person)
    assert f"/models/model/{base.pk}/" in client.get(f"/admin/models/model/{adapter.pk}/lineage/").text
    assert f"/models/model/{adapter.pk}/" in client.get(f"/admin/models/model/{base.pk}/lineage/").text
    assert f'value="{base.pk}"' in client.get("/admin/models/model/import/").text


def test_only_a_runtime_that_serves_adapters_gets_one(adapter: Model, base: Model) -> None:
    from apps.deployments import fit, runtimes

    assert [found.code for found in fit.findings(adapter, "onnx", {})] == ["adapters_unsupported"]
    assert fit.findings(adapter, "echo", {}) == []
    given = runtimes.as_contract(adapter)
    assert given.adapter
    assert (given.id, given.adapter.id) == (base.pk, adapter.pk)
    assert (given.path / "model.safetensors").is_file()
    assert (given.adapter.path / "adapter_config.json").is_file()


def test_an_export_of_an_adapter_comes_back(adapter: Model, base: Model, tmp_path: Path, imported: Imported) -> None:
    from apps.deployments import portable

    path = tmp_path / "again.zip"
    path.write_bytes(b"".join(portable.export(adapter).pieces))
    assert "adapter_config.json" in zipfile.ZipFile(path).namelist()
    again = imported(path)
    assert (again.status, again.base_model) == (Status.READY, base)


def test_a_bundle_of_an_adapter_brings_its_base_under_whatever_name(
    make_zip: Zip, imported: Imported, person: User, tmp_path: Path, settings: Any
) -> None:
    from apps.models.bundles import making
    from apps.models.catalogue import operations as catalogue

    base = imported(make_zip(base_files(), "our own.zip"))
    model = operations.import_file(make_zip(adapter_files(), "polite.zip"), "polite", by=person, base_model=base)
    pipeline.run(model.pk)
    model.refresh_from_db()
    making.make([making.Item(model)], tmp_path / "bundle", lambda *_: None)
    operations.delete(model, by=person)
    operations.delete(base, by=person)
    settings.CATALOGUE = [str(tmp_path / "bundle")]
    for entry in ("our-own", "polite"):
        pipeline.run(catalogue.start(entry, by=person).pk)
    found = Model.objects.get(name="polite")
    assert (found.status, str(found.base_model)) == (Status.READY, "our own"), found.failure


def test_an_upload_by_tus_names_the_base(base: Model, make_zip: Zip, person: User) -> None:
    from apps.models.uploads import operations as uploads

    data = make_zip(adapter_files(base_model_name_or_path="x/y"), "polite.zip").read_bytes()
    upload = uploads.begin("polite.zip", len(data), by=person, base_model=base)
    uploads.path_of(upload.pk).write_bytes(data)
    assert uploads.finish(upload).base_model == base


def test_an_onnx_model_is_offered_to_no_adapter(make_zip: Zip, imported: Imported) -> None:
    imported(make_zip(good(), "Llama.zip"))
    assert bases.offered() == []
    assert bases.named("acme/Llama") is None


@pytest.mark.parametrize("said", [{"lora_alpha": 10**400}, {"lora_alpha": float("inf")}, {"lora_alpha": float("nan")},
                                  {"rank_pattern": {"q_proj": [4]}}])  # fmt: skip
def test_numbers_that_are_none_end_no_import(
    base: Model, make_zip: Zip, imported: Imported, said: dict[str, Any]
) -> None:
    model = imported(make_zip(adapter_files(**said), "odd.zip"))
    assert (model.status, model.adapter["alpha"]) == (Status.READY, 8.0 if "rank_pattern" in said else 4.0)


def test_a_base_is_no_remedy_for_what_failed_otherwise(base: Model, make_zip: Zip, person: User) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    Model.objects.filter(pk=model.pk).update(status=Status.IMPORT_FAILED, failure_code="MYI008")
    model.refresh_from_db()
    with pytest.raises(Problem, match="isn't what tiny failed for"):
        operations.retry(model, by=person, base_model=base)
    assert operations.retry(model, by=person).kind == Kind.BASE


@pytest.mark.parametrize("wanted", ["nobody", "a\0b"])
def test_a_base_that_is_not_there_is_told(base: Model, wanted: str) -> None:
    assert bases.chosen(base.name) == bases.chosen(base.pk) == base
    with pytest.raises(Problem, match="There is no model"):
        bases.chosen(wanted)
