"""What all pages share, in a real browser: the Content-Security-Policy, the search, the live list, the session."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, Site
from tests.browser.test_main_job import LIST, badge
from tests.browser.walk import every_page
from tests.cli.conftest import run

pytestmark = pytest.mark.browser
LISTEN = """addEventListener("securitypolicyviolation", (event) => console.error(
    `refused: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));"""
MAKE = """
from apps.deployments import operations
from apps.models.models import Model
operations.create(model=Model.objects.get(pk="%s"), name="%s", runtime="echo", by=None, tags=["eu"])
"""


@pytest.fixture
def made(page: Page, site: Site) -> Iterator[Page]:
    """A page on a site with a deployment that is Ready to Deploy; what the policy refuses fails the test."""
    refused: list[str] = []
    page.on("console", lambda message: message.type == "error" and refused.append(f"{page.url}: {message.text}"))
    page.context.add_init_script(LISTEN)
    page.goto(f"{LIST}?q=here")
    if not page.locator("tr.data-row").count():
        run("shell", "-v", "0", "-c", MAKE % (site.model, "here"), data=site.data)
    refused.clear()
    yield page
    assert not [line for line in refused if "refused" in line or "Content Security Policy" in line]


def test_no_page_does_what_its_policy_refuses(made: Page) -> None:
    seen = list(every_page(made))
    assert len(seen) > 40
    assert {"redeploy", "add"} <= {part for address in seen for part in address.split("/")}


def test_the_search_leads_to_a_deployment_by_keyboard_alone(made: Page) -> None:
    made.goto("/admin/")
    made.keyboard.press("Control+k")
    expect(made.locator("input:focus")).to_be_visible()
    made.keyboard.type("here")
    expect(made.locator("#command-results-list")).to_contain_text("here")
    made.keyboard.press("ArrowDown")
    made.keyboard.press("Enter")
    made.wait_for_url(re.compile("/deployments/deployment/dep_"))


def test_the_list_follows_a_deployment_without_a_reload(made: Page) -> None:
    made.goto(f"{LIST}?q=here")
    made.evaluate("window.same = true")
    row = made.locator("tr.data-row", has_text="here")
    row.get_by_role("button", name="Deploy", exact=True).click()
    made.get_by_role("button", name="Yes, go on").click()
    made.wait_for_load_state()
    made.evaluate("window.same = true")
    badge(made, "Deployed")
    assert made.evaluate("window.same")
    expect(made.locator("#my-live")).to_contain_text("here: Deployed")


def test_several_are_chosen_and_the_page_says_what_will_happen(made: Page) -> None:
    made.goto(f"{LIST}?q=here")
    made.check("#action-toggle")
    made.select_option("select[name=action]", "tag")
    made.get_by_role("button", name="Run").click()
    expect(made.get_by_text("It will be done to 1 deployment.")).to_be_visible()
    made.fill("#tag", "blue")
    made.get_by_role("button", name="Add the tag").click()
    expect(made.get_by_text("The tag was added to 1 deployment.")).to_be_visible()
    expect(made.locator("a.my-tag", has_text="blue")).to_be_visible()


def test_who_may_make_no_key_copies_the_line_without_one(made: Page, viewer: Page) -> None:
    viewer.goto(f"{LIST}?q=here")
    viewer.get_by_role("button", name="Copy cURL").first.click()
    expect(viewer.get_by_role("button", name=re.compile("Make a key"))).to_have_count(0)
    viewer.get_by_role("button", name=re.compile("MODELYARD_API_KEY")).click()
    expect(viewer.get_by_text(re.compile("^Copied"))).to_be_visible()
    expect(viewer.locator("[data-curl-line]")).to_contain_text("Bearer $MODELYARD_API_KEY")


def test_a_session_that_ends_is_taken_up_without_losing_the_page(made: Page) -> None:
    made.goto(LIST)
    made.fill("#searchbar", "half a word")
    made.context.clear_cookies()
    expect(made.locator("#my-login")).to_be_visible()
    made.fill("#my-login-password", PASSWORD)
    made.get_by_role("button", name="Log in").click()
    expect(made.locator("#my-login")).to_be_hidden()
    expect(made.locator("#searchbar")).to_have_value("half a word")
    assert made.goto("/admin/").ok  # type: ignore[union-attr]


def test_the_menu_of_a_person_opens_by_the_keyboard(made: Page) -> None:
    made.goto("/admin/")
    menu = made.locator("[role=button]", has_text="admin").last
    menu.focus()
    made.keyboard.press("Enter")
    expect(made.get_by_role("button", name="Log out")).to_be_visible()
