"""Which pages there are, and what is done on one before it is taken."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from playwright.sync_api import Page

from tests.screenshots.scene import BROKEN, CHAT, EMBEDDINGS, REFUSED, REPOSITORY, Found, talk

MODELS, DEPLOYMENTS = "/admin/models/model/", "/admin/deployments/deployment/"
MODEL_TABS = {"card": "change/", "files": "files/", "report": "report/", "lineage": "lineage/", "edit": "edit/"}
TABS = ("keys", "configuration", "optimization", "history", "logs", "metrics", "usage", "events")
Done = Callable[[Page], None]


@dataclass(frozen=True)
class View:
    """A page: its address, and what is done on it before it is taken."""

    path: str
    do: Done | None = None


def empty() -> Mapping[str, View]:
    """Of an installation in which nothing was done yet."""
    return {
        "home-empty": View("/admin/"),
        "models-empty": View(MODELS),
        "deployments-empty": View(DEPLOYMENTS),
        "wizard-no-model": View(f"{DEPLOYMENTS}add/"),
        "usage-empty": View("/admin/usage/"),
    }


def used(found: Found) -> Mapping[str, View]:
    """Of one that is in use."""
    return {**site(), **models(found), **deployments(found), **wizard(found)}


def site() -> Mapping[str, View]:
    return {
        "home": View("/admin/", settled),
        "home-search": View("/admin/", search),
        "runtimes": View("/admin/runtimes/"),
        "tokens": View("/admin/tokens/"),
        "keys": View("/admin/apikeys/apikey/"),
        "users": View("/admin/auth/user/"),
        "groups": View("/admin/auth/group/"),
        "user": View("/admin/auth/user/1/change/"),
        "password": View("/admin/password_change/"),
        "usage": View("/admin/usage/"),
        "api-docs": View("/api/docs/", settled),
        "not-found": View("/admin/nothing/here/"),
    }


def models(found: Found) -> Mapping[str, View]:
    smol, llama, refused = (found[f"model {name}"][0] for name in (CHAT, "polite-replies", REFUSED))
    tabs = {f"model-{name}": View(f"{MODELS}{smol}/{path}") for name, path in MODEL_TABS.items()}
    return {
        "models": View(MODELS),
        "models-none-found": View(f"{MODELS}?q=nothing-like-that"),
        **tabs,
        "model-deployments": View(f"{DEPLOYMENTS}?model__id__exact={smol}"),
        "model-delete": View(f"{MODELS}{llama}/delete/"),
        "model-failed": View(f"{MODELS}{refused}/change/"),
        "model-failed-report": View(f"{MODELS}{refused}/report/"),
        "model-adapter": View(f"{MODELS}{llama}/change/"),
        "import-file": View(f"{MODELS}import/"),
        "import-hub": View(f"{MODELS}import/hugging-face/"),
        "import-hub-found": View(f"{MODELS}import/hugging-face/?repository={REPOSITORY}"),
        "import-hub-gated": View(f"{MODELS}import/hugging-face/?repository=acme/gated"),
        "catalogue": View(f"{MODELS}catalogue/"),
        "catalogue-entry": View(f"{MODELS}catalogue/", first_entry),
        "connections": View(f"{MODELS}connections/"),
        "rules": View(f"{MODELS}rules/"),
    }


def deployments(found: Found) -> Mapping[str, View]:
    chat, vectors, broken = found[CHAT][0], found[EMBEDDINGS][0], found[BROKEN][0]
    tabs = {f"deployment-{tab}": View(f"{DEPLOYMENTS}{chat}/{tab}/", settled) for tab in TABS}
    return {
        "deployments": View(DEPLOYMENTS),
        "deployments-filters": View(DEPLOYMENTS, filters),
        "deployments-selected": View(DEPLOYMENTS, select),
        "deployments-bulk": View(DEPLOYMENTS, bulk),
        "deployments-curl": View(f"{DEPLOYMENTS}?q={EMBEDDINGS}", curl),
        "deployment-endpoint": View(f"{DEPLOYMENTS}{chat}/"),
        "deployment-console": View(f"{DEPLOYMENTS}{chat}/", talk),
        "deployment-embeddings": View(f"{DEPLOYMENTS}{vectors}/", embed),
        "deployment-failed": View(f"{DEPLOYMENTS}{broken}/"),
        "deployment-failed-events": View(f"{DEPLOYMENTS}{broken}/events/"),
        "deployment-failed-logs": View(f"{DEPLOYMENTS}{broken}/logs/"),
        "deployment-captures": View(f"{DEPLOYMENTS}{chat}/captures/"),
        "deployment-confirm": View(f"{DEPLOYMENTS}{broken}/", retrigger),
        "deployment-key": View(f"{DEPLOYMENTS}{chat}/keys/", one_key),
        **tabs,
    }


def wizard(found: Found) -> Mapping[str, View]:
    smol, chat = found[f"model {CHAT}"][0], found[CHAT][0]
    start, again = f"{DEPLOYMENTS}add/?model={smol}", f"{DEPLOYMENTS}{chat}/redeploy/"
    steps = ("general", "optimization", "parameters", "hardware", "review")
    views = {f"wizard-{number + 1}-{step}": View(start, forward(number)) for number, step in enumerate(steps)}
    return {**views, "redeploy-general": View(again), "redeploy-review": View(again, changed)}


def settled(page: Page) -> None:
    page.wait_for_load_state("networkidle")


def search(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.wait_for_timeout(300)
    page.keyboard.type("Smol")
    page.wait_for_timeout(900)


def first_entry(page: Page) -> None:
    page.locator("h2 a[href*='/catalogue/']").first.click()
    page.wait_for_load_state()


def filters(page: Page) -> None:
    page.get_by_text("Filters").locator("visible=true").first.click()


def select(page: Page) -> None:
    page.locator("#result_list input.action-select").nth(0).check(force=True)
    page.locator("#result_list input.action-select").nth(1).check(force=True)


def bulk(page: Page) -> None:
    select(page)
    page.locator("select[name=action]").first.select_option(index=1)
    page.get_by_role("button", name="Run").locator("visible=true").first.click()
    page.wait_for_load_state()


def curl(page: Page) -> None:
    page.get_by_role("button", name="Copy cURL").first.click()


def embed(page: Page) -> None:
    page.get_by_role("button", name="Embed", exact=True).click()
    page.locator("#console-result table").first.wait_for()


def retrigger(page: Page) -> None:
    page.get_by_role("button", name="Re-trigger").locator("visible=true").first.click()


def one_key(page: Page) -> None:
    page.locator("a[href*='/keys/']").locator("visible=true").last.click()
    page.wait_for_load_state()


def forward(steps: int) -> Done:
    """So many times Continue, with the runtime that answers chats."""

    def go(page: Page) -> None:
        page.check("[name=runtime][value=llamacpp]")
        if not page.locator("#id_name").input_value():
            page.fill("#id_name", "support-chat")
        for _ in range(steps):
            go_on(page)

    return go


def changed(page: Page) -> None:
    for step in range(4):
        if step == 2:
            page.fill("[name=option__llamacpp__temperature]", "0.3")
            page.fill("[name=option__llamacpp__slots]", "8")
        go_on(page)


def go_on(page: Page) -> None:
    before = page.url
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(lambda url: url != before)
