"""The pages in German: what is ours is translated, and times and numbers are written as Germans write them."""

import html
import re
from collections.abc import Iterator

import polib
import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from apps.apikeys.models import KeyEvent
from apps.deployments import operations
from apps.deployments.models import Deployment
from apps.deployments.statuses import Status
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus
from modelyard.roles import create_groups
from tests import messages
from tests.deployments.walking import ORDER, Walk

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


def test_a_viewer_reads_the_configuration_in_german(
    german: Client, deployment: Deployment, english: frozenset[str]
) -> None:
    create_groups()
    User.objects.update(is_superuser=False)
    User.objects.get().groups.add(Group.objects.get(name="Viewers"))
    operations.edit(deployment, by=None, captures=True, tokens_per_day=100_000, idle_timeout=2.5)
    address = reverse("admin:deployments_deployment_configuration", args=[deployment.pk])
    page = read(german, address)
    assert sorted(set(said(page)) & english) == []
    for label, value in (("Tokens je Tag", "100.000"), ("Ein- und Ausgaben aufbewahren", "an"), ("", "2,5")):
        assert f"{label}</dt><dd>{value}</dd>" in page
    assert not re.search(r"<dt>(Captures|Tokens a|Idle|Capture)|the installation|>(on|off)<", page)


def test_a_conflict_is_told_in_german(german: Client, deployment: Deployment) -> None:
    operations.edit(deployment, by=None, captures=True, tokens_per_day=5)
    sent = {"description": "", "tags": "", "capture_days": "7", "tokens_per_day": "6", "initial-tokens_per_day": ""}
    address = reverse("admin:deployments_deployment_configuration", args=[deployment.pk])
    assert '<th scope="row">Tokens je Tag</th><td>5</td><td>6</td>' in german.post(address, sent).content.decode()


def test_the_wizard_says_nothing_in_english(german: Client, deployment: Deployment, english: frozenset[str]) -> None:
    walk = Walk(german, model=deployment.model)
    for step in ORDER:
        page = walk.see(step).content.decode()
        assert sorted(set(said(page)) & english - {"Copy"}) == [], step  # one of the runtime's own recipes
        assert not re.search(r'my-badge [^"]*">(blocks|mind|note)<', page)
        walk.send(step, runtime="echo", name="neu") if step != "review" else None
    assert ">blockiert<" in walk.see("general").content.decode()


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
    page = reverse("admin:deployments_deployment_configuration", args=[deployment.pk])
    sent = {"description": "x", "tags": "", "capture_days": "7", "captures": "on", "tokens_per_day": "5000"}
    assert german.post(page, sent).status_code == 302
    keys = reverse("admin:deployments_deployment_keys", args=[deployment.pk])
    german.post(keys, {"name": "app", "tokens_per_day": "5000", "expires_at": "2199-01-02T03:04:05"})
    assert KeyEvent.objects.get().message == "Created (expires: 2199-01-02 03:04 UTC; tokens a day: 5,000)."
    told = " ".join(deployment.events.values_list("message", flat=True))
    assert not re.search(r"Bereit|Fehlgeschlagen|[äöüß]", told)
    assert "tokens a day from unlimited to 5,000" in told
    assert "keep inputs and outputs from off to on" in told
