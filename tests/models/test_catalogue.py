"""The catalogue: what ships, what operators add, what is wrong in it, and what people find."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from django.core import checks
from django.test import Client
from rest_framework.test import APIClient

from apps.deployments import runtimes
from apps.models.catalogue import memory, operations, reading, schema
from apps.models.catalogue.api import SCHEMAS
from apps.models.catalogue.schema import Entry, Task
from apps.models.catalogue.shelf import SHIPPED, find, shelf
from modelyard.problems import Problem
from modelyard.runtimes import Gpu, Host

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"
FIGURES = ("revision", "parameters", "dtype", "licence", "gated", "context_length", "memory")
PAGE = "/admin/models/model/catalogue/"
API = "/api/v1/catalogue/"


def text(*entries: str) -> str:
    return "version: 1\nmodels:\n" + "".join(entries)


def entry(name: str = "mine", **more: object) -> str:
    fields = {"id": name, "name": name.title(), "summary": "Ours.", "task": "chat", "repository": "us/mine", **more}
    lines = [f"{field}: {json.dumps(value)}" for field, value in fields.items()]
    return "  - " + "\n    ".join(lines) + "\n"


@pytest.fixture
def own(tmp_path: Path, settings) -> Path:
    """A catalogue file of the operator's."""
    path = tmp_path / "own.yaml"
    path.write_text(text(entry()))
    settings.CATALOGUE = [str(path)]
    return path


@pytest.fixture
def browser(admin_client: Client) -> Client:
    return admin_client


def mistakes() -> list[str]:
    return [str(mistake) for mistake in shelf().mistakes]


# --- What ships ---


def test_what_ships_follows_the_published_schema() -> None:
    published = json.loads((DOCS / "schemas/catalogue-v1.json").read_text())
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(yaml.safe_load(SHIPPED.read_text()), published)
    assert reading.read(SHIPPED)[1] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_published_schemas_are_the_codes(name: str) -> None:
    """A version that is out never changes: a change of the code that changes it needs the next version."""
    assert json.loads((DOCS / f"schemas/{name}.json").read_text()) == json.loads(json.dumps(SCHEMAS[name]()))


def test_about_forty_models_of_every_task_ship() -> None:
    entries, _ = reading.read(SHIPPED)
    assert len(entries) >= 40
    assert {each.task for each in entries} == set(Task)


def test_every_figure_that_ships_has_a_source_at_its_own_repository_or_a_pinned_file() -> None:
    for each in reading.read(SHIPPED)[0]:
        for figure in filter(None, (getattr(each, name) for name in FIGURES)):
            own = figure.source.startswith(f"https://huggingface.co/{each.repository}")
            assert own or re.match(r"https://github\.com/\S+/blob/[0-9a-f]{40}/", figure.source), (each.id, figure)


def test_recommended_runtimes_take_the_recommended_options() -> None:
    for each in reading.read(SHIPPED)[0]:
        if each.runtime:
            runtimes.options_of(runtimes.get(each.runtime), each.options)


def test_least_memory_is_computed_and_says_how() -> None:
    needed = memory.least(find("qwen2.5-7b-instruct").entry)
    assert needed is not None
    assert needed.value == 7_610_000_000 * 2 * 1.2
    assert needed.source == "computed: parameters × 2 bytes (bfloat16) × 1.2"
    assert memory.least(find("gpt-oss-20b").entry).source.startswith("https://")


def test_nothing_is_said_to_fit_where_nothing_is_known() -> None:
    unknown = Entry(id="x", name="x", summary="x", task=Task.CHAT, repository="a/b")
    host = Host(2, 8 * 10**9, 4 * 10**9, ())
    assert memory.fits(unknown, host) is None
    assert memory.fits(find("qwen3-0.6b").entry, host) is True
    assert memory.fits(find("qwen3-8b").entry, host) is False
    assert memory.fits(find("qwen3-8b").entry, Host(2, 1, 1, (Gpu("L4", 24 * 10**9, 1),))) is True


# --- What operators add ---


def test_an_entry_of_the_operators_is_offered_and_one_of_the_same_id_replaces_what_ships(own: Path) -> None:
    own.write_text(text(entry(), entry("qwen3-8b", summary="Ours, tuned.")))
    assert find("mine").shipped is False
    assert find("qwen3-8b").entry.summary == "Ours, tuned."
    assert len(shelf().offers) == len(reading.read(SHIPPED)[0]) + 1


