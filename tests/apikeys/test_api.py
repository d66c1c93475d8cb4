"""The API of keys, as a script that hands them out uses it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from apps.apikeys import operations
from apps.apikeys.models import ApiKey
from apps.deployments.models import Deployment
from modelyard.roles import create_groups

JSON = "application/json"


def caller(group: str = "") -> Client:
    user = User.objects.create(username=group or "root", is_superuser=not group)
    if group:
        create_groups()
        user.groups.add(Group.objects.get(name=group))
    return Client(headers={"Authorization": f"Bearer {AuthToken.objects.create(user=user)[1]}"})


def keys(deployment: Deployment, *more: str) -> str:
    return "/".join([f"/api/v1/deployments/{deployment.pk}/keys", *more, ""])


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["code"] == code
    return dict(answer.json())


@pytest.fixture
def key(deployment: Deployment) -> ApiKey:
    return operations.create(deployment=deployment, name="app", by=None, tokens_per_day=1000)[0]


def test_a_key_is_made_with_its_limits(deployment: Deployment) -> None:
    body = {"name": "app", "scopes": ["chat"], "networks": ["10.0.0.1/32"], "notes": "n", "requests_per_minute": 0,
            "tokens_per_day": None}  # fmt: skip
    answer = caller().post(keys(deployment), body, content_type=JSON)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    made = answer.json()
    assert made["key"].startswith(f"myk_{made['id']}_")
    assert (made["scopes"], made["networks"], made["notes"]) == (["chat"], ["10.0.0.1"], "n")
    assert (made["requests_per_minute"], made["tokens_per_day"], made["successor"]) == (0, None, None)
    assert made["account"] == made["id"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"scopes": ["admin"]}, "invalid"), ({"scopes": "chat"}, "invalid"), ({"networks": ["x"]}, "invalid_networks"),
        ({"tokens_per_day": -1}, "invalid"), ({"tokens_per_day": 10**15 + 1}, "invalid"),
        ({"request_per_minute": 5}, "not_editable"), ({"id": "mine"}, "not_editable"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "invalid_expiry"),
    ],
)  # fmt: skip
def test_wrong_input_makes_no_key_and_changes_none(key: ApiKey, given: dict[str, Any], code: str) -> None:
    client = caller()
    problem(client.post(keys(key.deployment), {"name": "app", **given}, content_type=JSON), 400, code)
    problem(client.patch(keys(key.deployment, key.pk), given, content_type=JSON), 400, code)
    assert ApiKey.objects.count() == 1
    assert [event.code for event in operations.history(key)] == ["created"]


def test_an_edit_changes_what_is_given(key: ApiKey) -> None:
    client = caller()
    edited = client.patch(keys(key.deployment, key.pk), {"scopes": ["chat"], "tokens_per_day": 5}, content_type=JSON)
    assert edited.status_code == 200
    assert (edited.json()["scopes"], edited.json()["tokens_per_day"], edited.json()["name"]) == (["chat"], 5, "app")
    client.patch(keys(key.deployment, key.pk), {"tokens_per_day": None}, content_type=JSON)
    key.refresh_from_db()
    assert (key.tokens_per_day, key.scopes) == (None, ["chat"])


def test_rotation_shows_the_new_key_once(key: ApiKey) -> None:
    client = caller()
    answer = client.post(keys(key.deployment, key.pk, "rotate"), {"overlap_seconds": 60}, content_type=JSON)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    new = answer.json()
    assert new["key"].startswith(f"myk_{new['id']}_")
    old = client.get(keys(key.deployment, key.pk)).json()
    assert (old["successor"], old["state"], new["account"]) == (new["id"], "active", old["id"])
    assert datetime.fromisoformat(old["expires_at"]) <= timezone.now() + timedelta(seconds=60)
    assert new["key"] not in client.get(keys(key.deployment)).text


def test_an_overlap_is_a_day_unless_told(key: ApiKey) -> None:
    caller().post(keys(key.deployment, key.pk, "rotate"))
    key.refresh_from_db()
    assert key.expires_at
    assert timedelta(hours=23, minutes=59) < key.expires_at - timezone.now() <= timedelta(hours=24)


@pytest.mark.parametrize("body", [{"overlap_seconds": -1}, {"overlap_seconds": 30 * 86_400 + 1}, {"overlap": 60}])
def test_an_overlap_that_will_not_do_rotates_nothing(key: ApiKey, body: dict[str, int]) -> None:
    answer = caller().post(keys(key.deployment, key.pk, "rotate"), body, content_type=JSON)
    assert answer.status_code == 400
    assert ApiKey.objects.count() == 1


def test_what_has_ended_is_a_conflict(key: ApiKey) -> None:
    client = caller()
    client.post(keys(key.deployment, key.pk, "rotate"))
    problem(client.post(keys(key.deployment, key.pk, "rotate")), 409, "already_rotated")
    client.delete(keys(key.deployment, key.pk))
    problem(client.patch(keys(key.deployment, key.pk), {"name": "x"}, content_type=JSON), 409, "key_revoked")
    problem(client.post(keys(key.deployment, key.pk, "rotate")), 409, "key_revoked")


def test_history_tells_who_did_what(key: ApiKey) -> None:
    client = caller()
    client.patch(keys(key.deployment, key.pk), {"tokens_per_day": 5}, content_type=JSON)
    new = client.post(keys(key.deployment, key.pk, "rotate")).json()
    client.delete(keys(key.deployment, key.pk))
    found = client.get(keys(key.deployment, new["id"], "events")).json()["results"]
    assert [(row["code"], row["by"]) for row in found] == [
        ("revoked", "root"), ("created", "root"), ("rotated", "root"), ("edited", "root"), ("created", None),
    ]  # fmt: skip
    assert found[3]["detail"] == {"tokens_per_day": [1000, 5]}


def test_a_key_of_another_deployment_is_not_there(key: ApiKey, other: Deployment) -> None:
    client = caller()
    problem(client.get(keys(other, key.pk, "events")), 404, "not_found")
    problem(client.patch(keys(other, key.pk), {"name": "x"}, content_type=JSON), 404, "not_found")
    problem(client.post(keys(other, key.pk, "rotate")), 404, "not_found")
    problem(client.delete(keys(other, key.pk)), 404, "not_found")
    assert [event.code for event in operations.history(key)] == ["created"]


def test_a_viewer_reads_keys_and_their_history_only(key: ApiKey) -> None:
    client = caller("Viewers")
    assert client.get(keys(key.deployment, key.pk)).status_code == 200
    assert client.get(keys(key.deployment, key.pk, "events")).status_code == 200
    problem(client.patch(keys(key.deployment, key.pk), {"name": "x"}, content_type=JSON), 403, "permission_denied")
    problem(client.post(keys(key.deployment, key.pk, "rotate")), 403, "permission_denied")
    problem(client.delete(keys(key.deployment, key.pk)), 403, "permission_denied")


def test_a_deployer_makes_edits_rotates_and_revokes(deployment: Deployment) -> None:
    client = caller("Deployers")
    made = client.post(keys(deployment), {"name": "app"}, content_type=JSON).json()
    assert client.patch(keys(deployment, made["id"]), {"name": "x"}, content_type=JSON).status_code == 200
    assert client.post(keys(deployment, made["id"], "rotate")).status_code == 201
    assert client.delete(keys(deployment, made["id"])).status_code == 204


def test_without_a_token_nothing_is_told(key: ApiKey) -> None:
    for address in (keys(key.deployment), keys(key.deployment, key.pk), keys(key.deployment, key.pk, "events")):
        problem(Client().get(address), 401, "not_authenticated")
