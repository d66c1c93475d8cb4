"""Each source in a real browser, from the first page to a deployment that answers; transfers are cut in the middle."""

import os
import re
import shutil
import signal
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.cable import Cable
from tests.browser.conftest import PASSWORD, Site, log_in
from tests.browser.test_main_job import go_on
from tests.cli.conftest import Up, command_of, gone, processes_of
from tests.hub.server import Hub, Repo
from tests.models.conftest import Files, good
from tests.models.test_adapters import adapter_files, base_files

pytestmark = pytest.mark.browser
IMPORT = "/admin/models/model/import/"
READY = 40_000  # ms

CATALOGUE = """
version: 1
models:
  - id: acme-loud
    name: Acme loud
    summary: Says it loudly.
    task: chat
    repository: acme/loud
    parameters: {value: 4, source: "operator: counted"}
    runtime: echo
    options: {loud: true}
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    made = Hub()
    made.repos["acme/loud"] = Repo(good(), card={"license": "apache-2.0"}, task="text-generation")
    made.repos["acme/large"] = Repo({**good(), "notes.txt": os.urandom(20_000_000)})
    made.repos["acme/gated"] = Repo(good(), gated=True, members=("anna",))
    made.repos["acme/polite"] = Repo(adapter_files())
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(hub: Hub) -> Iterator[Site]:
    place = Path(tempfile.mkdtemp(prefix="my-web-"))
    (place / "catalogue.yaml").write_text(CATALOGUE)
    up = Up(
        place / "data", MODELYARD_ADMIN_PASSWORD=PASSWORD, HF_ENDPOINT=hub.address,
        MODELYARD_CATALOGUE=str(place / "catalogue.yaml"),
    )  # fmt: skip
    try:
        yield Site(up.ready(), place / "data", zipped(place / "tiny.zip", good()))
    finally:
        up.end()
        for process in processes_of(place / "data"):
            process.kill()
        gone(place / "data")
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def there(site: Site, chromium: Browser) -> Iterator[Page]:
    page = log_in(chromium, site, "admin")
    yield page
    page.context.close()


def zipped(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def web_of(site: Site) -> psutil.Process:
    """The process that answers the browser."""
    return next(each for each in processes_of(site.data) if " modelyard.cli web" in command_of(each))


def send(page: Page, path: Path) -> None:
    page.goto(IMPORT)
    page.set_input_files("#file", path)
    page.get_by_role("button", name="Import", exact=True).click()


def ready(page: Page) -> None:
    expect(page.get_by_role("link", name="Deploy this model").first).to_be_visible(timeout=READY)


def deploy(page: Page) -> Page:
    """From a model to an endpoint, through the wizard, with the echo runtime."""
    page.get_by_role("link", name="Deploy this model").first.click()
    page.check("[name=runtime][value=echo]")
    for step in ("optimization", "parameters", "hardware", "review"):
        go_on(page, step)
    if page.locator("#id_accepted").count():
        page.check("#id_accepted")
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.wait_for_url(re.compile("/deployments/deployment/dep_"))
    expect(page.locator("[data-live-status]").get_by_text("Deployed", exact=True)).to_be_visible(timeout=READY)
    return page


def said(page: Page) -> str:
    """What the deployment on the page answers, asked as this person's session."""
    identifier = re.search(r"dep_[0-9a-z]+", page.url)
    assert identifier
    page.get_by_role("button", name="Copy cURL").first.click()
    page.get_by_role("button", name=re.compile("Make a key")).click()
    expect(page.get_by_text(re.compile("Copied"))).to_be_visible()
    line = str(page.evaluate("navigator.clipboard.readText()"))
    key = re.search(r"myk_\w+", line)
    address = re.search(r"https?://[^\s\"']+", line)
    assert key
    assert address
    body = {"messages": [{"role": "user", "content": "hello"}]}
    answer = httpx.post(address[0], json=body, headers={"Authorization": f"Bearer {key[0]}"}, timeout=20)
    return str(answer.json()["choices"][0]["message"]["content"])


