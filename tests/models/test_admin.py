"""The admin of models: what each person sees, and what a click does."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.deployments import operations as deployments
from apps.models import operations, storage
from apps.models.models import Model, Status
from apps.models.rules import RULES
from modelyard import roles
from tests.models.conftest import Zip, config, good, safetensors_bytes

LIST = "/admin/models/model/"
IMPORT = f"{LIST}import/"
DEPLOYMENTS = "/admin/deployments/deployment/"
COLUMNS = [
    "model_name",
    "active",
    "failed",
    "waiting",
    "source",
    "kind_of_model",
    "size_on_disk",
    "state",
    "row_actions",
]
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
    address = f"{DEPLOYMENTS}?model__id__exact={model.pk}"
    assert f'href="{address}">tiny</a>' in html
    shown = client().get(address).content.decode()
    assert f"{DEPLOYMENTS}add/?model={model.pk}" in shown


def test_the_deployments_page_has_the_models_tabs(model: Model, person: User) -> None:
    deployments.create(model=model, name="search", runtime="echo", by=person)
    html = client("Viewers").get(f"{DEPLOYMENTS}?model__id__exact={model.pk}").content.decode()
    assert "search" in html
    assert all(page(model, verb) in html for verb in ("change", "files", "report", "lineage"))
    assert page(model, "edit") not in html
    assert "Deploy this model" not in html


def test_deployments_are_counted_by_status(model: Model, person: User) -> None:
    for number, status in enumerate(["deployed", "deployed", "failed", "ready_to_deploy", "stopped"]):
        made = deployments.create(model=model, name=f"d{number}", runtime="echo", by=person)
        type(made).objects.filter(pk=made.pk).update(status=status)
    row = Model.objects.with_deployment_counts().get()
    assert (row.active_deployments, row.failed_deployments, row.waiting_deployments) == (2, 1, 1)
    html = client().get(LIST).content.decode()
    cells = re.findall(r'<td class="field-(?:active|failed|waiting)[^>]*>(.*?)</td>', html)
    assert [re.sub("<[^>]*>", "", cell) for cell in cells] == ["2", "1", "1"]


@pytest.mark.parametrize(
    "query", ["", "?o=1", "?status__exact=ready", "?task=fill-mask", "?q=tiny", "?tag=a", "?size=1gb",
              "?deployments=failed"]
)  # fmt: skip
def test_a_list_takes_the_same_few_queries_for_one_model_and_for_thirty(
    model: Model, django_assert_max_num_queries: DjangoAssertNumQueries, query: str
) -> None:
    browser = client()
    with django_assert_max_num_queries(9) as one:
        assert browser.get(LIST + query).status_code == 200
    Model.objects.bulk_create(Model(name=f"tiny {n}", task="fill-mask", status=Status.READY) for n in range(29))
    with django_assert_max_num_queries(len(one)):
        assert browser.get(LIST + query).status_code == 200


@pytest.mark.parametrize(
    ("query", "found"),
    [("tag=search", {"tiny"}), ("tag=sea", set()), ("size=100mb", {"tiny"}), ("size=large", {"big"}),
     ("task=fill-mask", {"big"}), ("deployments=failed", {"tiny"}), ("deployments=none", {"big"}),
     ("deployments=deployed", set()), ("format__exact=onnx", {"tiny"}), ("source__exact=hugging_face", {"big"})],
)  # fmt: skip
def test_a_filter_leaves_what_it_says(model: Model, person: User, query: str, found: set[str]) -> None:
    operations.edit(model, tags=["search", "ünïcode"])
    Model.objects.create(name="big", size=60 * 10**9, task="fill-mask", source="hugging_face", status=Status.READY)
    made = deployments.create(model=model, name="d", runtime="echo", by=person)
    type(made).objects.filter(pk=made.pk).update(status="failed")
    assert {row.name for row in client().get(f"{LIST}?{query}").context["cl"].result_list} == found


def test_an_empty_list_offers_three_ways_to_a_first_model(db: None) -> None:
    html = client().get(LIST).content.decode()
    assert "There is no model here yet" in html
    assert all(f'href="{address}"' in html for address in (IMPORT, f"{IMPORT}hugging-face/", f"{LIST}catalogue/"))
    assert "ask an administrator" in client("Viewers").get(LIST).content.decode()


def test_a_model_shows_files_report_and_facts(make_zip: Zip, imported: Imported) -> None:
    files = {"model.safetensors": safetensors_bytes(), "pytorch_model.bin": b"x", "sub/config.json": config(),
             "config.json": config()}  # fmt: skip
    model = imported(make_zip(files))
    shown = {verb: client().get(page(model, verb)).content.decode() for verb in ("change", "files", "report")}
    assert all(file.sha256 in shown["files"] for file in model.files.all())
    assert ">sub/</th>" in shown["files"]
    assert "pytorch_model.bin" in shown["report"]
    assert "rules/#MYI011" in shown["report"]
    assert "Safetensors" in shown["change"]
    assert f"{DEPLOYMENTS}add/?model={model.pk}" in shown["change"]


def test_the_list_of_hashes_is_one_that_sha256sum_reads(model: Model) -> None:
    lines = client().get(f"{page(model, 'files')}?as=sha256sum").getvalue().decode().splitlines()
    assert lines == [f"{file.sha256}  {file.path}" for file in model.files.all()]


def test_files_are_found_by_a_part_of_their_path(model: Model) -> None:
    browser = client()
    assert "model.onnx" not in browser.get(f"{page(model, 'files')}?q=readme").content.decode().split("<table")[1]
    assert "No file has that" in browser.get(f"{page(model, 'files')}?q=nothing").content.decode()


def test_the_fit_page_says_who_can_serve_it_and_why_not(model: Model) -> None:
    address = f"{DEPLOYMENTS}of-model/{model.pk}/fit/"
    html = client("Viewers").get(address).content.decode()
    assert "can serve it" in html
    assert "vLLM loads safetensors folders" in html
    assert "Deploy with it" not in html
    assert f"model={model.pk}&amp;runtime=onnx" in client().get(address).content.decode()


def test_lineage_tells_licence_source_and_revisions(model: Model) -> None:
    html = client("Viewers").get(page(model, "lineage")).content.decode()
    assert "apache-2.0" in html
    assert f"{page(model, 'files')}?revision=1" in html


def test_a_failure_is_shown_with_cause_and_the_button_that_mends_it(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip({"pytorch_model.bin": b"x"}))
    browser = client()
    html = browser.get(page(model)).content.decode()
    assert "Convert them to safetensors" in html
    assert "rules/#MYI015" in html
    assert "What it was imported from wasn&#x27;t kept" in html or "What it was imported from wasn't kept" in html
    assert "Retry import" not in html
    assert "Deploy this model" not in html
    assert browser.post(page(model, "delete"), {"again": "1"}).url == IMPORT
    assert not Model.objects.exists()


def test_a_viewer_is_told_of_a_failure_without_buttons(make_zip: Zip, imported: Imported) -> None:
    model = imported(make_zip({"pytorch_model.bin": b"x"}))
    html = client("Viewers").get(page(model)).content.decode()
    assert "Convert them to safetensors" in html
    assert not any(word in html for word in ("Delete and import again", "Retry import", "formaction"))


def test_every_rule_has_its_place_on_the_page_of_rules(db: None) -> None:
    html = client("Viewers").get(f"{LIST}rules/").content.decode()
    assert all(f'<tr id="{rule}">' in html for rule in RULES)


def test_description_and_tags_are_saved(model: Model) -> None:
    answer = client("Deployers").post(page(model, "edit"), {"description": "For search.", "tags": "a, b,, a"})
    assert (answer.status_code, said(answer)) == (302, "Saved.")
    model.refresh_from_db()
    assert (model.description, model.tags, model.name) == ("For search.", ["a", "b"], "tiny")


def test_too_many_tags_are_refused_at_the_field(model: Model) -> None:
    answer = client().post(page(model, "edit"), {"description": "", "tags": ",".join(map(str, range(30)))})
    assert "At most 20 tags" in answer.context["form"].errors["tags"][0]


def test_a_viewer_sees_all_and_finds_no_button(model: Model) -> None:
    browser = client("Viewers")
    shown = [LIST, *(page(model, verb) for verb in ("change", "files", "report", "lineage", "edit"))]
    html = "".join(browser.get(address).content.decode() for address in shown)
    for word in (
        "Import model",
        "Export",
        "Retry import",
        "Deploy this model",
        'class="my-button my-danger"',
        "_selected_action",
    ):
        assert word not in html
    assert "<textarea" not in html
    assert "data-confirm=" not in html


def test_a_viewers_posts_are_refused(model: Model) -> None:
    browser = client("Viewers")
    posts = [page(model, "edit"), page(model, "delete"), page(model, "retry"), IMPORT, f"{LIST}add/"]
    assert [browser.post(address).status_code for address in posts] == [403] * len(posts)
    assert browser.get(IMPORT).status_code == 403
    browser.post(LIST, {"action": "delete_selected", "_selected_action": [model.pk], "post": "yes"})
    assert Model.objects.filter(pk=model.pk).exists()


def test_somebody_without_permissions_sees_no_model(model: Model) -> None:
    user = User.objects.create(username="nobody", is_staff=True)
    browser = Client()
    browser.force_login(user)
    assert [
        browser.get(address).status_code
        for address in (LIST, page(model), f"{LIST}live/?ids=x", page(model, "progress"))
    ] == [403] * 4


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
    assert row["said"] == "tiny: Importing"
    assert "Deploy" not in row["actions"]


def test_the_page_of_an_import_tells_stage_figures_and_silence(make_zip: Zip, person: User) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    long_ago = timezone.now() - timedelta(seconds=90)
    Model.objects.update(stage="Unpacking · 1.2 of 3.4 GB · 80.0 MB/s · 27 s left", progress=31, heartbeat_at=long_ago)
    browser = client("Deployers")
    row = browser.get(page(model, "progress")).json()["rows"][model.pk]
    assert (row["moving"], row["word"]) == (True, "importing")
    assert all(said in row["status"] for said in ("1.2 of 3.4 GB", "80.0 MB/s", "27 s left", "31 %", "No sign of life"))
    html = browser.get(page(model)).content.decode()
    assert f'data-live-url="{page(model, "progress")}"' in html
    assert "Cancel import" not in html  # a deployer doesn't delete
    assert "Cancel import" in client().get(page(model)).content.decode()


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
