"""The API of models: who may do what, what comes back, and how a refusal reads."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from knox.models import AuthToken
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from apps.models import operations, pipeline, storage
from apps.models.models import Model, Status
from apps.models.uploads import operations as uploads
from modelyard import roles
from modelyard.problems import Problem
from tests.models.conftest import Zip, good, safetensors_bytes

LIST = "/api/v1/models/"
Imported = Callable[[Path], Model]


def client(group: str = "") -> APIClient:
    """A script with a user token of somebody in that group; in none, a superuser."""
    user = User.objects.create(username=f"user {User.objects.count()}", is_superuser=not group)
    if group:
        roles.create_groups()
        user.groups.add(Group.objects.get(name=group))
    _, token = AuthToken.objects.create(user=user)
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return api


def upload(api: APIClient, path: Path, **more: object):
    with path.open("rb") as file:
        return api.post(LIST, {"file": file, **more}, format="multipart")


def test_quotas_hold_for_whole_files_too_and_count_what_failed_imports_keep(make_zip: Zip, db: None, settings) -> None:
    api, other = client("Deployers"), client("Deployers")
    broken = make_zip({**good(), "inner.zip": bytes(200)}, "broken.zip")
    settings.UPLOAD_QUOTA_BYTES = limit = broken.stat().st_size + 10
    failed = upload(api, broken)
    pipeline.run(failed.data["id"])
    assert storage.upload(failed.data["id"]).exists()  # for a retry, or an override
    for path in (make_zip(good()), make_zip(good(), "again.zip")):
        refused = upload(api, path)
        assert (refused.status_code, refused.json()["code"]) == (413, "upload_quota")
    with pytest.raises(Problem, match="your uploads"):
        uploads.begin("more.zip", 20, by=Model.objects.get().added_by)
    assert upload(other, make_zip(good())).status_code == 202
    settings.UPLOAD_QUOTA_BYTES, settings.UPLOADS_TOTAL_BYTES = 0, limit
    assert upload(other, make_zip(good(), "more.zip")).json()["title"].startswith("With this file, all uploads")
    operations.delete(Model.objects.get(pk=failed.data["id"]), by=None)
    assert upload(api, make_zip(good(), "fits.zip")).status_code == 413  # the other's import goes on
    pipeline.run(Model.objects.get(name="tiny").pk)
    assert upload(api, make_zip(good(), "fits.zip")).status_code == 202


def test_an_upload_is_accepted_and_ends_ready(make_zip: Zip, db: None) -> None:
    api = client("Deployers")
    answer = upload(api, make_zip(good()), description="Small.", tags=["a", "b"])
    assert answer.status_code == 202
    assert (answer.data["name"], answer.data["status"], answer.data["tags"]) == ("tiny", "importing", ["a", "b"])
    pipeline.run(answer.data["id"])
    model = api.get(answer.headers["Location"]).json()
    assert (model["status"], model["progress"], model["retryable"]) == ("ready", 100, False)
    assert {file["path"] for file in model["files"]} == {"model.onnx", "README.md"}
    assert {finding["level"] for finding in model["findings"]} == {"pass"}


def test_a_browser_session_uploads_with_its_csrf_token_only(make_zip: Zip, person: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(person)
    page = browser.get("/admin/models/model/import/")
    token = page.context["csrf_token"]
    data = make_zip(good()).read_bytes()
    assert browser.post(LIST, {"file": SimpleUploadedFile("tiny.zip", data)}).status_code == 403
    sent = {"file": SimpleUploadedFile("tiny.zip", data)}
    assert browser.post(LIST, sent, headers={"X-CSRFToken": str(token)}).status_code == 202


def test_what_is_no_zip_fails_with_the_cause(tmp_path: Path, db: None) -> None:
    path = tmp_path / "text.zip"
    path.write_text("not a zip at all")
    api = client()
    answer = upload(api, path)
    pipeline.run(answer.data["id"])
    model = api.get(answer.headers["Location"]).json()
    assert (model["status"], model["failure_code"], model["retryable"]) == ("import_failed", "MYI001", False)
    assert model["next_step"]


@pytest.mark.parametrize(
    ("name", "code"), [("model.tar", "not_a_zip"), (".zip", "invalid_name"), ("x" * 300 + ".zip", "invalid_name")]
)
def test_a_file_name_that_will_not_do_is_a_problem(db: None, name: str, code: str) -> None:
    answer = client().post(LIST, {"file": SimpleUploadedFile(name, b"PK")}, format="multipart")
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["next_step"]
    assert not Model.objects.exists()


def test_a_missing_file_is_said_by_field(db: None) -> None:
    answer = client().post(LIST, {"description": "no file"}, format="multipart")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert "file" in answer.json()["errors"]


def test_a_taken_name_is_a_conflict(make_zip: Zip, imported: Imported) -> None:
    imported(make_zip(good()))
    answer = upload(client(), make_zip(good()))
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")
    assert "Rename" in answer.json()["next_step"]


def test_nobody_sees_anything(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip(good()))
    for answer in (APIClient().get(LIST), APIClient().get(f"{LIST}{model.pk}/"), APIClient().post(LIST)):
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize("token", ["nonsense", "\xff\xfe", "a b", ""])
def test_what_is_no_token_is_refused(db: None, token: str) -> None:
    answer = APIClient().get(LIST, HTTP_AUTHORIZATION=f"Bearer {token}")
    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_failed")


def test_a_viewer_sees_all_and_changes_nothing(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip(good()))
    api, one = client("Viewers"), f"{LIST}{model.pk}/"
    assert [api.get(LIST).status_code, api.get(one).status_code] == [200, 200]
    refused = [upload(api, make_zip(good(), "other.zip")), api.patch(one, {"tags": ["x"]}, format="json"),
               api.delete(one), api.post(f"{one}retry/")]  # fmt: skip
    assert [answer.status_code for answer in refused] == [403] * 4
    assert Model.objects.get().tags == []


def test_a_deployer_edits_but_does_not_delete(make_zip: Zip, imported: Imported) -> None:
    one = f"{LIST}{imported(make_zip(good())).pk}/"
    api = client("Deployers")
    answer = api.patch(one, {"description": "For search.", "tags": ["x", " x"]}, format="json")
    assert (answer.status_code, answer.data["description"], answer.data["tags"]) == (200, "For search.", ["x"])
    assert api.delete(one).status_code == 403


@pytest.mark.parametrize("field", ["name", "status", "size", "id", "nonsense"])
def test_what_is_not_editable_is_refused(make_zip: Zip, imported: Imported, field: str) -> None:
    model = imported(make_zip(good()))
    answer = client().patch(f"{LIST}{model.pk}/", {field: "1", "description": "new"}, format="json")
    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    model.refresh_from_db()
    assert (model.name, model.description) == ("tiny", "")


def test_too_many_tags_are_refused(make_zip: Zip, imported: Imported) -> None:
    one = f"{LIST}{imported(make_zip(good())).pk}/"
    answer = client().patch(one, {"tags": [str(n) for n in range(21)]}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_tags")


def test_a_deleted_model_leaves_no_files(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip(good()))
    assert client().delete(f"{LIST}{model.pk}/").status_code == 204
    assert not storage.folder(model.pk).exists()
    assert client().get(f"{LIST}{model.pk}/").json()["code"] == "not_found"


def test_a_ready_model_is_not_retried(make_zip: Zip, imported: Imported) -> None:
    answer = client().post(f"{LIST}{imported(make_zip(good())).pk}/retry/")
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_status")


def test_a_failed_import_is_retried_while_its_archive_is_there(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip(good()))
    Model.objects.update(status=Status.IMPORT_FAILED)
    api, retry = client("Deployers"), f"{LIST}{model.pk}/retry/"
    assert api.post(retry).json()["code"] == "nothing_to_retry"
    make_zip(good(), "again.zip").rename(storage.upload(model.pk))
    assert api.post(retry).status_code == 202


def test_lists_are_filtered_searched_and_paged(make_zip: Zip, imported: Imported) -> None:
    imported(make_zip(good(), "one.zip"))
    imported(make_zip({"model.safetensors": safetensors_bytes()}, "two.zip"))
    imported(make_zip({"model.bin": b"pickle"}, "three.zip"))
    api = client()

    def names(query: str) -> list[str]:
        return sorted(row["name"] for row in api.get(f"{LIST}?{query}").json()["results"])

    assert names("status=ready") == ["one", "two"]
    assert names("status=ready&status=import_failed") == ["one", "three", "two"]
    assert names("format=onnx") == ["one"]
    assert names("source=hugging_face") == []
    assert names("min_size=100&format=safetensors") == ["two"]
    assert names("search=thre") == ["three"]
    assert names("page_size=1&ordering=name") == ["one"]
    assert api.get(f"{LIST}?status=nonsense").status_code == 400


def test_a_list_is_filtered_by_a_whole_tag(make_zip: Zip, imported: Imported) -> None:
    operations.edit(imported(make_zip(good())), tags=["search", "größe"])
    api = client("Viewers")
    counts = [api.get(LIST, {"tag": tag}).json()["count"] for tag in ("search", "größe", "sear")]
    assert counts == [1, 1, 0]


def test_a_list_takes_the_same_queries_for_one_model_and_for_thirty(
    make_zip: Zip, imported: Imported, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    imported(make_zip(good()))
    api = client()
    with django_assert_max_num_queries(20) as one:
        assert api.get(LIST).json()["count"] == 1
    Model.objects.bulk_create(Model(name=f"model {number}") for number in range(29))
    with django_assert_max_num_queries(len(one)) as thirty:
        assert api.get(LIST).json()["count"] == 30
    assert len(thirty) == len(one)