def test_the_later_of_two_files_counts(own: Path, tmp_path: Path, settings) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "a.yaml").write_text(text(entry(summary="First.")))
    (folder / "b.yml").write_text(text(entry(summary="Second.")))
    settings.CATALOGUE = [str(own), str(folder)]
    assert find("mine").entry.summary == "Second."


def test_a_file_is_read_again_when_it_changes(own: Path) -> None:
    assert find("mine").entry.summary == "Ours."
    own.write_text(text(entry(summary="Changed since.")))
    assert find("mine").entry.summary == "Changed since."


BAD = {
    "no version": ("models: []\n", 1, "version"),
    "another version": ("version: 2\nmodels: []\n", 1, "its version is 2"),
    "an unknown word at the top": ("version: 1\nmodels: []\nmodel: 1\n", 3, "model isn't known"),
    "no list": ("version: 1\nmodels: {}\n", 2, "must be a list"),
    "text": ("hello", 1, "no `version:`"),
    "empty": ("", 1, "no `version:`"),
    "no YAML": ("version: 1\nmodels: [\n  {a: b\n", 4, "isn't YAML"),
    "a tag that makes objects": ("version: 1\nmodels: [!!python/object/apply:os.system ['true']]\n", 2, "isn't YAML"),
    "references": ("a: &a [1]\nversion: 1\nmodels: [*a]\n", 3, "references"),
    "depth": ("version: 1\nmodels: " + "[" * 5000, 0, "isn't YAML"),
    "an unknown field": (text(entry(licens="mit")), 8, "licens: extra inputs"),
    "a figure without source": (text(entry(parameters={"value": 1})), 8, "parameters.source: field required"),
    "a source that is none": (text(entry(licence={"value": "mit", "source": "I know"})), 8, "licence.source"),
    "a short revision": (text(entry(revision={"value": "abc", "source": "https://x"})), 8, "revision.value"),
    "an unknown task": (text(entry(task="dance")), 6, "task: input should be"),
    "no place": (text(entry(repository="")), 3, "needs a repository or a directory"),
    "twice": (text(entry(), entry()), 8, "stands in this file twice"),
    "options that JSON can't say": (text(entry(runtime="vllm")) + "    options: {a: .nan}\n", 3, "JSON"),
    "a folder that is no bundle": (text(entry(repository="", directory="models/x")), 0, "manifest.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_told_with_file_and_line_and_costs_only_its_entry(own: Path, case: str) -> None:
    written, line, words = BAD[case]
    own.write_text(written)
    told = next(message for message in mistakes() if words in message)
    assert told.startswith(f"{own}:{line}: " if line else f"{own}: ")
    assert find("qwen3-8b").shipped
    found = [message for message in checks.run_checks(tags=["modelyard"]) if message.id == "modelyard.W007"]
    assert found
    assert all(message.hint for message in found)


def test_a_good_entry_beside_a_bad_one_is_offered(own: Path) -> None:
    own.write_text(text(entry("bad", task="dance"), entry("good")))
    assert find("good")
    assert len(mistakes()) == 1


@pytest.mark.parametrize("path", ["gone.yaml", "gone/"])
def test_a_path_that_leads_nowhere_is_told(tmp_path: Path, settings, path: str) -> None:
    settings.CATALOGUE = [str(tmp_path / path)]
    assert "there is no catalogue here" in mistakes()[0]
    assert shelf().offers


def test_what_is_large_is_not_read(own: Path) -> None:
    own.write_text("#" * (reading.MAX_FILE + 1))
    assert "larger than 2 MiB" in mistakes()[0]


# --- What people find ---


def ids(answer) -> set[str]:
    return {row["id"] for row in answer.json()}


@pytest.fixture
def api(admin_user) -> APIClient:
    client = APIClient()
    client.force_authenticate(admin_user)
    return client


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("task=speech", lambda each: each.task == "speech"),
        ("licence=mit", lambda each: each.licence.value == "mit"),
        ("runtime=onnx", lambda each: each.runtime == "onnx"),
        ("size=tiny&task=chat", lambda each: each.task == "chat" and each.parameters.value < 1e9),
        ("search=coder+instruct", lambda each: "Coder" in each.name),
        ("search=MINILM", lambda each: "MiniLM" in each.name),
    ],
)
def test_filters_find_what_they_say(api: APIClient, query: str, wanted) -> None:
    expected = {each.id for each in reading.read(SHIPPED)[0] if wanted(each)}
    assert expected
    assert ids(api.get(f"{API}?{query}")) == expected


