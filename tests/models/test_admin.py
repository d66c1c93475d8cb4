"""The admin of models: what each person sees, and what a click does."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from apps.deployments import operations as deployments
from apps.models import operations, storage
from apps.models.models import Model, Status
from modelyard import roles
from tests.models.conftest import Zip, config, good, safetensors_bytes

LIST = "/admin/models/model/"
IMPORT = f"{LIST}import/"
COLUMNS = ["model_name", "active", "failed", "waiting", "source", "state", "size_on_disk", "details"]
Imported = Callable[[Path], Model]


def client(group: str = "") -> Client:
    """A browser of somebody in that group; in none, of a superuser."""
    user = User.objects.create(username=f"user {User.objects.count()}", is_staff=True, is_superuser=not group)
    if group:
        roles.create_groups()
        user.groups.add(Group.objects.get(name=group))
    browser = Client()
    browser.force_login(user)
    return browser


def page(model: Model, verb: str = "change") -> str:
    return f"{LIST}{model.pk}/{verb}/"


def said(answer) -> str:
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


@pytest.fixture
def model(make_zip: Zip, imported: Imported) -> Model:
    return imported(make_zip(good()))


def test_the_columns_are_the_owners(model: Model) -> None:
    heads = re.findall(r"<th[^>]*column-(\w+)", client().get(LIST).content.decode())
    assert heads == COLUMNS
    admin = client().get(LIST).context["cl"].model_admin
    titles = [getattr(getattr(admin, name, None), "short_description", name) for name in COLUMNS]
    assert titles[:5] == ["Model Name", "Active Deployments", "Deployment Failed", "Ready to Deploy", "source"]


def test_a_name_leads_to_the_models_deployments(model: Model) -> None:
    html = client().get(LIST).content.decode()
    address = f"/admin/deployments/deployment/?model__id__exact={model.pk}"
    assert f'href="{address}">tiny</a>' in html
    assert client().get(address).status_code == 200


def test_deployments_are_counted_by_status(model: Model, person: User) -> None:
    for number, status in enumerate(["deployed", "deployed", "failed", "ready_to_deploy", "stopped"]):
        made = deployments.create(model=model, name=f"d{number}", runtime="echo", by=person)
        type(made).objects.filter(pk=made.pk).update(status=status)
    row = Model.objects.with_deployment_counts().get()
    assert (row.active_deployments, row.failed_deployments, row.waiting_deployments) == (2, 1, 1)


@pytest.mark.parametrize("query", ["", "?o=2", "?status__exact=ready", "?task=fill-mask", "?q=tiny"])
def test_a_list_takes_the_same_queries_for_one_model_and_for_thirty(
    model: Model, django_assert_max_num_queries: DjangoAssertNumQueries, query: str
) -> None:
    browser = client()
    with django_assert_max_num_queries(20) as one:
        assert browser.get(LIST + query).status_code == 200
    Model.objects.bulk_create(Model(name=f"tiny {n}", task="fill-mask", status=Status.READY) for n in range(29))
    with django_assert_max_num_queries(len(one)):
        assert browser.get(LIST + query).status_code == 200


def test_an_empty_list_says_what_to_do(db: None) -> None:
    assert "There is no model here yet" in client().get(LIST).content.decode()
    assert "ask an administrator" in client("Viewers").get(LIST).content.decode()


def test_a_model_shows_files_report_and_facts(make_zip: Zip, imported: Imported) -> None:
    files = {"model.safetensors": safetensors_bytes(), "pytorch_model.bin": b"x", "config.json": config()}
    model = imported(make_zip(files))
    html = client().get(page(model)).content.decode()
    assert all(file.sha256 in html for file in model.files.all())
    assert "MYI011" in html
    assert "pytorch_model.bin" in html
    assert f"/admin/deployments/deployment/add/?model={model.pk}" in html


def test_a_failure_is_shown_with_what_to_do(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip({"pytorch_model.bin": b"x"}))
    html = client().get(page(model)).content.decode()
    assert "Convert them to safetensors" in html
    assert "What it was imported from wasn't kept" in html
    assert "Retry import" not in html
    assert "Deploy this model" not in html


def test_description_and_tags_are_saved(model: Model) -> None:
    answer = client("Deployers").post(page(model), {"description": "For search.", "tags": "a, b,, a"})
    assert (answer.status_code, said(answer)) == (302, "Saved.")
    model.refresh_from_db()
    assert (model.description, model.tags, model.name) == ("For search.", ["a", "b"], "tiny")


def test_too_many_tags_are_refused_at_the_field(model: Model) -> None:
    answer = client().post(page(model), {"description": "", "tags": ",".join(map(str, range(30)))})
    assert "At most 20 tags" in answer.context["form"].errors["tags"][0]


def test_a_viewer_sees_all_and_finds_no_button(model: Model) -> None:
    browser = client("Viewers")
    html = browser.get(LIST).content.decode() + browser.get(page(model)).content.decode()
    for word in (
        "Import model",
        "Retry import",
        "Deploy this model",
        'class="my-button my-danger"',
        "_selected_action",
    ):
        assert word not in html
    assert "<textarea" not in html


def test_a_viewers_posts_are_refused(model: Model) -> None:
    browser = client("Viewers")
    posts = [page(model), page(model, "delete"), page(model, "retry"), IMPORT, f"{LIST}add/"]
    assert [browser.post(address).status_code for address in posts] == [403] * len(posts)
    assert browser.get(IMPORT).status_code == 403
    browser.post(LIST, {"action": "delete_selected", "_selected_action": [model.pk], "post": "yes"})
    assert Model.objects.filter(pk=model.pk).exists()


def test_somebody_without_permissions_sees_no_model(model: Model) -> None:
    user = User.objects.create(username="nobody", is_staff=True)
    browser = Client()
    browser.force_login(user)
    assert [browser.get(address).status_code for address in (LIST, page(model), f"{LIST}live/?ids=x")] == [403] * 3


def test_there_is_no_add_form(db: None) -> None:
    assert client().get(f"{LIST}add/").status_code == 403


def test_a_model_is_deleted_with_its_files_by_post_only(model: Model) -> None:
    browser = client()
    browser.get(page(model, "delete"))
    assert Model.objects.exists()
    assert said(browser.post(page(model, "delete"))) == "tiny was deleted."
    assert not Model.objects.exists()
    assert not storage.folder(model.pk).exists()


def test_a_deployer_does_not_delete(model: Model) -> None:
    assert client("Deployers").post(page(model, "delete")).status_code == 403


def test_a_second_click_on_delete_is_harmless(model: Model) -> None:
    browser = client()
    browser.post(page(model, "delete"))
    assert browser.post(page(model, "delete")).status_code == 404


def test_a_model_in_use_stays_and_its_users_are_named(model: Model, person: User) -> None:
    deployments.create(model=model, name="search", runtime="echo", by=person)
    browser = client()
    assert "used by search" in said(browser.post(page(model, "delete")))
    chosen = {"action": "delete_selected", "_selected_action": [model.pk], "post": "yes"}
    assert "used by search" in said(browser.post(LIST, chosen))
    assert storage.folder(model.pk).exists()


def test_chosen_models_are_asked_for_then_deleted_with_their_files(model: Model) -> None:
    browser, chosen = client(), {"action": "delete_selected", "_selected_action": [model.pk]}
    asked = browser.post(LIST, chosen).content.decode()
    assert "tiny" in asked
    assert Model.objects.exists()
    assert said(browser.post(LIST, {**chosen, "post": "yes"})) == "1 model was deleted."
    assert not storage.folder(model.pk).exists()


def test_an_import_is_retried_once(make_zip: Zip, person: User) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    Model.objects.update(status=Status.IMPORT_FAILED, failure_code="MYI008", failure="The disk is full.")
    browser = client("Deployers")
    assert "Retry import" in browser.get(page(model)).content.decode()
    assert said(browser.post(page(model, "retry"))) == "tiny is being imported again."
    assert "hasn't failed" in said(browser.post(page(model, "retry")))


def test_working_rows_tell_how_far_they_are(make_zip: Zip, person: User) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    Model.objects.update(stage="Unpacking", progress=42)
    row = client("Viewers").get(f"{LIST}live/?ids={model.pk},unknown").json()["rows"][model.pk]
    assert (row["moving"], row["word"]) == (True, "importing")
    assert "Unpacking · 42 %" in row["status"]


def test_text_of_people_and_files_is_never_markup(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip(good(), "<img src=x onerror=alert(1)>.zip"))
    operations.edit(model, description="<script>alert(2)</script>", tags=["<b>"])
    browser = client()
    for html in (browser.get(LIST).content.decode(), browser.get(page(model)).content.decode()):
        assert "<img src=x" not in html
        assert "<script>alert" not in html


def test_the_import_page_names_the_limits(db: None, settings) -> None:
    settings.MAX_UPLOAD_BYTES = 3 * 2**30
    html = client("Deployers").get(IMPORT).content.decode()
    assert f'data-max-bytes="{3 * 2**30}"' in html
    assert all(word in html for word in ("model.onnx", "model.safetensors.index.json", ".gguf", "What is refused"))
