"""Every kind of page of the site, opened one after the other."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from playwright.sync_api import Page

STEPS = ("optimization", "parameters", "hardware", "review")
ONCE = re.compile(r"\d+|/(mdl|dep|dft|key)_\w+|/catalogue/[^/]+")


def kind_of(address: str) -> str:
    """What an address shares with others of its kind: no identifiers, nothing of what is asked but that it is."""
    parts = urlsplit(address)
    return ONCE.sub("", parts.path) + ("?" if parts.query else "")


def links_of(page: Page) -> list[str]:
    """The addresses of the admin that the page's links lead to, without those that only order or count a list."""
    found = page.eval_on_selector_all("a[href]", "all => all.map(each => each.href)")
    parts = [urlsplit(each) for each in found]
    return [f"{each.path}{'?' if each.query else ''}{each.query}" for each in parts
            if each.path.startswith("/admin/") and not re.match("o=|_", each.query)]  # fmt: skip


def every_page(page: Page) -> Iterator[str]:
    """Open each kind of page that links lead to, and the steps of the wizards; the address of each, once open."""
    seen: set[str] = set()
    todo = ["/api/docs/", "/admin/"]
    while todo:
        address = todo.pop()
        if kind_of(address) in seen or "/logout/" in address:
            continue
        seen.add(kind_of(address))
        if "text/html" not in page.request.get(address).headers["content-type"]:  # a download
            continue
        page.goto(address)
        yield page.url
        todo += links_of(page)
        if re.search(r"\?model=|/redeploy/$", address) and page.url.endswith("/general/"):
            yield from steps(page)


def steps(page: Page) -> Iterator[str]:
    """The steps after the first of the wizard that is open."""
    for step in STEPS:
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url(f"**/{step}/")
        yield page.url
