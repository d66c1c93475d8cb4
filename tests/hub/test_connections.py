"""Named tokens: encrypted, tested, replaced; by the API and in the admin."""

import time

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from apps.models.hub import operations, preflight, vault
from apps.models.hub.models import Connection
from apps.models.hub.preflight import Asked, look
from modelyard.problems import Problem
from tests.hub.conftest import Bring
from tests.hub.server import Hub

pytestmark = pytest.mark.django_db
URL = "/api/v1/connections/"


@pytest.fixture
def browser(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def test_a_token_is_kept_encrypted_and_never_shown(browser: Client, hub: Hub) -> None:
    made = browser.post(URL, {"name": "Team", "token": "hf_good"}, content_type="application/json")
    assert (made.status_code, made.json()["hint"]) == (201, "good")
    row = Connection.objects.get()
    assert "hf_good" not in row.token
    assert vault.unseal(row.token) == "hf_good"
    tested = browser.post(f"{URL}{row.pk}/test/").json()
    assert (tested["account"], tested["test_problem"]) == ("anna", "")
    for address in (URL, f"{URL}{row.pk}/", reverse("admin:models_connections"), reverse("admin:models_model_hub")):
        assert "hf_good" not in browser.get(address).content.decode()


def test_what_the_hub_does_not_take_is_told_and_can_be_replaced(browser: Client, hub: Hub, person: User) -> None:
    row = operations.connect("Team", "hf_expired", by=person)
    failed = browser.post(f"{URL}{row.pk}/test/")
    assert (failed.status_code, failed.json()["code"]) == (409, "hub_token")
    assert "new token" in browser.get(f"{URL}{row.pk}/").json()["test_problem"]
    browser.post(f"{URL}{row.pk}/replace/", {"token": "hf_good"}, content_type="application/json")
    assert browser.post(f"{URL}{row.pk}/test/").json()["account"] == "anna"


@pytest.mark.parametrize("body", [b"<html>Log in to the proxy</html>", b"[]", b'"anna"', b"{}", b"", b"\xff", b"null"])
def test_something_that_is_no_hub_is_told_and_no_error_of_ours(
    browser: Client, hub: Hub, person: User, body: bytes
) -> None:
    row = operations.connect("Team", "hf_good", by=person)
    hub.troubles.bodies = [body]
    failed = browser.post(f"{URL}{row.pk}/test/")
    assert (failed.status_code, failed.json()["code"]) == (502, "hub_error")
    hub.troubles.bodies = [body]
    with pytest.raises(Problem) as caught:
        look(Asked("acme/tiny"))
    assert caught.value.code in {"hub_error", "hub_no_weights"}


@pytest.mark.parametrize("trouble", ["silences", "drops"])
def test_a_hub_that_does_not_answer_is_not_waited_for_without_end(
    browser: Client, hub: Hub, person: User, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    row = operations.connect("Team", "hf_good", by=person)
    monkeypatch.setattr(preflight, "ANSWER_SECONDS", 0.5)
    setattr(hub.troubles, trouble, 1)
    began = time.monotonic()
    failed = browser.post(f"{URL}{row.pk}/test/")
    assert (failed.status_code, failed.json()["code"]) == (503, "hub_unreachable")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("name", "token", "code"),
    [("", "hf_x", "invalid_name"), ("x" * 65, "hf_x", "invalid_name"), ("a", "", "invalid_token"),
     ("a", "two words", "invalid_token"), ("a", "hf_é", "invalid_token"), ("Taken", "hf_x", "name_taken")],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(person: User, name: str, token: str, code: str) -> None:
    operations.connect("Taken", "hf_good", by=person)
    with pytest.raises(Problem) as caught:
        operations.connect(name, token, by=person)
    assert caught.value.code == code


def test_the_secret_key_may_change(person: User, hub: Hub, settings) -> None:
    row = operations.connect("Team", "hf_good", by=person)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another"
    with pytest.raises(Problem, match="secret key has changed"):
        look(Asked("acme/private", connection=row))
    assert operations.reseal() == 1
    settings.SECRET_KEY_FALLBACKS = [old]
    assert look(Asked("acme/private", connection=row)).private
    assert operations.reseal() == 0
    settings.SECRET_KEY_FALLBACKS = []
    row.refresh_from_db()
    assert look(Asked("acme/private", connection=row)).private


@pytest.mark.system
def test_one_that_a_download_needs_stays(bring: Bring, good: Connection, person: User) -> None:
    bring("acme/private", connection=good, run=False)
    with pytest.raises(Problem, match="is used by the download of private"):
        operations.disconnect(good, by=person)


def test_who_may_what(hub: Hub, good: Connection) -> None:
    people = {}
    for name, codes in {"viewer": ["view_model"], "deployer": ["import_model", "view_connection"]}.items():
        user = User.objects.create_user(name, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codes))
        people[name] = Client()
        people[name].force_login(user)
    assert people["viewer"].get(URL).status_code == 403
    assert people["deployer"].get(URL).status_code == 200
    assert (
        people["deployer"].post(URL, {"name": "x", "token": "hf_x"}, content_type="application/json").status_code == 403
    )
    assert people["deployer"].delete(f"{URL}{good.pk}/").status_code == 403
    body = {"repository": "acme/tiny"}
    assert people["viewer"].post("/api/v1/hub/preflight/", body, content_type="application/json").status_code == 403
    assert people["viewer"].get(reverse("admin:models_model_hub")).status_code == 403
    assert people["viewer"].get(reverse("admin:models_connections")).status_code == 403


def test_the_page_keeps_tests_replaces_and_deletes(browser: Client, hub: Hub) -> None:
    page = reverse("admin:models_connections")
    assert "No connection yet" in browser.get(page).content.decode()
    said = browser.post(page, {"name": "Team", "token": "hf_expired"}, follow=True).content.decode()
    assert "doesn&#x27;t accept" in said
    row = Connection.objects.get()
    said = browser.post(reverse("admin:models_connection", args=[row.pk, "replace"]), {"token": "hf_good"}, follow=True)
    assert "The hub takes the token of Team." in said.content.decode()
    browser.post(reverse("admin:models_connection", args=[row.pk, "delete"]))
    assert not Connection.objects.exists()
