"""An export says how a model was deployed, and importing it fills the deploy form in with the same."""

import hashlib
import json
import re
import subprocess
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest
from django.contrib.auth.models import Group, User
from django.test import AsyncClient, Client
from rest_framework.test import APIClient

from apps.deployments import operations, portable
from apps.deployments.models import Deployment
from apps.deployments.versions import Optimization
from apps.models import exporting, storage
from apps.models.deployconfig import reading
from apps.models.deployconfig.schema import DeployConfig
from apps.models.models import Level, Model, ModelFile, Status
from modelyard import roles
from modelyard.problems import Problem
from tests.deployments.walking import Walk
from tests.models import conftest as library
from tests.models.conftest import good

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"
make_zip, imported = library.make_zip, library.imported  # fixtures
Imported = Callable[[Path], Model]


@pytest.fixture
def model(make_zip, imported) -> Model:
    return imported(make_zip({**good(), "onnx/more.json": b"{}", "empty.txt": b""}, "Tiny model.zip"))


@pytest.fixture
def deployment(model: Model, person: User) -> Deployment:
    return operations.create(
        model=model, name="search", runtime="echo", options={"loud": True, "words_per_second": 7.5}, by=person,
        description="For search.", tags=["a", "b"], replicas=3, ready_seconds=77,
        optimization=Optimization("loud", 0.5, '{"text": "hello"}'),
    )  # fmt: skip


def saved(pieces: Iterator[bytes], path: Path) -> Path:
    path.write_bytes(b"".join(pieces))
    return path


def begun(model: Model, person: User) -> Walk:
    browser = Client()
    browser.force_login(person)
    return Walk(browser, model=model)


def test_a_round_trip_gives_the_same_files_and_the_same_form(
    model: Model,
    deployment: Deployment,
    person: User,
    imported: Imported,
    tmp_path: Path,
) -> None:
    path = saved(portable.export(model).pieces, tmp_path / "Back again.zip")
    first = config_of(path)
    back = imported(path)
    assert back.status == Status.READY
    assert dict(back.files.values_list("path", "sha256")) == dict(model.files.values_list("path", "sha256"))
    walk = begun(back, person)
    general = walk.fields("general")
    assert walk.see("general").context["wizard"].runtime == "echo"
    assert (general["description"], general["tags"]) == ("For search.", "a, b")
    assert walk.fields("optimization") == {"recipe": "loud", "threshold": "0.5", "samples": '{"text": "hello"}'}
    parameters = walk.fields("parameters")
    assert (parameters["option__echo__loud"], parameters["option__echo__words_per_second"]) == ("on", "7.5")
    assert walk.fields("hardware") == {"replicas": "3", "ready_seconds": "77"}
    assert "Filled in from the deployconfig.json" in walk.see("hardware").content.decode()
    assert config_of(saved(portable.export(back).pieces, tmp_path / "Third.zip")) == first


def config_of(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("deployconfig.json"))


def test_what_was_filled_in_deploys_as_it_was(
    model: Model,
    deployment: Deployment,
    person: User,
    imported: Imported,
    tmp_path: Path,
) -> None:
    back = imported(saved(portable.export(model).pieces, tmp_path / "Back.zip"))
    begun(back, person).finish("save", name="again")
    made, first = Deployment.objects.get(name="again").target_version, deployment.target_version
    for name in ("replicas_wanted", "ready_seconds", "recipe", "threshold", "samples"):
        assert getattr(made, name) == getattr(first, name)
    assert made.options["loud"] is True
    assert made.options["words_per_second"] == 7.5


def test_an_export_follows_the_published_schema(model: Model, deployment: Deployment, tmp_path: Path) -> None:
    path = saved(portable.export(model).pieces, tmp_path / "x.zip")
    jsonschema.validate(config_of(path), json.loads((DOCS / "schemas/deployconfig-v1.json").read_text()))


def test_every_tool_reads_the_zip(model: Model, tmp_path: Path) -> None:
    path = saved(portable.export(model).pieces, tmp_path / "x.zip")
    assert subprocess.run(["unzip", "-tq", str(path)], check=False, stdout=subprocess.DEVNULL).returncode == 0
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        for row in model.files.all():
            assert hashlib.sha256(archive.read(row.path)).hexdigest() == row.sha256


def test_two_exports_are_the_same_bytes(model: Model) -> None:
    assert b"".join(portable.export(model).pieces) == b"".join(portable.export(model).pieces)


def test_a_large_file_takes_no_memory_and_64_bit_sizes(model: Model, tmp_path: Path) -> None:
    """5 GiB that take no room on the disk: beyond what 32 bits can say."""
    size = 5 * 2**30
    folder = storage.folder(model.pk)
    with (folder / "large.bin").open("wb") as file:
        file.truncate(size)
    ModelFile.objects.filter(model=model).delete()
    ModelFile.objects.create(model=model, path="large.bin", size=size, sha256="0" * 64)
    tracemalloc.start()
    sent, tail = 0, b""
    for piece in exporting.zipped(model, DeployConfig(version=1)):
        sent += len(piece)
        tail = (tail + piece)[-4096:]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sent > size
    assert b"PK\x06\x06" in tail  # the 64-bit end of the directory
    assert peak < 16 * 2**20


def test_a_chosen_deployment_goes_along_else_the_newest(model: Model, deployment: Deployment, person: User) -> None:
    operations.create(model=model, name="newer", runtime="echo", by=person, options={"start_seconds": 1})
    api = APIClient()
    api.force_authenticate(person)
    address = f"/api/v1/models/{model.pk}/export/"
    assert b'"start_seconds": 1' in b"".join(portable.export(model).pieces)
    assert b'"words_per_second": 7.5' in b"".join(portable.export(model, deployment.pk).pieces)
    assert api.get(f"{address}?deployment=dep_other").json()["code"] == "unknown_deployment"
    assert api.get("/api/v1/models/mdl_other/export/").status_code == 404


