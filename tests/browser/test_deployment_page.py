"""The page of one deployment in a real browser: test console, snippets, logs, live parts, limits of a viewer."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, Site
from tests.browser.test_main_job import LIST, answer_of, badge, clipboard, deployed
from tests.cli.conftest import run

pytestmark = pytest.mark.browser
CHAT, EMBEDDINGS = "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2-int8"
Run = Callable[[str], str]


@pytest.fixture(scope="module")
def demo(site: Site) -> Site:
    """The site with a real chat model and a real embedding model deployed."""
    done = run("demo", "--base-url", site.address, data=site.data)
    if "can't be fetched" in done.stdout:
        pytest.skip(done.stdout)
    assert f"Deployment  {CHAT} · Deployed" in done.stdout, done.stdout
    return site


def opened(page: Page, name: str, tab: str = "") -> str:
    """Open a tab of the deployment of that name; its address."""
    page.goto(f"{LIST}?q={name}")
    link = page.locator("#result_list").get_by_role("link", name=re.compile(re.escape(name))).first
    found = re.search(r"dep_\w+", str(link.get_attribute("href")).replace("_5F", "_"))
    assert found
    address = f"{LIST}{found[0]}/{tab}"
    page.goto(address)
    return address


def fresh_key(page: Page) -> str:
    """A key of the deployment whose page is open."""
    page.get_by_role("button", name="Copy cURL", exact=True).first.click()
    page.get_by_role("button", name=re.compile("Make a key")).click()
    expect(page.get_by_text(re.compile("Copied. The key lives"))).to_be_visible()
    found = re.search(r"myk_\w+", clipboard(page))
    page.locator("#my-curl [data-close]").click()
    assert found
    return found[0]


def test_an_answer_streams_into_the_test_console(page: Page, demo: Site) -> None:
    opened(page, CHAT)
    page.evaluate("""() => {
      window.seen = [];
      new MutationObserver(() => window.seen.push(document.querySelector("#chat-log").textContent.length))
        .observe(document.querySelector("#chat-log"), { subtree: true, childList: true, characterData: true });
    }""")
    page.fill("#chat-text", "Count from one to ten in words.")
    page.keyboard.press("Enter")
    expect(page.locator("#console-said")).to_have_text("Done.", timeout=60_000)
    assert len(set(page.evaluate("window.seen"))) > 5  # it grew word by word
    figures = page.locator("#console-figures").inner_text()
    for word in ("HTTP status", "200", "Time to first token", "Completion tokens", "Tokens/s", "req_"):
        assert word in figures
    page.fill("#chat-text", "And backwards?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".my-turn-user")).to_have_count(2)
    expect(page.locator("#console-said")).to_have_text("Done.", timeout=60_000)


def test_copy_as_curl_is_exactly_what_was_sent(page: Page, demo: Site) -> None:
    opened(page, CHAT)
    key = fresh_key(page)
    page.get_by_text("System prompt and parameters").click()
    page.fill("#chat-system", 'It\'s "short"\nand $HOME `stays`')
    page.fill("#chat-max", "8")
    page.fill("#chat-temperature", "0")
    page.uncheck("#chat-stream")
    with page.expect_request("**/invoke/**") as sent:
        page.fill("#chat-text", "Say it's me")
        page.keyboard.press("Enter")
    expect(page.locator("#console-said")).to_have_text("Done.", timeout=60_000)
    page.get_by_role("button", name="Copy as cURL").click()
    expect(page.locator("#console-copied")).to_contain_text("exactly what was sent")
    line = clipboard(page)
    posted = subprocess.run(["bash", "-c", f"curl() {{ printf '%s\\0' \"$@\"; }}; {line}"], capture_output=True,
                            text=True, check=True).stdout.split("\0")  # fmt: skip
    assert posted[posted.index("--data-raw") + 1] == sent.value.post_data
    assert answer_of(line, MODELYARD_API_KEY=key)["object"] == "chat.completion"


def test_a_name_with_blanks_is_sent_and_copied_alike(page: Page, site: Site) -> None:
    deployed(page, site, "My model #1?", runtime="onnx")
    badge(page, "Deployed")
    key = fresh_key(page)
    page.locator("#try-raw [data-send]").click()
    expect(page.locator("#console-result")).to_contain_text("outputs")
    page.get_by_role("button", name="Copy as cURL").click()
    expect(page.locator("#console-copied")).to_contain_text("exactly what was sent")
    assert answer_of(clipboard(page), MODELYARD_API_KEY=key)["model_name"] == "My model #1?"


def test_an_answer_can_be_stopped_and_the_conversation_cleared(page: Page, demo: Site) -> None:
    opened(page, CHAT)
    page.fill("#chat-text", "Write a very long story about the sea.")
    page.keyboard.press("Enter")
    expect(page.locator(".my-turn-assistant span")).not_to_be_empty(timeout=60_000)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#console-said")).to_have_text("Stopped.")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".my-turn")).to_have_count(0)


def test_what_is_cleared_while_it_comes_is_not_sent_along_later(page: Page, site: Site) -> None:
    deployed(page, site, "forgetful", words_per_second=2)
    badge(page, "Deployed")
    page.fill("#chat-text", "one two three four five six seven eight nine ten")
    page.keyboard.press("Enter")
    expect(page.locator(".my-turn-assistant span")).to_contain_text("one")
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("button", name="Send").first).to_be_enabled()
    expect(page.locator("#console-said")).to_be_empty()
    expect(page.locator("#console-figures")).to_be_hidden()
    page.fill("#chat-text", "anew")
    with page.expect_request("**/invoke/**") as sent:
        page.keyboard.press("Enter")
    assert sent.value.post_data_json["messages"] == [{"role": "user", "content": "anew"}]
    expect(page.locator("#console-said")).to_have_text("Done.")
    expect(page.locator(".my-turn")).to_have_count(2)


def test_embeddings_show_their_length_and_how_alike_they_are(page: Page, demo: Site) -> None:
    opened(page, EMBEDDINGS)
    page.get_by_role("button", name="Embed", exact=True).click()
    expect(page.locator("#console-result")).to_contain_text("384")
    alike = [float(cell) for cell in page.locator("#console-result table").nth(1).locator("td").all_inner_texts()
             if re.fullmatch(r"-?\d\.\d{4}", cell)]  # fmt: skip
    assert alike[0] == pytest.approx(1, abs=1e-3)
    assert alike[1] > alike[2]


def test_any_request_is_sent_and_an_error_says_what_to_do(page: Page, demo: Site) -> None:
    opened(page, EMBEDDINGS)
    page.get_by_role("tab", name="Any request").click()
    page.fill("#raw-body", "{ no json")
    page.locator("#try-raw [data-send]").click()
    expect(page.locator("#console-error")).to_contain_text("no valid JSON")
    page.fill("#raw-body", json.dumps({"model": EMBEDDINGS, "input": 5}))
    page.locator("#try-raw [data-send]").click()
    expect(page.locator("#console-error")).to_contain_text("Correct the request")
    page.select_option("#raw-path", "GET /v1/models")
    page.locator("#try-raw [data-send]").click()
    expect(page.locator("#console-result")).to_contain_text(EMBEDDINGS)


def bash(code: str, key: str, _place: Path) -> list[str]:
    return ["bash", "-c", code]


def python(code: str, key: str, _place: Path) -> list[str]:
    return [sys.executable, "-c", code]


def node(code: str, key: str, place: Path) -> list[str]:
    (place / "snippet.js").write_text(code)
    return ["node", str(place / "snippet.js")]


@pytest.mark.parametrize("name", [CHAT, EMBEDDINGS])
def test_every_snippet_runs_as_pasted(page: Page, demo: Site, tmp_path: Path, name: str) -> None:
    opened(page, name)
    key = fresh_key(page)
    shells = {"cURL": bash, "Python": python, "JavaScript": node, "OpenAI SDK": python}
    for streaming in (False, True):
        if streaming and not page.locator("#snippet-stream").count():
            continue
        if streaming:
            page.check("#snippet-stream")
        for title, command in shells.items():
            page.get_by_role("tab", name=title, exact=True).click()
            page.locator("[data-snippet]:not([hidden])").get_by_role("button", name=re.compile("Copy|Copied")).click()
            expect(page.locator("[data-snippet]:not([hidden]) [data-copy]")).to_contain_text("Copied")
            code = clipboard(page)
            assert ("stream" in code) is streaming
            env = {**os.environ, "MODELYARD_API_KEY": key}
            done = subprocess.run(command(code, key, tmp_path), env=env, capture_output=True, text=True, timeout=90,
                                  check=False)  # fmt: skip
            assert done.returncode == 0, (title, done.stderr)
            if title != "cURL" and name == EMBEDDINGS:
                assert done.stdout.strip() == "384"
            elif title == "cURL" and not streaming:
                assert "error" not in json.loads(done.stdout)
            else:
                assert len(done.stdout.strip()) > 10


def test_the_log_is_followed_searched_and_downloaded(page: Page, demo: Site) -> None:
    address = opened(page, CHAT, "logs/")
    expect(page.locator("#log")).to_contain_text("slot")
    page.evaluate("window.still = true")
    before = page.locator("#log").get_attribute("data-cursor")
    page.evaluate("""async () => {
      const id = location.pathname.match(/dep_\\w+/)[0];
      await fetch(`/api/v1/deployments/${id}/invoke/v1/chat/completions`, { method: "POST",
        headers: { "X-CSRFToken": document.querySelector("[name=csrfmiddlewaretoken]").value,
                   "Content-Type": "application/json" },
        body: JSON.stringify({ messages: [{ role: "user", content: "hi" }], max_tokens: 4 }) });
    }""")
    expect(page.locator("#log")).not_to_have_attribute("data-cursor", str(before))
    assert page.evaluate("window.still")
    page.fill("#log-word", "--- START")
    page.locator("#log-search button").first.click()
    expect(page.locator("#log mark").first).to_have_text("--- start")
    page.get_by_role("button", name="Back to the end").click()
    expect(page.locator("#log mark")).to_have_count(0)
    with page.expect_download() as loaded:
        page.get_by_role("link", name="Download").click()
    assert "--- start 1" in Path(loaded.value.path()).read_text()
    assert "logs" in address


def test_the_log_is_left_alone_by_whatever_one_scrolls_and_followed_again(page: Page, site: Site) -> None:
    deployed(page, site, "scrolled")
    badge(page, "Deployed")
    page.get_by_role("link", name="Logs").click()
    log, follow = page.locator("#log"), page.locator("#follow")
    expect(log).to_contain_text("echo: ready")
    log.evaluate("log => { log.style.minHeight = 0; log.style.height = '2rem'; log.scrollTop = log.scrollHeight; }")
    assert log.evaluate("log => log.scrollTop") > 4
    page.wait_for_timeout(2000)  # the page's own scrolling and looking changes nothing
    expect(follow).to_be_checked()
    log.evaluate("log => { log.scrollTop = 0; }")  # as a finger or the bar does
    expect(follow).not_to_be_checked()
    log.evaluate("log => { log.scrollTop = log.scrollHeight; }")
    expect(follow).to_be_checked()
    page.fill("#log-word", "ready")
    page.locator("#log-search button").first.click()
    page.locator(".my-hit").first.click()
    expect(follow).not_to_be_checked()
    with page.expect_request("**/logs/lines/?*after=*"):
        follow.check()


def test_the_page_says_deployed_without_being_loaded_again(page: Page, site: Site) -> None:
    deployed(page, site, "lively", start_seconds=4)
    page.evaluate("window.still = true")
    expect(page.get_by_text("so nothing answers here yet")).to_be_visible()
    badge(page, "Deployed")
    expect(page.locator("#chat-text")).to_be_visible()
    expect(page.locator("[data-part=replicas]")).to_contain_text("Ready")
    assert page.evaluate("window.still")


def test_a_failure_shows_the_button_that_mends_it_on_every_tab(page: Page, site: Site) -> None:
    deployed(page, site, "sorry", fault="exit_permanent")
    badge(page, "Failed")
    for tab in ("API Keys", "History", "Logs", "Events"):
        page.get_by_role("navigation", name="Pages of this deployment").get_by_role("link", name=tab).click()
        alert = page.get_by_role("alert").filter(has_text="It has failed")
        expect(alert).to_contain_text("can't load this model")
        expect(alert.get_by_role("link", name="Import it again")).to_be_visible()


def test_a_viewer_may_read_and_not_call(viewer: Page, demo: Site) -> None:
    opened(viewer, CHAT)
    expect(viewer.locator("#console")).to_contain_text("You may look, but not call")
    expect(viewer.locator("#chat-text")).to_have_count(0)
    expect(viewer.get_by_role("link", name="Re-deploy")).to_have_count(0)
    expect(viewer.get_by_role("button", name="Undeploy")).to_have_count(0)
    opened(viewer, CHAT, "logs/")
    expect(viewer.locator("#log")).to_be_visible()


def test_a_session_that_ends_under_the_console_loses_no_question(page: Page, site: Site) -> None:
    deployed(page, site, "patient")
    badge(page, "Deployed")
    page.fill("#chat-text", "first")
    page.keyboard.press("Enter")
    expect(page.locator("#console-said")).to_have_text("Done.")
    page.context.clear_cookies()
    page.fill("#chat-text", "second and last")
    page.keyboard.press("Enter")
    page.fill("#my-login-password", PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#console-said")).to_have_text("Done.")
    expect(page.locator(".my-turn-assistant span").last).to_have_text("second and last")
    expect(page.locator(".my-turn-user")).to_have_count(2)


def test_two_people_at_once_lose_nothing(page: Page, site: Site) -> None:
    deployed(page, site, "shared")
    badge(page, "Deployed")
    page.get_by_role("link", name="Configurations").click()
    other = page.context.new_page()
    other.goto(page.url)
    other.fill("[name=description]", "theirs")
    other.get_by_role("button", name="Save").first.click()
    expect(other.get_by_text("Saved.")).to_be_visible()
    page.fill("[name=description]", "mine")
    page.get_by_role("button", name="Save").first.click()
    told = page.get_by_role("alert").filter(has_text="Somebody else has changed this")
    expect(told).to_contain_text("theirs")
    expect(page.locator("[name=description]")).to_have_value("mine")
    page.get_by_role("button", name="Save").first.click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.locator("[name=description]")).to_have_value("mine")


def test_a_button_that_copies_twice_says_its_own_words_again(page: Page, site: Site) -> None:
    deployed(page, site, "copied")
    button = page.get_by_role("button", name=re.compile("Copy ID|Copied"))
    button.click()
    expect(button).to_have_text("✓ Copied")
    button.click()
    expect(button).to_have_text("Copy ID")


def test_the_tabs_of_the_snippets_go_by_the_arrow_keys(page: Page, site: Site) -> None:
    deployed(page, site, "arrows")
    badge(page, "Deployed")
    page.get_by_role("tab", name="cURL").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.locator("#python")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator("#openai")).to_be_visible()
