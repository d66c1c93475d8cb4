"""Pages that stay open in a real browser: what they show follows, and says so where it can't."""

from datetime import date

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Site
from tests.browser.test_main_job import LIST, badge, deployed
from tests.cli.conftest import run

pytestmark = pytest.mark.browser
OLD = "What this page shows may be old"
CHANGES = """() => {
  window.changes = [];
  for (const part of document.querySelectorAll("[data-part]")) {
    new MutationObserver((all) => all.forEach((each) => {
      if (!each.target.closest?.("time")) window.changes.push(part.dataset.part);
    })).observe(part, { childList: true, subtree: true });
  }
}"""


def looked(page: Page) -> None:
    """As if one came back to the tab: it looks at once."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def made(page: Page, site: Site, name: str) -> str:
    """A deployment that is Ready to Deploy; its address in the API."""
    token = page.locator("[name=csrfmiddlewaretoken]").first.get_attribute("value")
    body = {"model": site.model, "name": name, "runtime": "echo"}
    answer = page.request.post("/api/v1/deployments/", data=body, headers={"X-CSRFToken": str(token)})
    assert answer.ok, answer.text()
    return f"/api/v1/deployments/{answer.json()['id']}/"


def test_home_goes_on_after_a_question_that_was_cancelled(page: Page, site: Site) -> None:
    deployed(page, site, "stuck", fault="exit_permanent")
    badge(page, "Failed")
    page.goto("/admin/")
    button = page.locator(".my-line", has_text="stuck").get_by_role("button", name="Re-trigger")
    button.click()
    page.get_by_role("button", name="Cancel").click()
    expect(button).to_be_focused()
    made(page, site, "newcomer")
    expect(page.get_by_role("link", name="newcomer").first).to_be_visible(timeout=15_000)
    expect(button).to_be_focused()


def test_days_on_home_are_those_of_the_installation(page: Page, chromium: Browser, site: Site) -> None:
    made(page, site, "counted")
    state = page.context.storage_state()
    west = chromium.new_context(base_url=site.address, storage_state=state, timezone_id="America/Los_Angeles")
    home = west.new_page()
    home.goto("/admin/")
    with home.expect_response("**?period=7d") as asked:
        home.get_by_role("button", name="7 days").click()
    day = date.fromisoformat(asked.value.json()["starts"][-1])
    expect(home.locator("#home-traffic tbody time").last).to_have_text(f"{day:%b} {day.day}, {day.year}")
    labels = home.evaluate("Chart.getChart(document.querySelector('[data-chart] canvas')).data.labels")
    assert (len(labels), labels[-1]) == (7, f"{day:%b} {day.day}")
    west.close()


def test_a_page_whose_server_is_away_says_that_it_may_be_old(page: Page, site: Site) -> None:
    deployed(page, site, "left alone")
    badge(page, "Deployed")
    for address in (page.url, f"{LIST}?q=left", "/admin/"):
        page.goto(address, wait_until="networkidle")
        page.context.set_offline(True)
        for _ in range(2):
            expect(page.get_by_text(OLD)).to_have_count(0)
            with page.expect_event("requestfailed"):
                looked(page)
        expect(page.get_by_text(OLD)).to_be_visible()
        page.context.set_offline(False)
        looked(page)
        expect(page.get_by_text(OLD)).to_have_count(0)


def test_an_error_of_the_server_is_said_like_silence(page: Page, site: Site) -> None:
    deployed(page, site, "behind a proxy")
    badge(page, "Deployed")
    page.route("**/deployment/dep_*/", lambda route: route.fulfill(status=502))
    for _ in range(2):
        with page.expect_response("**/deployment/dep_*/"):
            looked(page)
    expect(page.get_by_text(OLD)).to_be_visible()
    page.unroute_all()
    looked(page)
    expect(page.get_by_text(OLD)).to_have_count(0)


def test_a_row_that_was_deleted_elsewhere_is_marked(page: Page, site: Site) -> None:
    address = made(page, site, "vanishing")
    page.goto(f"{LIST}?q=vanishing")
    row = page.locator("tr.data-row", has_text="vanishing")
    expect(row.get_by_role("button", name="Deploy", exact=True)).to_be_visible()
    token = page.locator("[name=csrfmiddlewaretoken]").first.get_attribute("value")
    assert page.request.delete(address, headers={"X-CSRFToken": str(token)}).ok
    looked(page)
    expect(row.get_by_text("Deleted", exact=True)).to_be_visible()
    expect(row.get_by_role("button")).to_have_count(0)
    expect(page.locator("#my-live")).to_have_text("vanishing: Deleted")


def test_what_is_as_before_is_left_alone_and_not_announced_again(page: Page, site: Site) -> None:
    deployed(page, site, "repeated", fault="exit_permanent")
    badge(page, "Failed")
    page.reload(wait_until="networkidle")
    page.evaluate(CHANGES)
    with page.expect_response(lambda answer: "x-modelyard-parts" in answer.request.headers) as answer:
        looked(page)
    assert answer.value.status == 200
    page.wait_for_timeout(500)
    assert page.evaluate("window.changes") == []
    expect(page.locator("[data-part=trouble] [role=alert]")).to_contain_text("can't load this model")


def test_a_status_is_said_only_when_its_word_changes(page: Page, site: Site) -> None:
    deployed(page, site, "spoken of", start_seconds=3)
    badge(page, "Deploying")
    assert page.locator("[data-part=status]").get_attribute("aria-live") is None
    expect(page.locator("#my-live")).to_be_empty()
    badge(page, "Deployed")
    expect(page.locator("#my-live")).to_have_text("spoken of: Deployed")


def test_a_question_stays_about_what_was_shown(page: Page, site: Site) -> None:
    address = made(page, site, "overtaken")
    page.goto(f"{LIST}?q=overtaken")
    page.locator("tr.data-row", has_text="overtaken").get_by_role("button", name="Deploy", exact=True).click()
    token = page.locator("[name=csrfmiddlewaretoken]").first.get_attribute("value")
    assert page.request.post(f"{address}deploy/", headers={"X-CSRFToken": str(token)}).ok
    with page.expect_response("**/live/**"):
        looked(page)
    page.get_by_role("button", name="Yes, go on").click()
    expect(page.get_by_text("Deploy is for what is Ready to Deploy")).to_be_visible()


def status(site: Site, word: str) -> None:
    """Of the model, as if a worker were at it for the next hour."""
    until = "timezone.now() + timedelta(hours=1)" if word == "updating" else "None"
    lines = (
        "from datetime import timedelta; from django.utils import timezone; from apps.models.models import Model; "
        f"Model.objects.filter(pk='{site.model}').update(status='{word}', lease_owner='x', lease_until={until})"
    )
    assert run("shell", "-v", "0", "-c", lines, data=site.data).returncode == 0


def test_a_page_is_not_loaded_again_under_what_was_typed(page: Page, site: Site) -> None:
    status(site, "updating")
    try:
        page.goto(f"/admin/models/model/{site.model}/edit/")
        page.evaluate("window.still = true")
        page.fill("[name=description]", "half a sentence")
        page.get_by_role("heading", level=1).first.click()  # the focus is elsewhere
    finally:
        status(site, "ready")
    with page.expect_response("**/progress/**"):
        looked(page)
    page.wait_for_timeout(500)
    assert page.evaluate("window.still")
    expect(page.locator("[name=description]")).to_have_value("half a sentence")
    page.fill("[name=description]", "")
    page.get_by_role("heading", level=1).first.click()
    looked(page)
    page.wait_for_function("!window.still")
