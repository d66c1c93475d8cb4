"""What a person does in the admin, from a zip to an answer, in a real browser."""

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Site, log_in

pytestmark = pytest.mark.browser
GROWTH = """() => {
  const log = document.querySelector("#chat-log");
  window.seen = [];
  new MutationObserver(() => window.seen.push(log.textContent.length))
    .observe(log, { subtree: true, childList: true, characterData: true });
}"""
LIST = "/admin/deployments/deployment/"


def imported(page: Page, site: Site, name: str) -> None:
    """Import the tiny model under that name, through the page."""
    copy = site.archive.with_name(f"{name}.zip")
    copy.write_bytes(site.archive.read_bytes())
    page.goto("/admin/models/model/")
    page.get_by_role("link", name="Import model").first.click()
    page.set_input_files("input[type=file]", str(copy))
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("link", name="Deploy this model")).to_be_visible(timeout=40_000)


def deployed(page: Page, site: Site, name: str, *, runtime: str = "echo", **options: object) -> None:
    """Deploy the model that is there, and open its page; the page says Deployed by itself."""
    token = page.locator("[name=csrfmiddlewaretoken]").first.get_attribute("value")
    body = {"model": site.model, "name": name, "runtime": runtime, "options": options, "deploy": True}
    made = page.request.post("/api/v1/deployments/", data=body, headers={"X-CSRFToken": str(token)})
    assert made.ok, made.text()
    page.goto(f"{LIST}{made.json()['id']}/")


def deployed_by_hand(page: Page, site: Site, name: str, **options: str) -> None:
    """Import a model and deploy it with the echo runtime, through all the pages; the last says Deployed by itself."""
    imported(page, site, name)
    page.get_by_role("link", name="Deploy this model").click()
    expect(page.locator("[name=name]")).to_have_value(name)
    page.check("[name=runtime][value=echo]")
    go_on(page, "optimization")
    go_on(page, "parameters")
    for option, value in options.items():
        page.fill(f"[name=option__echo__{option}]", value)
    go_on(page, "hardware")
    go_on(page, "review")
    page.check("#id_accepted")
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.wait_for_url(re.compile("/deployments/deployment/dep_"))


def undeployed(page: Page, name: str) -> None:
    """Undeploy what is deployed under that name, and wait on its page until it is Stopped."""
    page.goto(f"{LIST}?q={name}")
    page.locator("#result_list").get_by_role("link", name=re.compile(name)).first.click()
    page.get_by_role("button", name="Undeploy").first.click()
    page.get_by_role("button", name="Yes, go on").click()
    badge(page, "Stopped")


def go_on(page: Page, step: str) -> None:
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"**/{step}/")


def badge(page: Page, word: str) -> None:
    expect(page.locator("[data-live-status]").get_by_text(word, exact=True)).to_be_visible(timeout=40_000)


