"""Starts Modelyard, uses it, takes every page; a few go into docs/images with --docs."""

import argparse
import fnmatch
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as BrowserError

from tests.browser.conftest import ARGUMENTS, BINARIES, PASSWORD
from tests.cli.conftest import Up, gone, processes_of, run
from tests.screenshots import pages, scene
from tests.screenshots.camera import Camera, squeeze

IMAGES = Path(__file__).resolve().parents[2] / "docs/images"
MOST_BYTES = 200_000
CHOSEN = {
    "home.light-1440": "home",
    "deployments.light-1440": "deployments",
    "deployment-console.light-1440": "test-console",
    "wizard-1-general.light-1440": "wizard-general",
    "wizard-4-hardware.light-1440": "wizard-hardware",
    "catalogue.light-1440": "catalogue",
    "model-failed.light-1440": "import-failed",
    "deployment-metrics.dark-1440": "metrics-dark",
}


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    arguments.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "modelyard-screenshots")
    arguments.add_argument("--only", default="*", help="names of pages, as a pattern, such as 'wizard-*'")
    arguments.add_argument("--docs", action="store_true", help="also replace the pictures of docs/images")
    asked = arguments.parse_args()
    binary = next((found for name in BINARIES if (found := shutil.which(name))), None)
    if binary is None:
        print("SKIPPED: the screenshots need Chromium (Debian: apt-get install chromium).")
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=ARGUMENTS)
        troubles = shoot(browser, asked.out, asked.only)
        browser.close()
    if asked.docs:
        troubles += publish(asked.out)
    print(f"\n{len(list(asked.out.glob('*.png')))} pictures in {asked.out}")
    print("\n".join(troubles))
    return int(bool(troubles))


def shoot(browser: Browser, out: Path, only: str) -> list[str]:
    """Start, use, take, end; what went wrong."""
    place = Path(tempfile.mkdtemp(prefix="my-shots-"))
    data, hub = place / "data", scene.catalogue_hub()
    more = scene.without_echo(place)
    up = Up(data, MODELYARD_ADMIN_PASSWORD=PASSWORD, HF_ENDPOINT=hub.address, **more)
    try:
        address = up.ready()
        camera = Camera(browser, address, out, place / "state.json")
        take(camera, {"login": pages.View("/admin/login/")}, only)
        log_in(camera)
        take(camera, pages.empty(), only)
        print(run("demo", "--base-url", address, data=data, PYTHONPATH=more["PYTHONPATH"]).stdout)
        found = scene.played(data, place)
        scene.call(address, found)
        take(camera, pages.used(found), only)
        return camera.troubles
    finally:
        up.end()
        for process in processes_of(data):
            process.kill()
        gone(data)
        hub.close()
        shutil.rmtree(place, ignore_errors=True)


def log_in(camera: Camera) -> None:
    context = camera.browser.new_context(base_url=camera.address)
    page = context.new_page()
    page.goto("/admin/")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url("**/admin/")
    context.storage_state(path=camera.state)
    context.close()


def take(camera: Camera, views: Mapping[str, pages.View], only: str) -> None:
    """Each page in each window; one that can't be brought there is told, and the rest goes on."""
    wanted = {name: view for name, view in views.items() if fnmatch.fnmatch(name, only)}
    for window, context in camera.windows() if wanted else ():
        page = context.new_page()
        page.set_default_timeout(15_000)
        camera.listen(page, window)
        chosen = [name for name in wanted if not window.endswith("1440") or f"{name}.{window}" in CHOSEN]
        for name in chosen:
            print(f"{name} {window}", flush=True)
            taken(camera, page, name, wanted[name], window)


def taken(camera: Camera, page: Page, name: str, view: pages.View, window: str) -> None:
    try:
        page.goto(view.path)
        if view.do:
            view.do(page)
    except BrowserError as error:
        camera.troubles.append(f"{name} {window}: {str(error).splitlines()[0]}")
    camera.take(page, name, window)


def publish(out: Path) -> list[str]:
    """The chosen few, squeezed, where README and guides show them."""
    troubles = []
    for source, target in CHOSEN.items():
        picture = squeeze((out / f"{source}.png").read_bytes())
        (IMAGES / f"{target}.png").write_bytes(picture)
        if len(picture) >= MOST_BYTES:
            troubles.append(f"docs/images/{target}.png has {len(picture)} bytes: choose a smaller page.")
    return troubles
