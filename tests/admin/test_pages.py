"""What each person sees in the admin, and what a click does."""

import re

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from apps.apikeys import operations as apikeys
from apps.apikeys.models import ApiKey
from apps.deployments import operations
from apps.deployments.models import Deployment
from apps.deployments.statuses import Desired, Status
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus
from modelyard.roles import create_groups

LIST = "/admin/deployments/deployment/"


@pytest.fixture
def model(db: None) -> Model:
    return Model.objects.create(name="tiny", status=ModelStatus.READY, format=Format.ONNX)


@pytest.fixture
def deployment(model: Model) -> Deployment:
    return operations.create(model=model, name="search", runtime="echo", by=None, tags=["demo"])


def person(group: str = "") -> Client:
    """Somebody of that group, logged in; a superuser without one."""
    user = User.objects.create(username=group or "root", is_staff=True, is_superuser=not group)
    if group:
        create_groups()
        user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def put(deployment: Deployment, status: Status, desired: Desired = Desired.STOPPED) -> None:
    Deployment.objects.filter(pk=deployment.pk).update(status=status, desired=desired)


def page(deployment: Deployment, name: str = "detail", *more: str) -> str:
    return reverse(f"admin:deployments_deployment_{name}", args=[deployment.pk, *more])


def heads(html: str) -> list[str]:
    """The texts of a list's column heads."""
    table = html[html.index("<thead") : html.index("</thead>")]
    icons = re.sub(r"<span[^>]*material-symbols[^>]*>.*?</span>", "", table, flags=re.DOTALL)
    texts = [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in icons.split("<th ")[1:]]
    return [text for text in (text.split(">")[-1].strip() for text in texts) if text]


def test_the_list_has_the_owners_columns_in_their_order(deployment: Deployment) -> None:
    wanted = ["Deployment Name", "Deployment ID", "Status", "Tags", "Added By", "Added On", "Actions"]
    assert heads(person().get(LIST).content.decode()) == wanted


def test_the_models_list_has_the_owners_columns_first(model: Model) -> None:
    found = heads(person().get("/admin/models/model/").content.decode())
    assert found[:5] == ["Model Name", "Active Deployments", "Deployment Failed", "Ready to Deploy", "Source"]


def test_selecting_a_model_opens_its_deployments(deployment: Deployment) -> None:
    client = person()
    html = client.get("/admin/models/model/").content.decode()
    address = f"{LIST}?model__id__exact={deployment.model_id}"
    assert address in html
    opened = client.get(address).content.decode()
    assert f'<h1 class="my-title">{deployment.model.name}</h1>' in opened
    assert "Pages of this model" in opened


@pytest.mark.parametrize("address", [LIST, "/admin/models/model/"])
def test_a_list_takes_the_same_queries_for_one_row_and_for_thirty(
    deployment: Deployment, django_assert_max_num_queries: DjangoAssertNumQueries, address: str
) -> None:
    client = person()
    client.get(address)
    with django_assert_max_num_queries(100) as few:
        client.get(address)
    for number in range(30):
        each = Model.objects.create(name=f"m{number}", status=ModelStatus.READY, format=Format.ONNX)
        operations.create(model=each, name=f"d{number}", runtime="echo", by=None)
    with django_assert_max_num_queries(100) as many:
        client.get(address)
    assert len(many) <= len(few) + 1


@pytest.mark.parametrize("status", Status)
def test_retrigger_is_offered_only_after_failure_or_stop(deployment: Deployment, status: Status) -> None:
    put(deployment, status)
    html = person().get(LIST).content.decode()
    assert ("/do/retrigger/" in html) == (status in {Status.FAILED, Status.STOPPED})
    assert "Copy cURL" in html
    assert page(deployment, "keys") in html


def test_retrigger_of_a_deployed_one_is_refused_with_a_word(deployment: Deployment) -> None:
    put(deployment, Status.DEPLOYED, Desired.RUNNING)
    answer = person().post(page(deployment, "do", "retrigger"), follow=True)
    assert "Re-trigger isn&#x27;t possible" in answer.content.decode()
    deployment.refresh_from_db()
    assert deployment.status == Status.DEPLOYED


def test_a_second_click_changes_nothing(deployment: Deployment) -> None:
    client = person()
    for _ in range(2):
        client.post(page(deployment, "do", "deploy"))
    deployment.refresh_from_db()
    assert (deployment.status, deployment.generation) == (Status.DEPLOYING, 1)