def clipboard(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def answer_of(line: str, **env: str) -> dict[str, object]:
    done = subprocess.run(
        line, shell=True, env={**os.environ, **env}, capture_output=True, text=True, timeout=30, check=True
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_from_login_to_a_streamed_answer(chromium: Browser, site: Site) -> None:
    page = log_in(chromium, site, "admin")
    deployed_by_hand(page, site, "first", words_per_second="10")
    badge(page, "Deployed")
    page.evaluate(GROWTH)
    page.fill("#chat-text", "one two three four five six")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#console-said")).to_have_text("Done.")
    expect(page.locator(".my-turn-assistant span")).to_have_text("one two three four five six")
    assert len(set(page.evaluate("window.seen"))) > 3  # it grew word by word
    expect(page.locator("#console-figures")).to_contain_text("Time to first token")
    page.context.close()


def test_copy_curl_answers_as_pasted(page: Page, site: Site) -> None:
    deployed(page, site, "pasted")
    badge(page, "Deployed")
    page.goto(LIST)
    row = page.locator("tr", has_text="pasted")
    row.get_by_role("button", name="Copy cURL").click()
    page.get_by_role("button", name=re.compile("Make a key")).click()
    expect(page.get_by_text(re.compile("Copied"))).to_be_visible()
    line = clipboard(page)
    assert line.startswith("curl ")
    assert answer_of(line)["object"] == "chat.completion"


def test_the_placeholder_curl_answers_with_a_key_from_the_keys_page(page: Page, site: Site) -> None:
    deployed(page, site, "second")
    badge(page, "Deployed")
    page.get_by_role("button", name="Copy cURL").first.click()
    page.get_by_role("button", name=re.compile("MODELYARD_API_KEY")).click()
    expect(page.get_by_text(re.compile("Copied"))).to_be_visible()
    line = clipboard(page)
    page.get_by_role("button", name="Close").click()
    page.get_by_role("link", name="API Keys", exact=True).click()
    page.fill("[name=name]", "my app")
    page.get_by_role("button", name="Generate").click()
    key = page.locator("#fresh-key").inner_text()
    assert answer_of(line, MODELYARD_API_KEY=key)["object"] == "chat.completion"
    page.reload()
    expect(page.locator("#fresh-key")).to_have_count(0)
    page.get_by_role("link", name="History", exact=True).click()
    page.go_back()
    expect(page.get_by_text("my app")).to_be_visible()
    expect(page.locator("#fresh-key")).to_have_count(0)
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Yes, go on").click()
    expect(page.get_by_text("Revoked", exact=True)).to_be_visible()


def test_a_failure_explains_itself_and_retrigger_is_offered(page: Page, site: Site) -> None:
    deployed(page, site, "broken", fault="exit_permanent")
    badge(page, "Failed")
    expect(page.get_by_role("alert")).to_contain_text("can't load this model")
    expect(page.get_by_role("alert")).to_contain_text("Import another one")
    page.goto(LIST)
    row = page.locator("tr", has_text="broken")
    row.get_by_role("button", name="Re-trigger").click()
    page.get_by_role("button", name="Yes, go on").click()
    expect(page.get_by_text("broken is being deployed again.")).to_be_visible()


def test_retrigger_is_offered_only_for_what_has_failed_or_was_stopped(page: Page, site: Site) -> None:
    deployed(page, site, "rules", start_seconds=5)
    offered = page.locator("main, #main").get_by_role("button", name="Re-trigger")
    badge(page, "Deploying")
    expect(offered).to_have_count(0)
    badge(page, "Deployed")
    expect(offered).to_have_count(0)
    page.goto(f"{LIST}?q=rules")
    expect(page.get_by_role("button", name="Copy cURL")).to_be_visible()
    expect(page.get_by_role("button", name="Re-trigger")).to_have_count(0)
    undeployed(page, "rules")
    expect(offered.first).to_be_visible()
    page.goto(f"{LIST}?q=rules")
    expect(page.get_by_role("button", name="Re-trigger")).to_be_visible()


def test_retrigger_of_several_leaves_out_what_runs_and_says_so(page: Page, site: Site) -> None:
    for name, options in (("many up", {}), ("many failed", {"fault": "exit_permanent"}), ("many stopped", {})):
        deployed(page, site, name, **options)
        badge(page, "Failed" if options else "Deployed")
    undeployed(page, "many stopped")
    page.goto(f"{LIST}?q=many")
    page.check("#action-toggle")
    page.select_option("select[name=action]", "retrigger")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("It will be done to 2 deployments.")).to_be_visible()
    expect(page.get_by_text("many up: it is Deployed")).to_be_visible()
    page.get_by_role("button", name="Re-trigger (2)").click()
    expect(page.get_by_text("2 deployments are being deployed again.")).to_be_visible()
    expect(page.get_by_text("1 was skipped: many up: it is Deployed")).to_be_visible()
    expect(page.locator("tr", has_text="many stopped").get_by_text("Deployed", exact=True)).to_be_visible()


def test_undeploy_then_delete(page: Page, site: Site) -> None:
    deployed(page, site, "leaving")
    badge(page, "Deployed")
    page.get_by_role("link", name="Configurations").click()
    expect(page.get_by_role("button", name="Delete")).to_be_disabled()
    page.get_by_role("button", name="Undeploy").first.click()
    page.get_by_role("button", name="Yes, go on").click()
    badge(page, "Stopped")
    page.get_by_role("link", name="Configurations").click()
    expect(page.get_by_role("button", name="Delete")).to_be_enabled()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Yes, go on").click()
    expect(page.get_by_text("leaving was deleted.")).to_be_visible()


def test_a_double_click_deploys_once(page: Page, site: Site) -> None:
    imported(page, site, "twice")
    page.get_by_role("link", name="Deploy this model").click()
    page.check("[name=runtime][value=echo]")
    for step in ("optimization", "parameters", "hardware", "review"):
        go_on(page, step)
    page.check("#id_accepted")
    page.get_by_role("button", name="Deploy", exact=True).dblclick()
    page.wait_for_url(re.compile("/deployments/deployment/dep_"))
    badge(page, "Deployed")
    page.goto(f"{LIST}?q=twice")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)


