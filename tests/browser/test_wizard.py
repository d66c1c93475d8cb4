"""The wizard in a real browser: forth and back, the fit while choosing, nothing lost, deploy and again."""

import json
import os
import re
import subprocess

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import MODEL, Site, enter
from tests.browser.test_main_job import badge, deployed, go_on

pytestmark = pytest.mark.browser
SPEED = "[name=option__echo__words_per_second]"


def begun(page: Page, site: Site, name: str) -> None:
    """The wizard for a deployment of that name, on the echo runtime, at its second step."""
    page.goto(f"/admin/deployments/deployment/add/?model={site.model}")
    page.fill("#id_name", name)
    page.check("[name=runtime][value=echo]")
    go_on(page, "optimization")


def reviewed(page: Page) -> None:
    """From the second step to the last."""
    for step in ("parameters", "hardware", "review"):
        go_on(page, step)


def logged_out(page: Page) -> None:
    """As if the session had expired."""
    page.context.clear_cookies(name="sessionid")


def test_forth_and_back_keeps_what_was_typed(page: Page, site: Site) -> None:
    begun(page, site, "forth")
    go_on(page, "parameters")
    page.fill(SPEED, "7")
    go_on(page, "hardware")
    page.fill("#id_replicas", "2")
    page.get_by_role("button", name="Back", exact=True).click()
    expect(page.locator(SPEED)).to_have_value("7")
    page.go_back()
    expect(page.locator("#id_replicas")).to_have_value("2")
    page.get_by_role("navigation", name="Steps").get_by_role("button", name="General").click()
    expect(page.locator("#id_name")).to_have_value("forth")
    page.reload()
    expect(page.locator("[name=runtime][value=echo]")).to_be_checked()


def test_a_reload_keeps_what_was_not_sent_yet(page: Page, site: Site) -> None:
    begun(page, site, "reloaded")
    go_on(page, "parameters")
    page.fill(SPEED, "9")
    page.reload()
    expect(page.locator(SPEED)).to_have_value("9")
    expect(page.locator("[data-wz-said]")).to_contain_text("is back")


def test_the_fit_follows_the_choice_and_is_told_politely(page: Page, site: Site) -> None:
    begun(page, site, "fitting")
    go_on(page, "parameters")
    page.check("[name=option__echo__refuse]", force=True)
    expect(page.locator("#fit")).to_contain_text("Echo was told to refuse.")
    expect(page.locator("[data-fit-said]")).to_contain_text(f"can't serve {MODEL}")
    expect(page.locator("[data-fit-said]")).to_have_attribute("aria-live", "polite")
    page.uncheck("[name=option__echo__refuse]", force=True)
    go_on(page, "hardware")
    page.fill("#id_replicas", "4")
    expect(page.locator("#fit")).to_contain_text("4 replicas probably take")


def test_a_fit_that_could_not_be_asked_is_told_until_it_could(page: Page, site: Site) -> None:
    begun(page, site, "unasked")
    go_on(page, "parameters")
    page.context.set_offline(True)
    page.fill(SPEED, "7")
    expect(page.locator("[data-wz-said]")).to_contain_text("could not be asked")
    page.context.set_offline(False)
    page.fill(SPEED, "8")
    expect(page.locator("[data-wz-said]")).to_be_hidden()


def test_what_is_chosen_while_the_runtimes_are_asked_stays_chosen(page: Page, site: Site) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/fit/", hold)
    page.goto(f"/admin/deployments/deployment/add/?model={site.model}")
    page.evaluate("document.querySelector('#id_model').dispatchEvent(new Event('change', {bubbles: true}))")
    expect(page.locator("#fit")).to_have_attribute("aria-busy", "true")
    page.check("[name=runtime][value=echo]")
    held[0].continue_()
    expect(page.locator("#fit")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator("[name=runtime][value=echo]")).to_be_checked()
    expect(page.locator("[name=runtime][value=echo]")).to_be_focused()


def test_a_name_that_was_typed_stays_with_another_model(page: Page, site: Site) -> None:
    page.goto(f"/admin/deployments/deployment/add/?model={site.model}")
    page.fill("#id_name", "typed by hand")
    page.check("[name=runtime][value=echo]")
    go_on(page, "optimization")
    page.get_by_role("button", name="Back", exact=True).click()
    with page.expect_response(lambda answer: "name=typed" in answer.url):
        page.evaluate("document.querySelector('#id_model').dispatchEvent(new Event('change', {bubbles: true}))")
    page.wait_for_timeout(300)
    expect(page.locator("#id_name")).to_have_value("typed by hand")


def test_a_wrong_value_gets_the_focus_and_a_link_to_its_field(page: Page, site: Site) -> None:
    begun(page, site, "wrong")
    go_on(page, "parameters")
    page.fill(SPEED, "0")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#wz-summary")).to_be_focused()
    page.locator("#wz-summary").get_by_role("link", name="Speed").click()
    expect(page.locator(SPEED)).to_be_focused()
    expect(page.locator(SPEED)).to_have_attribute("aria-invalid", "true")


