"""A real Chromium in front of a real `modelyard up`."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.cli.conftest import Up, gone, processes_of, run
from tests.models.conftest import good

BINARIES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without these Chromium calls its maker's hosts at every start.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
PASSWORD = "for the browser tests only"
MODEL = "ready-made"  # the model that most tests deploy
SETUP = """
import time
from pathlib import Path
from django.contrib.auth.models import Group, User
from apps.models import operations
viewer = User.objects.create_user("viewer", password="{password}", is_staff=True)
viewer.groups.add(Group.objects.get(name="Viewers"))
model = operations.import_file(Path("{archive}"), "{model}", by=User.objects.get(username="admin"))
while model.status != "ready":
    time.sleep(0.1)
    model.refresh_from_db()
print(model.pk)
"""


@dataclass
class Site:
    """A running Modelyard with the tiny model's zip at hand, and that model imported."""

    address: str
    data: Path
    archive: Path
    model: str = ""


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    import zipfile

    place = Path(tempfile.mkdtemp(prefix="my-web-"))
    archive = place / "tiny.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, content in good().items():
            zipped.writestr(name, content)
    up = Up(place / "data", MODELYARD_ADMIN_PASSWORD=PASSWORD)
    try:
        address = up.ready()
        copy = shutil.copy(archive, place / f"{MODEL}.zip")
        setup = SETUP.format(password=PASSWORD, archive=copy, model=MODEL)
        done = run("shell", "-v", "0", "-c", setup, data=place / "data")
        assert done.returncode == 0, done.stdout
        yield Site(address, place / "data", archive, done.stdout.split()[-1])
    finally:
        up.end()
        for process in processes_of(place / "data"):
            process.kill()
        gone(place / "data")
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    binary = next((found for name in BINARIES if (found := shutil.which(name))), None)
    if binary is None:
        pytest.skip("the browser tests need Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=ARGUMENTS)
        yield browser
        browser.close()


def enter(page: Page, name: str) -> None:
    """Log in on the login page that is open."""
    page.fill("[name=username]", name)
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")


def log_in(chromium: Browser, site: Site, name: str) -> Page:
    """A page of that person; what the browser complains of fails the test."""
    context: BrowserContext = chromium.new_context(viewport={"width": 1400, "height": 900}, base_url=site.address)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto("/admin/")
    enter(page, name)
    page.wait_for_url("**/admin/")
    return page


@pytest.fixture
def page(chromium: Browser, site: Site) -> Iterator[Page]:
    found = log_in(chromium, site, "admin")
    troubles: list[str] = []
    found.on("pageerror", lambda error: troubles.append(str(error)))
    yield found
    found.context.close()
    assert not troubles


@pytest.fixture
def viewer(chromium: Browser, site: Site) -> Iterator[Page]:
    found = log_in(chromium, site, "viewer")
    yield found
    found.context.close()
