"""Every page for everybody: axe finds nothing serious, and all of it goes by the keyboard alone."""

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Site, enter, log_in
from tests.browser.test_main_job import LIST, badge, deployed
from tests.browser.walk import every_page

pytestmark = pytest.mark.browser
STILL = """() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("*, ::before, ::after { transition: none !important; animation: none !important; }");
  document.adoptedStyleSheets.push(sheet);
}"""
LOOK = """async (only) => (await axe.run(document, { resultTypes: ["violations"], ...only })).violations
  .filter((each) => ["serious", "critical"].includes(each.impact))
  .flatMap((each) => each.nodes.map((node) => `${each.id}: ${node.html.slice(0, 300)} ${node.failureSummary}`))
"""
COLOURS = {"runOnly": ["color-contrast"]}  # all that a theme can change


def seen_by_axe(page: Page) -> set[str]:
    """What is serious on the page that is open, in both themes and both widths."""
    page.evaluate(STILL)
    page.evaluate(AXE_SCRIPT)  # as the debugger, which no Content-Security-Policy holds back
    found: set[str] = set()
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        for theme in ("light", "dark"):
            page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", theme == "dark")
            said = page.evaluate(LOOK, COLOURS if theme == "dark" else {})
            found |= {f"{page.url} ({theme}, {width} px) {each}" for each in said}
    return found


@pytest.fixture(scope="module")
def furnished(chromium: Browser, site: Site) -> Iterator[Page]:
    """A page on a site with something of everything: what answers, what failed, a key, an answer, usage."""
    page = log_in(chromium, site, "admin")
    deployed(page, site, "fallen", fault="exit_permanent")
    badge(page, "Failed")
    deployed(page, site, "serving")
    badge(page, "Deployed")
    page.fill("#chat-text", "hello")
    page.keyboard.press("Enter")
    expect(page.locator("#console-said")).to_have_text("Done.")
    page.get_by_role("link", name="API Keys", exact=True).click()
    page.fill("[name=name]", "a key")
    page.get_by_role("button", name="Generate").click()
    yield page
    page.context.close()


@pytest.mark.timeout(600)
def test_axe_finds_nothing_serious_on_any_page(furnished: Page) -> None:
    found = set()
    for _ in every_page(furnished):
        found |= seen_by_axe(furnished)
    assert not found, "\n".join(sorted(found))


def test_axe_finds_nothing_serious_in_dialogs_and_the_search(furnished: Page) -> None:
    furnished.goto(f"{LIST}?q=fallen")
    found = set()
    for name in ("Copy cURL", "Re-trigger"):
        furnished.get_by_role("button", name=name).first.click()
        expect(furnished.locator("dialog[open]")).to_be_visible()
        found |= seen_by_axe(furnished)
        furnished.keyboard.press("Escape")
    furnished.keyboard.press("Control+k")
    expect(furnished.locator("input:focus")).to_be_visible()
    furnished.keyboard.type("fallen")
    expect(furnished.locator("#command-results-list")).to_contain_text("fallen")
    found |= seen_by_axe(furnished)
    assert not found, "\n".join(sorted(found))


def test_axe_finds_nothing_serious_before_and_after_a_session(chromium: Browser, site: Site) -> None:
    page = chromium.new_context(base_url=site.address).new_page()
    page.goto("/admin/")
    page.get_by_role("button", name="Log in").click()
    found = seen_by_axe(page)
    enter(page, "admin")
    page.wait_for_url("**/admin/")
    page.context.clear_cookies()
    page.evaluate("void window.modelyard.ask('/admin/').catch(() => {})")
    expect(page.locator("#my-login")).to_be_visible()
    found |= seen_by_axe(page)
    page.context.close()
    assert not found, "\n".join(sorted(found))


FOCUSED = """() => {
  const at = document.activeElement;
  // unfold marks some fields by an outline around the box that they are in.
  const boxes = [at, at.parentElement, at.parentElement?.parentElement].filter(Boolean);
  const marked = boxes.some((each) => getComputedStyle(each).outlineStyle !== "none");
  return { what: `${at.tagName} ${at.id} ${at.className} ${at.textContent.trim().slice(0, 40)}`, marked,
           shown: at.checkVisibility(), top: at === document.body };
}"""


def tabbed_to(page: Page, target: Locator, steps: int = 150) -> None:
    """Press Tab until that has the focus; everything on the way is visible and shows the focus."""
    for _ in range(steps):
        page.keyboard.press("Tab")
        if target.evaluate("it => it === document.activeElement"):
            assert page.evaluate(FOCUSED)["marked"]
            return
        at = page.evaluate(FOCUSED)
        assert at["top"] or (at["marked"] and at["shown"]), at["what"]
    pytest.fail(f"Tab never comes to {target}")


def test_from_the_list_to_an_answer_by_the_keyboard_alone(furnished: Page) -> None:
    page = furnished
    page.goto(f"{LIST}?q=serving")
    row = page.locator("tr.data-row", has_text="serving")
    button = row.get_by_role("button", name="Copy cURL")
    tabbed_to(page, button)
    page.keyboard.press("Enter")
    dialog = page.locator("#my-curl")
    for _ in range(8):  # round and round: nothing behind the dialog gets the focus
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('#my-curl')")
    tabbed_to(page, dialog.get_by_role("button", name=re.compile("MODELYARD_API_KEY")))
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("Copied")
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    page.keyboard.press("Shift+Tab")
    tabbed_to(page, row.get_by_role("link", name="Manage API Keys"))
    page.goto(f"{LIST}?q=serving")
    tabbed_to(page, row.get_by_role("link", name=re.compile("serving")).first)
    page.keyboard.press("Enter")
    tabbed_to(page, page.locator("#chat-text"))
    page.keyboard.type("by hand")
    page.keyboard.press("Enter")
    expect(page.locator("#console-said")).to_have_text("Done.")
    expect(page.locator("#chat-text")).to_be_focused()
    tabbed_to(page, page.locator("#console-curl"))


def test_a_question_gives_the_focus_back_and_escape_does_nothing(furnished: Page) -> None:
    furnished.goto(f"{LIST}?q=fallen")
    button = furnished.get_by_role("button", name="Re-trigger")
    tabbed_to(furnished, button)
    furnished.keyboard.press("Enter")
    expect(furnished.locator("#my-confirm")).to_be_visible()
    furnished.keyboard.press("Escape")
    expect(furnished.locator("#my-confirm")).to_be_hidden()
    expect(button).to_be_focused()
    expect(furnished.get_by_text("Failed", exact=True).first).to_be_visible()


def test_the_first_tab_leads_past_the_menu(furnished: Page) -> None:
    furnished.goto(LIST)
    furnished.keyboard.press("Tab")
    skip = furnished.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    furnished.keyboard.press("Enter")
    furnished.keyboard.press("Tab")
    assert furnished.evaluate("!!document.activeElement.closest('#main')")