def test_a_taken_name_is_told_when_the_field_is_left(page: Page, site: Site) -> None:
    deployed(page, site, "owned")
    page.goto("/admin/deployments/deployment/add/")
    page.select_option("#id_model", label=MODEL)
    expect(page.locator("#id_name")).to_have_value(re.compile(f"^{MODEL}"))
    page.fill("#id_name", "owned")
    page.locator("#id_tags").focus()
    expect(page.locator("[data-name-said]")).to_contain_text("There is a deployment named 'owned' already")


def test_the_pasted_api_call_makes_the_deployment(page: Page, site: Site) -> None:
    begun(page, site, "by script")
    go_on(page, "parameters")
    page.fill(SPEED, "7")
    go_on(page, "hardware")
    go_on(page, "review")
    expect(page.locator("#argv")).to_contain_text("'<port>'")
    expect(page.locator("#env")).to_contain_text("ECHO_SECRET=<secret>")
    line = page.locator("#api-call").inner_text()
    page.goto("/admin/tokens/")
    page.get_by_role("button", name="Generate").click()
    token = page.locator("#fresh-token").inner_text()
    env = {**os.environ, "MODELYARD_TOKEN": token}
    done = subprocess.run(line, shell=True, env=env, capture_output=True, text=True, timeout=30, check=True)
    made = json.loads(done.stdout)
    assert (made["name"], made["runtime"], made["status"]) == ("by script", "echo", "deploying")
    page.goto(f"/admin/deployments/deployment/{made['id']}/")
    badge(page, "Deployed")


def test_an_expired_session_loses_nothing(page: Page, site: Site) -> None:
    begun(page, site, "expired")
    go_on(page, "parameters")
    page.fill(SPEED, "8")
    logged_out(page)
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/login/**")
    enter(page, "admin")
    page.wait_for_url("**/parameters/")
    expect(page.locator(SPEED)).to_have_value("8")
    go_on(page, "hardware")


def test_redeploy_shows_the_difference_and_switches(page: Page, site: Site) -> None:
    deployed(page, site, "again", words_per_second=7)
    badge(page, "Deployed")
    page.get_by_role("link", name="Re-deploy").first.click()
    go_on(page, "optimization")
    go_on(page, "parameters")
    page.fill(SPEED, "20")
    page.check("[name=option__echo__loud]", force=True)
    go_on(page, "hardware")
    go_on(page, "review")
    table = page.locator(".wz-diff")
    expect(table.locator("tr", has_text="Speed")).to_contain_text(re.compile("7.0.*20.0.*removed", re.DOTALL))
    expect(table.locator("tr", has_text="Loud")).to_contain_text("added")
    page.get_by_role("button", name="Re-deploy").click()
    expect(page.get_by_text("The next version is being brought up.")).to_be_visible()
    badge(page, "Deployed")


def test_two_people_at_once_get_a_clear_conflict(page: Page, site: Site) -> None:
    deployed(page, site, "both")
    badge(page, "Deployed")
    address = page.url.rstrip("/") + "/redeploy/"
    other = page.context.new_page()
    for each, speed in ((page, "11"), (other, "12")):
        each.goto(address)
        go_on(each, "optimization")
        go_on(each, "parameters")
        each.fill(SPEED, speed)
        go_on(each, "hardware")
        go_on(each, "review")
    other.get_by_role("button", name="Re-deploy").click()
    badge(other, "Deployed")
    page.get_by_role("button", name="Re-deploy").click()
    expect(page.get_by_text("has made v2 since you began with v1")).to_be_visible()
    page.get_by_role("button", name="Go on from v2 with what I typed").click()
    expect(page.locator(".wz-diff tr", has_text="Speed")).to_contain_text(re.compile("12.0.*11.0", re.DOTALL))
    page.get_by_role("button", name="Re-deploy").click()
    expect(page.get_by_text("The next version is being brought up.")).to_be_visible()


def test_the_browsers_way_back_after_the_deploy_makes_nothing_twice(page: Page, site: Site) -> None:
    begun(page, site, "backward")
    reviewed(page)
    page.check("#id_accepted")
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.wait_for_url(re.compile("/deployments/deployment/dep_"))
    page.go_back()
    expect(page.get_by_text("This was sent already: here is what it made.")).to_be_visible()


def test_by_keyboard_alone(page: Page, site: Site) -> None:
    page.goto(f"/admin/models/model/{site.model}/change/")
    page.get_by_role("link", name="Deploy this model").click()
    page.locator("#id_name").press("Enter")
    page.wait_for_url("**/optimization/")
    page.get_by_role("button", name="Continue").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/parameters/")
