"""Adapters from the hub: seen before the download, and put on the base that is here."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from apps.models.hub import operations
from apps.models.hub.preflight import Asked, look
from apps.models.models import Kind, Status
from modelyard.problems import Problem
from tests.hub.conftest import Bring
from tests.hub.server import Hub, Repo
from tests.models.test_adapters import adapter_files, base_files


@pytest.fixture(autouse=True)
def _repositories(hub: Hub) -> None:
    hub.repos["acme/Llama"] = Repo(base_files(), task="text-generation")
    hub.repos["acme/polite"] = Repo({**adapter_files(), "README.md": b"# Polite", "optimizer.pt": bytes(50)})
    hub.repos["acme/odd"] = Repo(adapter_files(peft_type="IA3"))


def test_the_preflight_names_the_base(person: User) -> None:
    found = look(Asked("acme/polite"))
    assert found.adapter
    assert (found.adapter.base, found.adapter.rank, found.blocks) == ("acme/Llama", 4, ())
    assert sorted(file.path for file in found.taken) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_a_method_that_nothing_serves_blocks_the_download(person: User) -> None:
    assert [block.code for block in look(Asked("acme/odd")).blocks] == ["hub_adapter"]


def test_without_its_base_an_adapter_is_not_downloaded(person: User) -> None:
    with pytest.raises(Problem, match="isn't here") as refused:
        operations.start(look(Asked("acme/polite")), by=person)
    assert refused.value.code == "no_base"
    assert "acme/Llama" in refused.value.next_step


def test_an_adapter_goes_onto_the_base_from_the_repository_that_it_names(bring: Bring) -> None:
    base = bring("acme/Llama", name="our own name for it")
    model = bring("acme/polite")
    assert (model.status, model.kind, model.base_model) == (Status.READY, Kind.ADAPTER, base)


def test_the_api_takes_a_base(bring: Bring, person: User, client: Any) -> None:
    base = bring("acme/Llama", name="elsewhere")
    client.force_login(person)
    told = client.post("/api/v1/hub/preflight/", {"repository": "acme/polite"}, "application/json").json()
    assert told["adapter"]["base_model"] == base.pk
    body = {"repository": "acme/polite", "base_model": "elsewhere"}
    made = client.post("/api/v1/hub/import/", body, "application/json")
    assert (made.status_code, made.json()["base_model"]) == (202, base.pk)
    wrong = client.post("/api/v1/hub/import/", {**body, "repository": "acme/Llama", "name": "x"}, "application/json")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_base")


def test_the_page_chooses_the_base_or_leads_to_it(bring: Bring, person: User, client: Any) -> None:
    client.force_login(person)
    page = "/admin/models/model/import/hugging-face/?repository=acme/polite"
    assert "?repository=acme/Llama" in client.get(page).text
    base = bring("acme/Llama")
    assert f'<option value="{base.pk}" selected>' in client.get(page).text