def test_a_double_click_generates_one_key(page: Page, site: Site) -> None:
    deployed(page, site, "one key")
    page.get_by_role("link", name="API Keys", exact=True).click()
    page.fill("[name=name]", "only one")
    page.get_by_role("button", name="Generate").dblclick()
    expect(page.locator("#fresh-key")).to_contain_text("myk_")
    page.reload()
    expect(page.get_by_role("link", name="only one")).to_have_count(1)


def test_a_bad_zip_is_explained_on_the_page(page: Page, site: Site, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_text("this is no zip")
    page.goto("/admin/models/model/import/")
    page.set_input_files("input[type=file]", str(bad))
    expect(page.get_by_text(re.compile("isn't a complete zip archive"))).to_be_visible()
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_hidden()


def test_the_log_and_the_timeline_are_there(page: Page, site: Site) -> None:
    deployed(page, site, "talking")
    badge(page, "Deployed")
    page.get_by_role("link", name="Logs").click()
    expect(page.locator("#log")).to_contain_text("echo: ready")
    page.get_by_role("link", name="Events").click()
    expect(page.locator(".my-timeline")).to_contain_text("The engine answered a real request")


def test_a_viewer_sees_and_changes_nothing(page: Page, viewer: Page, site: Site) -> None:
    deployed(page, site, "watched", fault="exit_permanent")
    badge(page, "Failed")
    viewer.goto(LIST)
    row = viewer.locator("tr", has_text="watched")
    expect(row.get_by_role("button", name="Copy cURL")).to_be_visible()
    expect(viewer.get_by_role("button", name="Re-trigger")).to_have_count(0)
    expect(viewer.get_by_role("link", name="Deploy a model")).to_have_count(0)
    viewer.goto("/admin/models/model/")
    expect(viewer.get_by_role("link", name="Import model")).to_have_count(0)


def test_a_viewer_who_types_an_address_is_told_what_is_missing(viewer: Page, page: Page, site: Site) -> None:
    deployed(page, site, "guarded")
    there = page.url.rstrip("/")
    for address in (f"{LIST}add/", f"{there}/redeploy/", "/admin/models/model/import/"):
        answer = viewer.goto(address)
        assert answer
        assert answer.status == 403, address
        expect(viewer.get_by_text(re.compile("permission|may not|not allowed", re.IGNORECASE)).first).to_be_visible()
    viewer.goto(f"{there}/configuration/")
    expect(viewer.get_by_role("button", name=re.compile("^(Save|Undeploy|Delete)"))).to_have_count(0)
    viewer.goto(f"{there}/keys/")
    expect(viewer.get_by_role("button", name=re.compile("^(Generate|Revoke|Rotate)"))).to_have_count(0)


def test_an_upload_is_paused_reloaded_and_goes_on(page: Page, site: Site, tmp_path: Path) -> None:
    path = tmp_path / "resumed.zip"
    with zipfile.ZipFile(path, "w") as archive, zipfile.ZipFile(site.archive) as tiny:
        for name in tiny.namelist():
            archive.writestr(name, tiny.read(name))
        archive.writestr("noise.txt", os.urandom(20_000_000))
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 5, "downloadThroughput": -1, "uploadThroughput": 3_000_000}
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", slow)
    page.goto("/admin/models/model/import/")
    page.set_input_files("#file", path)
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("[data-upload-said]")).to_contain_text("left")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-upload-said]")).to_contain_text("Paused")
    page.reload()
    expect(page.get_by_text("Begun, not finished")).to_be_visible()
    expect(page.locator("[data-unfinished]")).to_contain_text(re.compile(r"resumed.zip · [1-9]\d* % of"))
    network.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1, "latency": 0})
    page.set_input_files("#file", path)
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("[data-watch-badge]")).to_have_text("Ready", timeout=30_000)
    page.goto("/admin/models/model/import/")
    expect(page.get_by_text("Begun, not finished")).to_be_hidden()
