"""What the import page does with a refusal: it says why, and doesn't try for ever."""

import base64
import os
import struct
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MODEL, Site
from tests.browser.test_models import LIST, uploaded
from tests.models.conftest import good
from tests.models.test_pickles import state, torch_zip

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


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("files", "said", "rule"),
    [
        ({**good(), "data/more.zip": b"PK"}, "data/more.zip is an archive itself.", "MYI005"),
        ({"pytorch_model.bin": torch_zip(state()), "config.json": b"{}"}, "Its only weights are in a format", "MYI016"),
    ],
)
def test_what_may_be_overridden_is_a_warning_and_can_be_sent(
    page: Page, tmp_path: Path, files: dict[str, bytes], said: str, rule: str
) -> None:
    path = zipped(tmp_path / f"warned {rule}.zip", files)
    page.goto(f"{LIST}import/")
    page.set_input_files("#file", path)
    warning = page.locator("[data-overridable]")
    expect(warning).to_contain_text(said)
    expect(warning).to_contain_text("somebody with the permission can let it in")
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_role("link", name="Details").click(timeout=40_000)
    expect(page.get_by_role("alert").get_by_role("link", name=rule)).to_be_visible(timeout=40_000)
    page.goto(f"{LIST}import/")
    page.set_input_files("#file", zipped(tmp_path / "fine.zip", good()))
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_visible()
    expect(warning).to_be_hidden()


def test_what_nobody_may_override_is_refused_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    page.goto(f"{LIST}import/")
    for name, data, said in (
        ("notes.txt", b"x", "No weights were found"),
        ("inner.zip", b"PK", "is an archive itself"),
    ):
        page.set_input_files("#file", zipped(tmp_path / f"only {name}.zip", {name: data}))
        expect(page.get_by_role("alert")).to_contain_text(said)
        expect(page.get_by_role("button", name="Import", exact=True)).to_be_hidden()


def test_a_directory_is_as_long_as_the_import_takes_it(page: Page, tmp_path: Path) -> None:
    page.goto(f"{LIST}import/")
    long = {f"{number:05}{'n' * 1000}.txt": b"" for number in range(18_000)}  # 18 MiB of names
    page.set_input_files("#file", zipped(tmp_path / "long.zip", {**good(), **long}))
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_visible()
    with (tmp_path / "longer.zip").open("wb") as file:
        file.truncate(40 * 2**20)
        file.seek(0, os.SEEK_END)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 33 * 2**20, 0, 0))
    page.set_input_files("#file", tmp_path / "longer.zip")
    expect(page.get_by_role("alert")).to_contain_text("longer than possible")
