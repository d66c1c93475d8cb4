"""Where a page can't be shown, a person reads why and what to do; a program gets a problem body."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.deployments.models import Deployment
from tests.admin.test_pages import LIST, deployment, model, page, person  # noqa: F401 (fixtures)
from tests.admin.test_site import INLINE


def says(answer: Any, status: int, *texts: str) -> bool:
    html = answer.content.decode()
    assert (answer.status_code, INLINE.findall(html)) == (status, [])
    assert "modelyard/css/theme.css" in html
    return all(text in html for text in texts)


def test_an_address_with_nothing_says_where_to_look(deployment: Deployment) -> None:  # noqa: F811
    client = person()
    for address in ("/nothing/", f"{LIST}dep_0123456789/", f"{LIST}add/drf_gone/general/", f"{LIST}bulk/dance/",
                    page(deployment, "do", "dance"), page(deployment, "decide", "dance")):  # fmt: skip
        answer = client.post(address) if "dance" in address else client.get(address)
        assert says(answer, 404, "There is nothing at this address.", "look for it in the lists")


def test_who_may_not_is_told_whom_to_ask(deployment: Deployment) -> None:  # noqa: F811
    answer = person("Viewers").post(page(deployment, "do", "deploy"))
    assert says(answer, 403, "Viewers may not see or do this.", "Ask an administrator")


def test_a_form_that_is_too_old_says_what_to_do(deployment: Deployment) -> None:  # noqa: F811
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create(username="x", is_staff=True, is_superuser=True))
    answer = client.post(page(deployment, "do", "deploy"))
    assert says(answer, 403, "nothing was done", "load the page again")


def test_our_own_fault_shows_no_traceback(deployment: Deployment, monkeypatch: Any) -> None:  # noqa: F811
    monkeypatch.setattr("apps.deployments.tabs.frame.status_of", lambda *_: 1 // 0)
    client = person()
    client.raise_request_exception = False
    answer = client.get(page(deployment))
    assert says(answer, 500, "Something went wrong in Modelyard.", "the web process&#x27;s log")
    assert "ZeroDivisionError" not in answer.content.decode()


def test_a_program_gets_a_problem_body(db: None) -> None:
    answer = Client().get("/api/v1/nothing/")
    assert answer["Content-Type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(("name", "more", "lands"), [
    ("do", ["undeploy"], "detail"), ("decide", ["accept"], "optimization"), ("revoke_key", ["k"], "keys"),
])  # fmt: skip
def test_who_had_to_log_in_before_something_was_done_lands_on_its_page(
    deployment: Deployment,  # noqa: F811
    name: str,
    more: list[str],
    lands: str,
) -> None:
    answer = person().get(page(deployment, name, *more), follow=True)
    assert answer.redirect_chain == [(page(deployment, lands), 302)]
    assert "Nothing was done: you had to log in first." in answer.content.decode()


def test_a_verb_that_a_connection_does_not_have_is_no_address(db: None) -> None:
    assert person().post("/admin/models/model/connections/con_1/dance/").status_code == 404


def test_a_revision_of_many_digits_is_the_newest_one(model: Any) -> None:  # noqa: F811
    assert person().get(f"/admin/models/model/{model.pk}/files/?revision={'9' * 5000}").status_code == 200


def test_two_people_who_edit_a_model_are_told_and_nothing_typed_is_lost(model: Any) -> None:  # noqa: F811
    address, client = f"/admin/models/model/{model.pk}/edit/", person()
    seen = client.get(address).context["form"]["seen"].value()
    client.post(address, {"description": "first", "tags": "eu", "seen": seen})
    late = client.post(address, {"description": "second", "tags": "us", "seen": seen})
    html = late.content.decode()
    assert "Somebody else has changed this meanwhile." in html
    assert (model.__class__.objects.get().description, "first" in html, "second" in html) == ("first", True, True)
    again = {"description": "second", "tags": "us", "seen": late.context["form"]["seen"].value()}
    assert client.post(address, again).status_code == 302
    assert model.__class__.objects.get().description == "second"
