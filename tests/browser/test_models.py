"""A model's pages in a real browser: the import moves by itself, and everything of a model is a tab away."""

import os
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site

pytestmark = pytest.mark.browser
LIST = "/admin/models/model/"


def uploaded(page: Page, path: Path) -> None:
    """Choose the zip on the import page and start its import."""
    page.goto(f"{LIST}import/")
    page.set_input_files("#file", path)
    page.get_by_role("button", name="Import", exact=True).click()


def test_an_import_is_followed_to_ready_without_a_reload(page: Page, site: Site, tmp_path: Path) -> None:
    path = tmp_path / "followed.zip"
    with zipfile.ZipFile(path, "w") as archive, zipfile.ZipFile(site.archive) as tiny:
        for name in tiny.namelist():
            archive.writestr(name, tiny.read(name))
        archive.writestr("noise.txt", os.urandom(60_000_000))
    uploaded(page, path)
    expect(page.locator("[data-watch-badge]")).to_be_visible(timeout=40_000)
    page.goto(LIST)
    row = page.locator("tr", has_text="followed")
    expect(row.get_by_text("Ready", exact=True)).to_be_visible(timeout=60_000)
    row.get_by_role("link", name="followed", exact=True).click()
    expect(page.get_by_role("link", name="Deploy this model")).to_be_visible()
    expect(page.locator("[aria-current=page]", has_text="Deployments")).to_be_visible()


def test_every_tab_of_a_model_is_there_and_nothing_scrolls_sideways(page: Page, site: Site, tmp_path: Path) -> None:
    path = tmp_path / "narrow.zip"
    path.write_bytes(site.archive.read_bytes())
    uploaded(page, path)
    expect(page.get_by_role("link", name="Deploy this model")).to_be_visible(timeout=40_000)
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(LIST)
    page.get_by_role("link", name="Details of narrow").click()
    for tab in ("Card", "Files", "Report", "Fit", "Licence and lineage", "Edit", "Deployments"):
        page.get_by_role("navigation", name="Pages of this model").get_by_role("link", name=re.compile(tab)).click()
        expect(page.locator("[aria-current=page]", has_text=tab)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), tab


def test_a_failed_import_leads_to_a_new_one(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "mended.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.onnx", b"this is no graph")
    uploaded(page, path)
    page.get_by_role("link", name="Details").click(timeout=40_000)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("What to do", timeout=40_000)
    expect(alert.get_by_role("link", name=re.compile("MYI"))).to_be_visible()
    alert.get_by_role("button", name="Delete and import again").click()
    page.get_by_role("button", name="Yes, go on").click()
    page.wait_for_url(f"**{LIST}import/")
    expect(page.get_by_text("mended was deleted.")).to_be_visible()