def test_a_zip_comes_through_a_killed_server_and_a_lost_network(chromium: Browser, site: Site, tmp_path: Path) -> None:
    cable = Cable(site.address)
    page = log_in(chromium, replace(site, address=cable.address), "admin")
    cable.rate = 2_000_000
    send(page, zipped(tmp_path / "from a zip.zip", {**good(), "noise.txt": os.urandom(24_000_000)}))
    told = page.locator("[data-upload-said]")
    expect(told).to_contain_text(re.compile(r"[1-9]\d? % .* left"))
    cable.cut()
    expect(told).to_contain_text("The connection was lost")
    cable.mend()
    expect(told).to_contain_text(re.compile(r"[1-9]\d? % .* left"))
    killed = web_of(site)
    killed.send_signal(signal.SIGKILL)  # Chromium asks again by itself where a kept connection was reset
    killed.wait(10)
    cable.rate = 0
    ready(page)
    assert said(deploy(page)) == "hello"
    page.context.close()
    cable.close()


def test_a_model_from_the_hub_is_paused_resumed_and_deployed(there: Page, hub: Hub) -> None:
    page = there
    page.goto(IMPORT)
    page.get_by_role("link", name=re.compile("Hugging Face.*by its name", re.DOTALL)).click()
    page.fill("#repository", "acme/large")
    page.get_by_role("button", name="Look", exact=True).click()
    expect(page.get_by_text("notes.txt")).to_be_visible()
    hub.troubles.speed = 1_500_000
    page.get_by_role("button", name=re.compile("^Download")).click()
    expect(page.get_by_text(re.compile(r"Downloading · .* left")).first).to_be_visible(timeout=READY)
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_role("heading", name="The import is paused")).to_be_visible()
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_text(re.compile(r"Downloading · .* left")).first).to_be_visible(timeout=READY)
    hub.troubles.speed = 0
    ready(page)
    begun = [each.headers["range"] for each in hub.asked("disks") if "range" in each.headers]
    assert [each for each in begun if each != "bytes=0-"]
    assert said(deploy(page)) == "hello"


def test_what_is_gated_says_where_to_agree(there: Page, hub: Hub) -> None:
    there.goto(f"{IMPORT}hugging-face/?repository=acme/gated")
    expect(there.get_by_role("alert")).to_contain_text("gated")
    expect(there.get_by_role("alert").get_by_role("link")).to_have_attribute("href", f"{hub.address}/acme/gated")


def test_one_click_from_the_catalogue_leads_to_a_filled_in_deploy_form(there: Page) -> None:
    page = there
    page.goto("/admin/models/model/catalogue/?q=acme")
    page.get_by_role("link", name="Acme loud").first.click()
    page.get_by_role("link", name="Import from Hugging Face").click()
    page.get_by_role("button", name=re.compile("^Download")).click()
    ready(page)
    assert said(deploy(page)) == "HELLO"


def test_adapters_from_a_zip_and_the_hub_go_onto_their_base(there: Page, tmp_path: Path) -> None:
    page = there
    send(page, zipped(tmp_path / "Llama.zip", base_files()))
    ready(page)
    page.goto(IMPORT)
    page.set_input_files("#file", zipped(tmp_path / "polite zip.zip", adapter_files()))
    expect(page.get_by_label("Base model")).to_have_value(re.compile("^mdl_"))
    expect(page.get_by_text("The adapter names acme/Llama, which is here.")).to_be_visible()
    page.get_by_role("button", name="Import", exact=True).click()
    ready(page)
    assert said(deploy(page)) == "hello"
    page.goto(f"{IMPORT}hugging-face/?repository=acme/polite")
    expect(page.get_by_label("Base model")).to_have_value(re.compile("^mdl_"))
    page.get_by_role("button", name=re.compile("^Download")).click()
    ready(page)
    expect(page.get_by_role("link", name="Llama", exact=True)).to_be_visible()


def test_an_adapter_without_its_base_says_so_before_it_is_sent(there: Page, tmp_path: Path) -> None:
    files = adapter_files(base_model_name_or_path="nobody/nothing")
    there.goto(IMPORT)
    there.set_input_files("#file", zipped(tmp_path / "lost.zip", files))
    expect(there.get_by_text(re.compile("nobody/nothing isn.t here"))).to_be_visible()
    expect(there.get_by_label("Base model")).to_have_value("")
