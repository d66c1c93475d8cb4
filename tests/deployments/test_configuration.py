"""Limits, timeouts and capture of a deployment, by the API and in the admin."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from apps.deployments import operations
from apps.deployments.models import Deployment, Event
from apps.models.models import Model
from modelyard.problems import Problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment(model: Model) -> Deployment:
    return operations.create(model=model, name="chat", runtime="echo", by=None)


@pytest.fixture
def browser(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def patch(browser: Client, deployment: Deployment, **given: object) -> tuple[int, dict[str, object]]:
    answer = browser.patch(f"/api/v1/deployments/{deployment.pk}/", given, content_type="application/json")
    return answer.status_code, answer.json()


def test_the_api_sets_and_shows_them(browser: Client, deployment: Deployment) -> None:
    given = {"requests_per_minute": 60, "tokens_per_day": 0, "idle_timeout": 2.5, "captures": True, "capture_days": 3}
    status, body = patch(browser, deployment, **given)
    assert status == 200
    assert {name: body[name] for name in given} == given
    assert body["tokens_per_month"] is None
    status, body = patch(browser, deployment, requests_per_minute=None, idle_timeout=None)
    assert (body["requests_per_minute"], body["idle_timeout"], body["tokens_per_day"]) == (None, None, 0)
    said = Event.objects.filter(code="edited").values_list("message", flat=True)
    assert "requests a minute from 60 to unlimited" in said[0]
    assert Event.objects.filter(code="edited", by__username="anna").count() == 2
    timeline = browser.get(f"/api/v1/deployments/{deployment.pk}/events/").json()["results"]
    assert timeline[0]["detail"]["changed"] == {"requests_per_minute": [60, None], "idle_timeout": [2.5, None]}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"requests_per_minute": -1}, "requests_per_minute"),
        ({"requests_per_minut": 5}, "requests_per_minut"),
        ({"idle_timeout": 0}, "idle_timeout"),
        ({"capture_days": 0}, "capture_days"),
        ({"runtime": "vllm"}, "runtime"),
    ],
)
def test_what_can_not_be_is_refused_and_nothing_is_written(
    browser: Client, deployment: Deployment, given: dict[str, object], word: str
) -> None:
    status, body = patch(browser, deployment, tokens_per_day=5, **given)
    assert status == 400
    assert word in str(body["detail"])
    deployment.refresh_from_db()
    assert deployment.tokens_per_day is None


def test_a_new_deployment_may_have_them(browser: Client, deployment: Deployment) -> None:
    given = {
        "model": deployment.model_id,
        "name": "other",
        "runtime": "echo",
        "concurrent_requests": 4,
        "total_timeout": 0,
    }
    answer = browser.post("/api/v1/deployments/", given, content_type="application/json")
    assert answer.status_code == 201, answer.json()
    made = Deployment.objects.get(name="other")
    assert (made.concurrent_requests, made.total_timeout, made.captures) == (4, 0, False)


def test_a_misspelt_limit_makes_no_deployment_without_one(browser: Client, deployment: Deployment) -> None:
    given = {"model": deployment.model_id, "name": "other", "runtime": "echo", "requests_per_minut": 5}
    answer = browser.post("/api/v1/deployments/", given, content_type="application/json")
    assert (answer.status_code, "requests_per_minut" in answer.json()["detail"]) == (400, True)
    assert not Deployment.objects.filter(name="other").exists()


def test_who_may_only_look_changes_nothing(deployment: Deployment) -> None:
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__in=["view_deployment", "invoke_deployment"]))
    client = Client()
    client.force_login(viewer)
    assert patch(client, deployment, requests_per_minute=5)[0] == 403
    deployment.refresh_from_db()
    assert deployment.requests_per_minute is None


def test_an_operation_checks_what_no_form_did(deployment: Deployment) -> None:
    for given in ({"tokens_per_minute": True}, {"total_timeout": "5"}, {"capture_days": 1.5},
                  {"captures": "false"}, {"status": "deployed"}):  # fmt: skip
        with pytest.raises(Problem):
            operations.edit(deployment, by=None, **given)
    assert not Event.objects.filter(code="edited").exists()


def test_the_page_writes_only_what_was_changed(browser: Client, deployment: Deployment) -> None:
    url = reverse("admin:deployments_deployment_configuration", args=[deployment.pk])
    page = browser.get(url).content.decode()
    assert 'placeholder="unlimited"' in page
    sent = {"description": "", "tags": "", "capture_days": 7, "requests_per_minute": 60, "first_byte_timeout": 5}
    assert browser.post(url, sent).status_code == 302
    deployment.refresh_from_db()
    assert (deployment.requests_per_minute, deployment.first_byte_timeout, deployment.captures) == (60, 5, False)
    assert browser.post(url, sent).status_code == 302
    assert Event.objects.filter(code="edited").count() == 1


def test_a_page_that_was_open_does_not_change_back_what_others_changed(browser: Client, deployment: Deployment) -> None:
    url = reverse("admin:deployments_deployment_configuration", args=[deployment.pk])
    form = browser.get(url).context["form"]
    shown = {name: form[name].value() for name in form.fields}
    sent = {name: "" if value is None or value is False else value for name, value in shown.items()}
    initial = {f"initial-{name}": value for name, value in sent.items()}
    operations.edit(deployment, by=None, tokens_per_day=1000, captures=True)
    assert browser.post(url, {**sent, **initial, "requests_per_minute": 60}).status_code == 302
    deployment.refresh_from_db()
    assert (deployment.requests_per_minute, deployment.tokens_per_day, deployment.captures) == (60, 1000, True)


def test_the_page_says_at_the_field_what_is_wrong(browser: Client, deployment: Deployment) -> None:
    url = reverse("admin:deployments_deployment_configuration", args=[deployment.pk])
    page = browser.post(url, {"capture_days": 7, "tokens_per_day": -3, "tags": ",".join("a" * n for n in range(1, 60))})
    assert page.status_code == 200
    assert "greater than or equal to 0" in page.content.decode()
    assert not Event.objects.filter(code="edited").exists()


def test_who_may_not_change_sees_what_is_set(deployment: Deployment) -> None:
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_deployment"))
    operations.edit(deployment, by=None, requests_per_minute=60)
    client = Client()
    client.force_login(viewer)
    url = reverse("admin:deployments_deployment_configuration", args=[deployment.pk])
    page = client.get(url).content.decode()
    assert "<dt>Requests a minute</dt><dd>60</dd>" in page
    assert client.post(url, {"capture_days": 7}).status_code == 403


@pytest.mark.parametrize("stored", ["one\n two\n", "one\r\n two\r\n"])
def test_a_description_of_several_lines_is_edited(browser: Client, deployment: Deployment, stored: str) -> None:
    Deployment.objects.filter(pk=deployment.pk).update(description=stored)
    url = reverse("admin:deployments_deployment_configuration", args=[deployment.pk])
    sent = {"tags": "", "capture_days": 7, "initial-description": "one\r\n two\r\n"}
    assert browser.post(url, {**sent, "description": "one\r\n two\r\n"}).status_code == 302
    assert not Event.objects.filter(code="edited").exists()
    assert browser.post(url, {**sent, "description": "one\r\n two\r\nthree"}).status_code == 302
    deployment.refresh_from_db()
    assert deployment.description == "one\n two\nthree"
    operations.edit(deployment, by=None, description="theirs\ntoo")
    told = browser.post(url, {**sent, "description": "mine\r\ntoo"}).content.decode()
    assert "Somebody else has changed this meanwhile" in told
    again = {**sent, "initial-description": "theirs\r\ntoo", "description": "mine\r\ntoo"}
    assert browser.post(url, again).status_code == 302
    deployment.refresh_from_db()
    assert deployment.description == "mine\ntoo"


def test_a_new_deployments_description_is_checked_as_an_edited_one(model: Model) -> None:
    made = operations.create(model=model, name="two lines", runtime="echo", by=None, description="one\r\ntwo\rthree")
    assert made.description == "one\ntwo\nthree"
    with pytest.raises(Problem) as refused:
        operations.create(model=model, name="long", runtime="echo", by=None, description="x" * 10_001)
    assert refused.value.code == "invalid_description"
