"""Imports from the hub by the API and in the admin."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.models import pipeline
from apps.models.catalogue.operations import hub_address
from apps.models.catalogue.shelf import shelf
from apps.models.hub.models import Connection
from apps.models.models import Model, Status
from tests.hub.conftest import Bring, files
from tests.hub.server import Hub, Repo

pytestmark = pytest.mark.django_db
LOOK, IMPORT = "/api/v1/hub/preflight/", "/api/v1/hub/import/"


@pytest.fixture
def browser(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def post(browser: Client, address: str, **body: object) -> tuple[int, dict]:
    answer = browser.post(address, body, content_type="application/json")
    return answer.status_code, answer.json()


def test_the_api_looks(browser: Client, hub: Hub) -> None:
    status, found = post(browser, LOOK, repository="acme/tiny")
    assert (status, found["commit"]) == (200, hub.repos["acme/tiny"].commit)
    assert found["total"] == sum(file["size"] for file in found["files"] if file["taken"])
    runtimes = {each["runtime"]: each for each in found["runtimes"]}
    assert not runtimes["onnx"]["usable"]
    assert "safetensors" in " ".join(runtimes["onnx"]["findings"]).lower() or runtimes["onnx"]["findings"]
    assert found["blocks"] == []


def test_the_api_imports_and_tells_how_far(browser: Client, hub: Hub, good: Connection) -> None:
    status, model = post(browser, IMPORT, repository="acme/gated", connection="Anna's", name="mine", tags=["a"])
    assert (status, model["name"], model["source"], model["tags"]) == (202, "mine", "hugging_face", ["a"])
    found = browser.get(f"/api/v1/models/{model['id']}/").json()
    assert (found["hub"]["repository"], found["hub"]["connection"]) == ("acme/gated", "Anna's")
    assert browser.post(f"/api/v1/models/{model['id']}/pause/").json()["status"] == "paused"
    assert browser.post(f"/api/v1/models/{model['id']}/resume/").json()["status"] == "importing"
    pipeline.run(model["id"])
    found = browser.get(f"/api/v1/models/{model['id']}/").json()
    assert (found["status"], found["hub"]["done_bytes"] >= 0) == ("ready", True)
    assert browser.post(f"/api/v1/models/{model['id']}/resume/").status_code == 409


def test_the_api_refuses_what_cannot_work(browser: Client, hub: Hub) -> None:
    for body, status, code in (
        ({"repository": "acme/none"}, 404, "hub_not_found"),
        ({"repository": "acme/gated"}, 403, "hub_gated"),
        ({"repository": "acme/tiny", "connection": "nobody"}, 400, "unknown_connection"),
        ({"repository": "acme/tiny", "commit": "0" * 40}, 409, "hub_moved"),
        ({"repository": "acme/tiny", "patterns": ["x*"]}, 409, "hub_nothing"),
    ):
        got, problem = post(browser, IMPORT, **body)
        assert (got, problem["code"], bool(problem["next_step"])) == (status, code, True)
    assert not Model.objects.exists()


def test_the_page_shows_what_was_found_and_imports_it_once(browser: Client, hub: Hub) -> None:
    page = reverse("admin:models_model_hub")
    assert "Name a repository" in browser.get(page).content.decode()
    shown = browser.get(page, {"repository": "acme/tiny"})
    text = shown.content.decode()
    assert hub.repos["acme/tiny"].commit in text
    assert "model.safetensors" in text
    assert "Who could serve it here" in text
    form = {"repository": "acme/tiny", "commit": shown.context["found"].commit, "name": "tiny", "form_id": "x"}
    for _ in range(2):
        browser.post(page, form)
    model = Model.objects.get()
    assert model.status == Status.IMPORTING
    detail = browser.get(reverse("admin:models_model_change", args=[model.pk])).content.decode()
    assert "Pause" in detail
    browser.post(reverse("admin:models_model_download", args=[model.pk, "pause"]))
    assert "Resume" in browser.get(reverse("admin:models_model_change", args=[model.pk])).content.decode()


def test_the_page_tells_what_is_wrong_and_keeps_what_was_typed(browser: Client, hub: Hub) -> None:
    page = reverse("admin:models_model_hub")
    text = browser.get(page, {"repository": "acme/gated"}).content.decode()
    assert f'href="{hub.address}/acme/gated"' in text
    assert 'value="acme/gated"' in text
    hub.repos["acme/pickle"] = Repo({"pytorch_model.bin": bytes(2000)})
    blocked = browser.get(page, {"repository": "acme/pickle"}).content.decode()
    assert "can run code" in blocked
    assert "Download" not in blocked.split("<h2>Files</h2>")[0].split("my-facts")[-1]


def test_the_catalogue_leads_there_and_its_advice_goes_along(browser: Client, hub: Hub) -> None:
    offer = next(each for each in shelf().offers if each.entry.repository and each.entry.runtime == "vllm")
    hub.repos[offer.entry.repository] = Repo(files(7))
    address = hub_address(offer.entry)
    assert address.startswith(reverse("admin:models_model_hub"))
    assert offer.entry.name in browser.get(address.replace("revision=", "was=")).content.decode()
    browser.post(reverse("admin:models_model_hub"),
                 {"repository": offer.entry.repository, "name": "x", "entry": offer.entry.id})  # fmt: skip
    assert Model.objects.get().hub_origin.config["runtime"] == "vllm"


@pytest.mark.system
def test_a_model_knows_where_it_is_from(browser: Client, bring: Bring, hub: Hub) -> None:
    model = bring()
    text = browser.get(reverse("admin:models_model_lineage", args=[model.pk])).content.decode()
    assert f'href="{hub.address}/acme/tiny"' in text
    assert hub.repos["acme/tiny"].commit in text


def test_a_character_that_no_database_takes_is_no_error(browser: Client, hub: Hub, good: Connection) -> None:
    address = reverse("admin:models_model_hub")
    asked = {"repository": "acme/tiny\0", "connection": f"{good.pk}\0", "description": "a\0b"}
    assert "acme/tiny" in browser.get(address, asked).text