def test_fits_here_is_about_this_machine(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.models.catalogue.api.this_host", lambda: Host(2, 10**9, 5 * 10**8, ()))
    found = api.get(f"{API}?fits_here=1").json()
    assert found
    assert all(row["fits_here"] and row["memory"]["value"] <= 5 * 10**8 for row in found)


def test_one_entry_has_its_facts_and_sources(api: APIClient) -> None:
    row = api.get(f"{API}bge-m3/").json()
    assert row["revision"]["value"] == "5617a9f61b028005a4858fdac845db406aefb181"
    assert row["revision"]["source"].startswith("https://github.com/")
    assert (row["files_here"], row["shipped"], row["runtime"]) == (False, True, "onnx")


@pytest.mark.parametrize("path", ["?task=dance", "?size=huge"])
def test_a_filter_that_is_none_is_refused_with_what_there_is(api: APIClient, path: str) -> None:
    answer = api.get(f"{API}{path}")
    assert answer.status_code == 400
    assert answer.json()["next_step"].startswith("Use one of")


def test_what_is_not_here_cannot_be_imported_from_here(api: APIClient) -> None:
    answer = api.post(f"{API}qwen3-8b/import/", {})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_here")
    assert api.post(f"{API}nothing/import/", {}).status_code == 404


def test_the_catalogue_needs_permissions(db: None, django_user_model) -> None:
    client = APIClient()
    assert client.get(API).status_code == 401
    client.force_authenticate(django_user_model.objects.create(username="x"))
    assert [client.get(API).status_code, client.post(f"{API}qwen3-8b/import/").status_code] == [403, 403]


def test_schemas_are_served_to_everybody(db: None, client: Client) -> None:
    for name in SCHEMAS:
        answer = client.get(f"/api/v1/schemas/{name}.json")
        assert answer.json()["$id"].startswith("urn:modelyard:")
    assert client.get("/api/v1/schemas/other-v1.json").status_code == 404


def test_cards_show_what_matters_and_filters_stay(browser: Client) -> None:
    html = browser.get(f"{PAGE}?task=rerank").content.decode()
    assert html.count('<li class="my-card">') == len([o for o in shelf().offers if o.entry.task == "rerank"])
    assert "BGE reranker v2 M3" in html
    assert "<option selected>rerank</option>" in html
    assert "No model of the catalogue is like that" in browser.get(f"{PAGE}?search=zzz").content.decode()
    assert "There is no task" in browser.get(f"{PAGE}?task=dance").content.decode()


def test_a_page_shows_every_fact_with_its_source(browser: Client) -> None:
    html = browser.get(f"{PAGE}bge-small-en-v1.5/").content.decode()
    assert "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a" in html
    assert "33,400,000" in html
    assert "computed: parameters × 4 bytes (float32) × 1.2" in html
    assert "hf download BAAI/bge-small-en-v1.5 --revision 5c38ec7c405ec4b44b94cc5a9bb96e735b38267a" in html
    assert browser.get(f"{PAGE}nothing/").status_code == 404


def test_mistakes_are_told_on_the_page(own: Path, browser: Client) -> None:
    own.write_text(text(entry(task="dance")))
    assert "1 thing in the operator" in browser.get(PAGE).content.decode()


def test_text_of_an_entry_is_never_markup(own: Path, browser: Client) -> None:
    own.write_text(
        text(entry(summary="<script>alert(1)</script>", licence={"value": "<b>", "source": "https://x/<i>"}))
    )
    for address in (PAGE, f"{PAGE}mine/"):
        html = browser.get(address).content.decode()
        assert "<script>alert" not in html
        assert "&lt;b&gt;" in html
        assert "https://x/<i>" not in html


def test_a_viewer_finds_no_import(db: None, django_user_model) -> None:
    browser = Client()
    browser.force_login(django_user_model.objects.create(username="x", is_staff=True))
    assert [browser.get(PAGE).status_code, browser.post(f"{PAGE}qwen3-8b/").status_code] == [403, 403]


def test_the_hub_page_is_asked_with_everything_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "HUB_PAGE", "admin:models_model_import")
    address = operations.hub_address(find("bge-m3").entry)
    assert "repository=BAAI%2Fbge-m3" in address
    assert "revision=5617a9f61b028005a4858fdac845db406aefb181" in address
    assert address.count("files=") == len(find("bge-m3").entry.files)


def test_an_unknown_entry_is_a_problem() -> None:
    with pytest.raises(Problem, match="no model 'x'"):
        find("x")


def test_the_reference_explains_every_field() -> None:
    page = (DOCS / "catalogue.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    assert documented == set(schema.Entry.model_fields)