def test_delete_while_deployed_is_refused_and_not_offered(deployment: Deployment) -> None:
    put(deployment, Status.DEPLOYED, Desired.RUNNING)
    client = person()
    assert "/do/delete/" not in client.get(page(deployment, "configuration")).content.decode()
    answer = client.post(page(deployment, "do", "delete"), follow=True)
    assert "can&#x27;t be deleted while" in answer.content.decode()
    assert Deployment.objects.exists()


def test_a_change_needs_a_post(deployment: Deployment) -> None:
    client = person()
    for verb in ("deploy", "retrigger", "undeploy", "delete"):
        assert client.get(page(deployment, "do", verb)).status_code == 302
        deployment.refresh_from_db()
        assert (deployment.status, deployment.generation) == (Status.READY_TO_DEPLOY, 0)


def test_a_post_needs_the_sites_own_form(deployment: Deployment) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create(username="x", is_staff=True, is_superuser=True))
    assert client.post(page(deployment, "do", "deploy")).status_code == 403


def test_a_key_is_shown_once(deployment: Deployment) -> None:
    client = person()
    shown = client.post(page(deployment, "keys"), {"name": "app", "days": "30"}, follow=True).content.decode()
    text = re.search(r"myk_\w+", shown)
    assert text
    assert text[0] not in client.get(page(deployment, "keys")).content.decode()
    assert ApiKey.objects.count() == 1


def test_only_the_deployments_own_keys_are_listed_and_revoked(deployment: Deployment, model: Model) -> None:
    other = operations.create(model=model, name="other", runtime="echo", by=None)
    key, _ = apikeys.create(deployment=other, name="foreign", by=None)
    client = person()
    assert "foreign" not in client.get(page(deployment, "keys")).content.decode()
    assert client.post(page(deployment, "revoke_key", key.pk)).status_code == 404
    client.post(page(other, "revoke_key", key.pk))
    key.refresh_from_db()
    assert key.revoked_at


def test_copy_curl_makes_a_key_only_by_post(deployment: Deployment) -> None:
    client = person()
    assert "$MODELYARD_API_KEY" in client.get(page(deployment, "curl")).json()["curl"]
    assert not ApiKey.objects.exists()
    assert client.post(page(deployment, "curl")).json()["curl"].startswith("curl ")
    assert ApiKey.objects.count() == 1


def test_copy_curl_without_the_runtime_says_so_and_makes_no_key(deployment: Deployment) -> None:
    Deployment.objects.filter(pk=deployment.pk).update(runtime="uninstalled")
    client = person()
    answers = [client.get(page(deployment, "curl")), client.post(page(deployment, "curl"))]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert all("There is no runtime 'uninstalled'" in answer.json()["error"] for answer in answers)
    assert not ApiKey.objects.exists()


def test_a_viewer_sees_everything_and_changes_nothing(deployment: Deployment) -> None:
    put(deployment, Status.FAILED)
    client = person("Viewers")
    for name in ("detail", "keys", "configuration", "events"):
        html = client.get(page(deployment, name)).content.decode()
        assert "/do/" not in html
        assert '<button class="my-button my-primary">' not in html
    for verb in ("deploy", "retrigger", "undeploy", "delete"):
        assert client.post(page(deployment, "do", verb)).status_code == 403
    refused = [page(deployment, "keys"), page(deployment, "configuration"), page(deployment, "redeploy"),
               page(deployment, "curl"), f"{LIST}add/", "/admin/models/model/import/"]  # fmt: skip
    assert [client.post(address).status_code for address in refused] == [403] * len(refused)
    assert "Import model" not in client.get("/admin/models/model/").content.decode()


def test_somebody_without_a_group_is_told_what_to_do(db: None) -> None:
    user = User.objects.create(username="new", is_staff=True)
    client = Client()
    client.force_login(user)
    assert "ask an administrator" in client.get("/admin/").content.decode()
    assert client.get(LIST).status_code == 403


PAGES = ("/admin/", "/admin/runtimes/", "/admin/tokens/", "/admin/auth/user/", "/api/docs/", "/admin/apikeys/apikey/",
         "/admin/models/model/import/")  # fmt: skip


