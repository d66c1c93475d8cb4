"""Who may see and do what: every address of the admin, asked by everybody, to look and to send."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, reverse

from apps.apikeys import operations as apikeys
from apps.deployments import operations
from apps.deployments.models import Draft
from apps.deployments.statuses import Status
from apps.models.models import Connection, Format, Model
from apps.models.models import Status as ModelStatus
from modelyard.roles import GROUPS, create_groups
from tests.admin.test_pages import put

NOBODY, NEVER, ANYBODY = "", "-", "*"  # may be asked of; who is logged in
D, M, K = "deployments.{}_deployment".format, "models.{}_model".format, "apikeys.{}_apikey".format
SEE, SEE_MODEL, USAGE, IMPORT = D("view"), M("view"), "deployments.view_usagerecord", "models.import_model"
ROLES = ("anonymous", "outsider", "nobody", *GROUPS)

OWN = {
    "index": (ANYBODY, ANYBODY), "tokens": (ANYBODY, ANYBODY), "session": (ANYBODY, NEVER),
    "search": (ANYBODY, ANYBODY), "home-now": (SEE, NEVER), "home-traffic": (USAGE, NEVER),
    "usage": (USAGE, NEVER), "runtimes": (SEE, NEVER),
}  # fmt: skip
DEPLOYMENTS = {
    "changelist": (SEE, SEE), "live": (SEE, SEE), "add": (D("add"), NEVER), "add_name": (D("add"), NEVER),
    "add_step general": (D("add"), D("add")), "bulk deploy": (ANYBODY, D("deploy")),
    "bulk undeploy": (ANYBODY, D("undeploy")), "bulk tag": (ANYBODY, D("change")),
    "bulk delete": (ANYBODY, D("delete")), "fit": (NEVER, SEE), "export MODEL": (M("export"), M("export")),
    "model_fit MODEL": (SEE, SEE), "detail": (SEE, SEE), "change": (SEE, SEE), "keys": (K("view"), K("add")),
    "key KEY": (K("view"), K("change")), "rotate_key KEY": (K("view"), K("add")),
    "revoke_key KEY": (ANYBODY, K("revoke")),
    "configuration": (SEE, D("change")), "optimization": (SEE, SEE), "decide accept": (ANYBODY, D("decide")),
    "proof_export 1 json": (SEE, SEE), "events": (SEE, SEE), "usage": (USAGE, USAGE),
    "captures": ("deployments.view_capture", "deployments.view_capture"), "history": (SEE, SEE), "logs": (SEE, SEE),
    "log_lines": (SEE, SEE), "log_download": (SEE, SEE), "metrics": (USAGE, USAGE), "redeploy": (D("deploy"), NEVER),
    "redeploy_step DRAFT general": (D("deploy"), D("deploy")), "curl": (SEE, K("add")),
    "do deploy": (ANYBODY, D("deploy")), "do retrigger": (ANYBODY, D("deploy")),
    "do undeploy": (ANYBODY, D("undeploy")), "do delete": (ANYBODY, D("delete")), "delete": (NEVER, NEVER),
}  # fmt: skip
MODELS = {
    "changelist": (SEE_MODEL, SEE_MODEL), "live": (SEE_MODEL, SEE_MODEL), "import": (IMPORT, IMPORT),
    "hub": (IMPORT, IMPORT), "catalogue": (IMPORT, IMPORT), "change": (SEE_MODEL, SEE_MODEL),
    "files": (SEE_MODEL, SEE_MODEL), "report": (SEE_MODEL, SEE_MODEL), "lineage": (SEE_MODEL, SEE_MODEL),
    "edit": (SEE_MODEL, M("change")), "progress": (SEE_MODEL, SEE_MODEL), "update": (IMPORT, IMPORT),
    "download pause": (ANYBODY, IMPORT), "override": (ANYBODY, "models.override_rule"), "retry": (IMPORT, IMPORT),
    "delete": (M("delete"), M("delete")), "add": (NEVER, NEVER),
}  # fmt: skip
KEYS = {"changelist": (K("view"), K("view")), "add": (NEVER, NEVER), "delete KEY": (NEVER, NEVER)}
SITES = {
    "": OWN, "deployments_deployment_": DEPLOYMENTS, "models_model_": MODELS, "apikeys_apikey_": KEYS,
    "models_": {
        "connections": ("models.view_connection", "models.add_connection"),
        "connection CONNECTION replace": (ANYBODY, "models.change_connection"),
        "connection CONNECTION delete": (ANYBODY, "models.delete_connection"),
        "rules": (SEE_MODEL, SEE_MODEL),
    },
}  # fmt: skip
TABLE = [(prefix + name, *needed) for prefix, rows in SITES.items() for name, needed in rows.items()]
DJANGOS = {"apikeys_apikey_change", "apikeys_apikey_history", "deployments_deployment_history", "models_model_history",
           "view_on_site", "login", "logout", "jsi18n", "password_change", "password_change_done", "autocomplete",
           "app_list", "toggle_sidebar", "models_model_catalogue_entry"}  # fmt: skip


@pytest.fixture
def parts(db: None) -> dict[str, str]:
    """What the addresses are about: one of each."""
    create_groups()
    model = Model.objects.create(name="tiny", status=ModelStatus.READY, format=Format.ONNX)
    deployment = operations.create(model=model, name="search", runtime="echo", by=None)
    put(deployment, Status.STOPPED)
    key, _text = apikeys.create(deployment=deployment, name="app", by=None)
    connection = Connection.objects.create(name="ours")
    return {"MODEL": model.pk, "DEPLOYMENT": deployment.pk, "KEY": key.pk, "CONNECTION": connection.pk}


def people() -> Iterator[tuple[str, Client, Any]]:
    """Each role with a client, and what it may do."""
    for role in ROLES:
        client = Client()
        if role == "anonymous":
            yield role, client, None
            continue
        user = User.objects.create(username=role, is_staff=role != "outsider")
        user.groups.set(Group.objects.filter(name=role))
        client.force_login(user)
        yield role, client, user


def address(name: str, parts: dict[str, str], user: Any) -> str:
    first, *more = name.split()
    own: list[str] = []
    if first.startswith("deployments_deployment_") and "MODEL" not in more and first.rpartition("_")[2] not in {
        "changelist", "live", "add", "name", "bulk", "fit"}:  # fmt: skip
        own = [parts["DEPLOYMENT"]]
    if first.startswith("models_model_") and first.rpartition("_")[2] not in {
        "changelist", "live", "import", "hub", "catalogue", "add"}:  # fmt: skip
        own = [parts["MODEL"]]
    if first.endswith("_step"):
        again = "redeploy" in first
        owner = user or User.objects.create(username="somebody")
        deployment = parts["DEPLOYMENT"] if again else None
        draft = Draft.objects.create(owner=owner, deployment_id=deployment, values={"model": parts["MODEL"]})
        own, more = (own if again else []) + [draft.pk], ["general"]
    return reverse(f"admin:{first}", args=[*own, *(parts.get(each, each) for each in more)])


@pytest.mark.parametrize(("name", "looks", "sends"), TABLE)
def test_an_address_opens_for_those_who_may_and_for_nobody_else(
    parts: dict[str, str], name: str, looks: str, sends: str
) -> None:
    for role, client, user in people():
        for method, needed in (("get", looks), ("post", sends)):
            with transaction.atomic():
                answer = getattr(client, method)(address(name, parts, user))
                transaction.set_rollback(True)
            to_login = answer.status_code == 302 and answer["Location"].startswith("/admin/login/")
            allowed = not to_login and answer.status_code not in {403, 405}
            enters = user is not None and user.is_staff
            expected = enters and (needed == ANYBODY or (needed != NEVER and user.has_perm(needed)))
            assert allowed == expected, f"{role} {method} {name}: {answer.status_code}"


def test_no_address_of_the_admin_is_forgotten_here() -> None:
    def names(patterns: Any) -> Iterator[str]:
        for each in patterns:
            if isinstance(each, URLPattern):
                yield each.name or ""
            else:
                yield from names(each.url_patterns)

    here = {name.split()[0] for name, *_ in TABLE} | DJANGOS | {""}
    found = {name for name in names(admin.site.urls[0]) if not name.startswith("auth_")}
    assert found <= here
