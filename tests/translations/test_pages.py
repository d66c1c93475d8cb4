"""The pages in German: what is ours is translated, and times and numbers are written as Germans write them."""

import html
import re
from collections.abc import Iterator

import polib
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.deployments import operations
from apps.deployments.models import Deployment
from apps.deployments.statuses import Status
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus
from tests import messages

SITE = ("index", "models_model_changelist", "models_model_import", "models_model_hub", "models_model_catalogue",
        "models_connections", "models_rules", "deployments_deployment_changelist", "apikeys_apikey_changelist",
        "usage", "runtimes", "tokens")  # fmt: skip
OF_A_DEPLOYMENT = ("detail", "configuration", "optimization", "history", "logs", "metrics", "usage", "events", "keys")
HIDDEN = re.compile(
    r"<(script|style|pre|code|textarea|time)\b[^>]*>.*?</\1>|<span[^>]*material-symbols[^>]*>.*?</span>", re.DOTALL
)
ATTRIBUTES = re.compile(r'\b(?:title|aria-label|alt|placeholder|data-confirm|data-label)="([^"]*)"')


@pytest.fixture
def german(db: None) -> Client:
    client = Client(headers={"accept-language": "de"})
    client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def deployment(db: None) -> Deployment:
    model = Model.objects.create(name="tiny", status=ModelStatus.READY, format=Format.ONNX, size=1_500_000)
    return operations.create(model=model, name="suche", runtime="echo", by=None)


@pytest.fixture(scope="session")
def english() -> frozenset[str]:
    """Texts that are another in German, without those that are German words too."""
    entries = [entry for path in messages.catalogues() if path.parts[-3] == "de" for entry in polib.pofile(str(path))]
    german = {each for entry in entries for each in (entry.msgstr, *entry.msgstr_plural.values())}
    return frozenset(entry.msgid for entry in entries if "%" not in entry.msgid and "{" not in entry.msgid) - german


def said(page: str) -> Iterator[str]:
    """The texts of a page, and what its attributes say."""
    plain = HIDDEN.sub("", page)
    for text in re.sub(r"<[^>]*>", "\n", plain).split("\n"):
        yield html.unescape(text.strip())
    for text in ATTRIBUTES.findall(plain):
        yield html.unescape(text.strip())


def read(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, address
    return str(answer.content.decode())


@pytest.mark.parametrize("name", SITE)
def test_a_page_says_nothing_in_english(
    name: str, german: Client, deployment: Deployment, english: frozenset[str]
) -> None:
    page = read(german, reverse(f"admin:{name}"))
    assert 'lang="de"' in page
    assert sorted(set(said(page)) & english) == []


@pytest.mark.parametrize("name", OF_A_DEPLOYMENT)
def test_a_deployments_page_says_nothing_in_english(
    name: str, german: Client, deployment: Deployment, english: frozenset[str]
) -> None:
    page = read(german, reverse(f"admin:deployments_deployment_{name}", args=[deployment.pk]))
    assert sorted(set(said(page)) & english) == []


def test_a_models_pages_say_nothing_in_english(german: Client, deployment: Deployment, english: frozenset[str]) -> None:
    for name in ("change", "files", "report", "lineage", "edit"):
        page = read(german, reverse(f"admin:models_model_{name}", args=[deployment.model_id]))
        assert sorted(set(said(page)) & english) == [], name


def test_the_language_can_be_chosen_against_the_browsers(german: Client) -> None:
    german.post(reverse("set_language"), {"language": "en", "next": "/admin/"})
    assert "Skip to the content" in read(german, "/admin/")


def test_sizes_have_a_german_comma(german: Client, deployment: Deployment) -> None:
    page = read(german, reverse("admin:models_model_change", args=[deployment.model_id]))
    assert "1,4\xa0MB" in html.unescape(page)


def test_what_programs_and_logs_read_stays_english(german: Client, deployment: Deployment) -> None:
    answer = german.get(f"/api/v1/deployments/{deployment.pk}/").json()
    assert (answer["status"], answer["status_label"]) == ("ready_to_deploy", "Ready to Deploy")
    address = reverse("admin:deployments_deployment_do", args=[deployment.pk, "undeploy"])
    Deployment.objects.filter(pk=deployment.pk).update(status=Status.FAILED)
    german.post(address)
    told = " ".join(deployment.events.values_list("message", flat=True))
    assert not re.search(r"Bereit|Fehlgeschlagen|[äöüß]", told)