@pytest.mark.parametrize("address", PAGES)
def test_every_page_opens(deployment: Deployment, address: str) -> None:
    assert person().get(address).status_code == 200


def test_no_page_has_script_in_it(deployment: Deployment) -> None:
    client = person()
    for address in (
        page(deployment),
        page(deployment, "keys"),
        page(deployment, "events"),
        "/admin/models/model/import/",
    ):
        html = client.get(address).content.decode()
        ours = html[html.index('class="my-page"') :]
        assert "<script" not in ours
        assert not re.search(r"\son\w+=", ours)


def test_a_token_is_shown_once_and_revoked_by_its_owner_only(db: None) -> None:
    client = person()
    shown = client.post("/admin/tokens/", {"days": "30"}, follow=True).content.decode()
    token = re.search(r"myt_\w+", shown)
    assert token
    assert token[0] not in client.get("/admin/tokens/").content.decode()
    headers = {"Authorization": f"Bearer {token[0]}"}
    assert Client().get("/api/v1/deployments/", headers=headers).status_code == 200
    digest = re.search(r'name="revoke" value="(\w+)"', client.get("/admin/tokens/").content.decode())
    assert digest
    person("Viewers").post("/admin/tokens/", {"revoke": digest[1]})
    assert Client().get("/api/v1/deployments/", headers=headers).status_code == 200
    client.post("/admin/tokens/", {"revoke": digest[1]})
    assert Client().get("/api/v1/deployments/", headers=headers).status_code == 401


def test_a_form_that_is_sent_again_makes_no_second_key(deployment: Deployment) -> None:
    client = person()
    values = {"name": "app", "days": "30", "form_id": "abc"}
    assert "myk_" in client.post(page(deployment, "keys"), values).content.decode()
    again = client.post(page(deployment, "keys"), values, follow=True).content.decode()
    assert "That was done already" in again
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("days", ["0", "abc", "99999", "-1"])
def test_a_number_of_days_that_is_none_makes_no_key_for_ever(deployment: Deployment, days: str) -> None:
    person().post(page(deployment, "keys"), {"name": "app", "days": days})
    assert not ApiKey.objects.exists()


def test_every_link_of_the_admin_leads_somewhere(deployment: Deployment) -> None:
    others = [operations.create(model=deployment.model, name=f"other-{n}", runtime="echo", by=None) for n in range(9)]
    client = person()
    seen, todo = set(), ["/admin/"]
    while todo:
        address = todo.pop()
        if address in seen or "logout" in address:
            continue
        seen.add(address)
        answer = client.get(address, follow=True)
        assert answer.status_code < 400, address
        if "text/html" in answer["content-type"]:
            todo += [link for link in re.findall(r'href="(/[^"#?]*)', answer.text) if link.startswith("/admin/")]
    quoted = [f"{LIST}{other.pk.replace('_', '_5F')}/change/" for other in [deployment, *others]]
    assert set(quoted) <= seen


def test_of_many_keys_the_newest_are_shown_and_all_are_a_click_away(
    deployment: Deployment, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.deployments.key_pages.KEYS_SHOWN", 2)
    monkeypatch.setattr("apps.apikeys.admin.DEPLOYMENTS", 1)
    other = operations.create(model=model, name="a-first", runtime="echo", by=None)
    apikeys.create(deployment=other, name="foreign", by=None)
    for name in ("one", "two", "three"):
        apikeys.create(deployment=deployment, name=name, by=None)
    client = person()
    html = client.get(page(deployment, "keys")).content.decode()
    address = f"/admin/apikeys/apikey/?deployment__id__exact={deployment.pk}"
    assert (address in html, ">one<" in html, ">three<" in html) == (True, False, True)
    listed = client.get(address)
    assert [key.name for key in listed.context["cl"].result_list.order_by("created_at")] == ["one", "two", "three"]
    offered = listed.context["cl"].filter_specs[-1].lookup_choices
    assert offered == [(deployment.pk, "search"), (other.pk, "a-first")]


def test_a_key_for_a_curl_is_offered_to_who_may_make_one(deployment: Deployment) -> None:
    assert "Make a key (30 days) and copy" in person().get(page(deployment)).content.decode()
    html = person("Viewers").get(page(deployment)).content.decode()
    assert "data-fresh" not in html
    assert '<button type="button" class="my-button my-primary" data-placeholder>' in html
    assert "ask somebody who may make one" in html