def test_a_model_that_was_never_deployed_gives_on_what_came_with_it(model: Model) -> None:
    reading.keep(model.pk, DeployConfig(version=1, runtime="echo"))
    assert b'"runtime": "echo"' in b"".join(portable.export(model).pieces)


def test_what_is_not_ready_is_not_exported(model: Model) -> None:
    Model.objects.update(status=Status.IMPORTING)
    model.refresh_from_db()
    with pytest.raises(Problem, match="isn't Ready"):
        portable.export(model)


async def _asked(person: User, address: str) -> tuple[dict[str, str], bytes]:
    browser = AsyncClient()
    await browser.aforce_login(person)
    answer = await browser.get(address)
    return dict(answer.headers), b"".join([piece async for piece in answer.streaming_content])


@pytest.mark.django_db(transaction=True)
def test_the_page_and_the_api_send_it_piece_by_piece(model: Model, person: User, tmp_path: Path) -> None:
    from asgiref.sync import async_to_sync

    for address in (f"/admin/deployments/deployment/export/{model.pk}/", f"/api/v1/models/{model.pk}/export/"):
        headers, data = async_to_sync(_asked)(person, address)
        assert headers["Content-Type"] == "application/zip"
        assert headers["Content-Disposition"] == 'attachment; filename="Tiny model.zip"'
        (tmp_path / "x.zip").write_bytes(data)
        assert zipfile.ZipFile(tmp_path / "x.zip").testzip() is None


def test_exporting_needs_its_permission(model: Model) -> None:
    roles.create_groups()
    user = User.objects.create(username="eve", is_staff=True)
    user.groups.add(Group.objects.get(name="Viewers"))
    browser, api = Client(), APIClient()
    browser.force_login(user)
    api.force_authenticate(user)
    assert api.get(f"/api/v1/models/{model.pk}/export/").status_code == 403
    assert browser.get(f"/admin/deployments/deployment/export/{model.pk}/").status_code == 403
    assert ">Export<" not in browser.get(f"/admin/models/model/{model.pk}/change/").content.decode()


# --- What comes along in an import ---

WRONG = {
    "no JSON": (b"{oops", "MYI030"),
    "not UTF-8": (b"\xff\xfe", "MYI030"),
    "a list": (b"[]", "MYI030"),
    "deep": (b"[" * 100_000, "MYI030"),
    "an unknown field": (b'{"version": 1, "color": "red"}', "MYI030"),
    "a number that can't be": (b'{"version": 1, "scaling": {"replicas": 0}}', "MYI030"),
    "a NUL": (b'{"version": 1, "runtime": "echo", "options": {"a": "\\u0000"}}', "MYI030"),
    "half a character": (b'{"version": 1, "runtime": "echo", "options": {"a": "\\ud800"}}', "MYI030"),
    "no number": (b'{"version": 1, "runtime": "echo", "options": {"a": NaN}}', "MYI030"),
    "huge": (b'{"version": 1, "description": "' + b"x" * (5 * 2**20) + b'"}', "MYI030"),
    "another version": (b'{"version": 99}', "MYI031"),
    "no version": (b"{}", "MYI031"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_deployconfig_is_a_warning_and_is_not_used(
    make_zip,
    imported: Imported,
    person: User,
    case: str,
) -> None:
    data, rule = WRONG[case]
    model = imported(make_zip({**good(), "deployconfig.json": data}))
    assert model.status == Status.READY, model.failure
    finding = model.findings.get(rule=rule)
    assert finding.level == Level.WARN
    assert finding.next_step
    assert reading.of(model) is None
    assert not model.files.filter(path="deployconfig.json").exists()
    assert "Filled in" not in begun(model, person).see("general").content.decode()


def test_a_runtime_that_is_not_here_is_told_and_the_rest_is_kept(
    make_zip,
    imported: Imported,
    person: User,
) -> None:
    data = b'{"version": 1, "runtime": "elsewhere", "options": {"a": 1}, "scaling": {"replicas": 4}}'
    walk = begun(imported(make_zip({**good(), "deployconfig.json": data})), person)
    assert "Its runtime, elsewhere, isn't installed here" in walk.see("general").content.decode()
    assert walk.fields("hardware")["replicas"] == "4"


def test_a_model_chosen_in_the_wizard_fills_the_rest_in(make_zip, imported: Imported, person: User) -> None:
    data = b'{"version": 1, "runtime": "echo", "options": {"loud": true}, "description": "Theirs."}'
    model = imported(make_zip({**good(), "deployconfig.json": data}))
    browser = Client()
    browser.force_login(person)
    walk = Walk(browser)
    walk.send("general", model=model.pk, name="mine", description="Mine.")
    assert walk.fields("parameters")["option__echo__loud"] == "on"
    assert walk.fields("general")["description"] == "Mine."


def test_one_in_a_folder_below_is_an_ordinary_file(make_zip, imported: Imported) -> None:
    model = imported(make_zip({**good(), "notes/deployconfig.json": b'{"version": 1}'}))
    assert model.files.filter(path="notes/deployconfig.json").exists()
    assert reading.of(model) is None


def test_a_retry_takes_what_the_archive_says_now(model: Model) -> None:
    reading.keep(model.pk, DeployConfig(version=1, runtime="echo"))
    reading.keep(model.pk, None)
    assert reading.of(model) is None


def test_the_reference_explains_every_field() -> None:
    page = (DOCS / "deployconfig.md").read_text()
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == set(DeployConfig.model_fields)
    example = json.loads(re.search(r"((?:^    .*\n)+)", page, re.MULTILINE)[1])
    DeployConfig.model_validate(example)
