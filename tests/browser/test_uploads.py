"""What the import page does with a refusal: it says why, and doesn't try for ever."""

import base64
import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MODEL, Site
from tests.browser.test_models import LIST, uploaded

pytestmark = pytest.mark.browser
BEGIN = """([name, length, changed]) => fetch("/api/v1/uploads/", {method: "POST", headers: {
    "Tus-Resumable": "1.0.0", "X-CSRFToken": document.querySelector("[name=csrfmiddlewaretoken]").value,
    "Upload-Length": length, "Upload-Metadata": `filename ${btoa(name)},last_modified ${changed}`,
}}).then((answer) => answer.status)"""


def begun(page: Page, path: Path, changed: float) -> None:
    """Another browser of the same person began to send the file as it was at that moment (epoch seconds)."""
    page.goto(f"{LIST}import/")
    moment = base64.b64encode(str(int(changed * 1000)).encode()).decode()
    assert page.evaluate(BEGIN, [path.name, str(path.stat().st_size), moment]) == 201


def copied(site: Site, path: Path) -> Path:
    path.write_bytes(site.archive.read_bytes())
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def test_a_name_that_is_taken_is_said_at_once(page: Page, site: Site, tmp_path: Path) -> None:
    uploaded(page, copied(site, tmp_path / f"{MODEL}.zip"))
    expect(page.get_by_role("alert")).to_contain_text(f"There is a model named '{MODEL}' already.")
    expect(page.get_by_role("alert")).to_contain_text("Rename the file")
    expect(page.locator("[data-upload-said]")).to_be_hidden()


def test_another_state_of_a_file_is_not_put_behind_the_begin_of_the_first(
    page: Page, site: Site, tmp_path: Path
) -> None:
    path = copied(site, tmp_path / "retrained.zip")
    begun(page, path, 1_600_000_000)
    uploaded(page, path)
    expect(page.get_by_role("alert")).to_contain_text("You began to upload 'retrained'")
    page.get_by_role("button", name="Discard retrained.zip").click()
    expect(page.get_by_role("button", name="Discard retrained.zip")).to_have_count(0)
    uploaded(page, path)
    expect(page.get_by_role("link", name="Deploy this model")).to_be_visible(timeout=40_000)


def test_the_same_state_goes_on_where_another_browser_ended(page: Page, site: Site, tmp_path: Path) -> None:
    path = copied(site, tmp_path / "elsewhere.zip")
    begun(page, path, 1_700_000_000)
    uploaded(page, path)
    expect(page.get_by_role("link", name="Deploy this model")).to_be_visible(timeout=40_000)
