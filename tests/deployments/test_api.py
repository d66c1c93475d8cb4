"""The API of deployments, as a script of an integrator uses it."""

import base64
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from knox.models import AuthToken
from pytest_django import DjangoAssertNumQueries

from apps.deployments.models import Deployment
from apps.deployments.statuses import Status
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus
from modelyard.roles import create_groups

URL = "/api/v1/deployments/"


@pytest.fixture
def model(db: None) -> Model:
    return Model.objects.create(name="tiny", status=ModelStatus.READY, format=Format.ONNX)


def caller(group: str = "") -> Client:
    user = User.objects.create(username=group or "root", is_superuser=not group)
    if group:
        create_groups()
        user.groups.add(Group.objects.get(name=group))
    return Client(headers={"Authorization": f"Bearer {AuthToken.objects.create(user=user)[1]}"})


def made(client: Client, model: Model, **more: Any) -> dict[str, Any]:
    body = {"model": model.pk, "name": "search", "runtime": "echo", **more}
    answer = client.post(URL, body, content_type="application/json")
    assert answer.status_code == 201, answer.json()
    return dict(answer.json())


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["status"]) == (code, status)
    return dict(body)


def test_create_deploy_and_read(model: Model) -> None:
    client = caller()
    one = made(client, model, tags=["a"], deploy=True)
    assert (one["status"], one["version"], one["tags"]) == ("deploying", 1, ["a"])
    assert one["endpoint"].endswith(f"/d/{one['id']}/v1")
    assert client.get(f"{URL}{one['id']}/").json()["name"] == "search"
    assert [event["code"] for event in client.get(f"{URL}{one['id']}/events/").json()["results"]] == [
        "deploy_asked",
        "created",
    ]


def test_without_a_token_nothing_is_told(model: Model) -> None:
    problem(Client().get(URL), 401, "not_authenticated")


@pytest.mark.django_db
def test_a_wrong_token_is_refused() -> None:
    answer = Client(headers={"Authorization": "Bearer myt_" + "0" * 60}).get(URL)
    problem(answer, 401, "authentication_failed")


@pytest.mark.django_db
def test_a_token_is_made_with_name_and_password() -> None:
    User.objects.create_user("anna", password="correct horse battery", is_superuser=True)
    basic = base64.b64encode(b"anna:correct horse battery").decode()
    answer = Client().post("/api/v1/tokens/", headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert Client().get(URL, headers={"Authorization": f"Bearer {answer.json()['token']}"}).status_code == 200


def test_a_verb_in_the_wrong_status_is_a_problem_with_a_next_step(model: Model) -> None:
    client = caller()
    one = made(client, model)
    body = problem(client.post(f"{URL}{one['id']}/retrigger/"), 409, "wrong_status")
    assert body["next_step"] == "Re-trigger is for what has Failed or is Stopped."


def test_invalid_input_names_the_fields(model: Model) -> None:
    answer = caller().post(URL, {"model": "mdl_none"}, content_type="application/json")
    assert set(problem(answer, 400, "invalid")["errors"]) == {"model", "name"}


def test_wrong_options_are_a_problem(model: Model) -> None:
    body = {"model": model.pk, "name": "x", "runtime": "echo", "options": {"nonsense": 1}}
    problem(caller().post(URL, body, content_type="application/json"), 400, "invalid_options")


def test_a_name_is_not_editable(model: Model) -> None:
    client = caller()
    one = made(client, model)
    edited = client.patch(f"{URL}{one['id']}/", {"tags": ["b"]}, content_type="application/json")
    assert edited.json()["tags"] == ["b"]
    answer = client.patch(f"{URL}{one['id']}/", {"name": "other", "id": "x"}, content_type="application/json")
    assert problem(answer, 400, "not_editable")["title"] == "Not editable: id, name."


def test_delete_while_deployed_is_refused(model: Model) -> None:
    client = caller()
    one = made(client, model)
    Deployment.objects.update(status=Status.DEPLOYED)
    problem(client.delete(f"{URL}{one['id']}/"), 409, "still_running")
    Deployment.objects.update(status=Status.STOPPED)
    assert client.delete(f"{URL}{one['id']}/").status_code == 204


def test_redeploy_makes_the_next_version(model: Model) -> None:
    client = caller()
    one = made(client, model)
    answer = client.post(f"{URL}{one['id']}/redeploy/", {"options": {"words_per_second": 3}},
                         content_type="application/json")  # fmt: skip
    assert answer.status_code == 202
    versions = client.get(f"{URL}{one['id']}/versions/").json()["results"]
    assert [(version["number"], version["options"]) for version in versions] == [(2, {"words_per_second": 3}), (1, {})]


def test_a_redeploy_from_an_older_version_is_a_conflict(model: Model) -> None:
    client = caller()
    address = f"{URL}{made(client, model)['id']}/redeploy/"
    sent = {"options": {"words_per_second": 3}, "expected_version": 1}
    assert client.post(address, sent, content_type="application/json").status_code == 202
    Deployment.objects.update(status=Status.DEPLOYED)
    problem(client.post(address, sent, content_type="application/json"), 409, "version_conflict")
    assert client.post(address, {**sent, "expected_version": 2}, content_type="application/json").status_code == 202


def test_the_start_limit_can_be_given_back_to_the_runtime(model: Model) -> None:
    client = caller()
    one = made(client, model, ready_seconds=70)
    sent = {"ready_seconds": None}
    assert client.post(f"{URL}{one['id']}/redeploy/", sent, content_type="application/json").status_code == 202
    versions = client.get(f"{URL}{one['id']}/versions/").json()["results"]
    assert [version["ready_seconds"] for version in versions] == [None, 70]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status=ready_to_deploy", ["one", "two"]), ("status=failed", []), ("tag=a", ["one"]), ("tag=c", []),
        ("search=two", ["two"]), ("ordering=name", ["one", "two"]), ("ordering=-name", ["two", "one"]),
        ("runtime=onnx", []), ("page_size=1&ordering=name", ["one"]), ("added_by=root", ["one", "two"]),
    ],
)  # fmt: skip
def test_lists_are_filtered_searched_sorted_and_paged(model: Model, query: str, names: list[str]) -> None:
    client = caller()
    made(client, model, name="one", tags=["a", "b"])
    made(client, model, name="two", tags=["b"])
    found = [row["name"] for row in client.get(f"{URL}?{query}").json()["results"]]
    assert (found if "ordering" in query else sorted(found)) == names


def test_a_list_takes_the_same_queries_for_any_number(
    model: Model, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = caller()
    for number in range(12):
        made(client, model, name=f"d{number}")
    with django_assert_max_num_queries(8):
        assert len(client.get(URL).json()["results"]) == 12


def test_a_viewer_reads_and_changes_nothing(model: Model) -> None:
    one = made(caller(), model)
    viewer = caller("Viewers")
    assert viewer.get(URL).status_code == 200
    for verb in ("deploy", "redeploy", "retrigger", "undeploy"):
        problem(viewer.post(f"{URL}{one['id']}/{verb}/"), 403, "permission_denied")
    for refused in (viewer.delete(f"{URL}{one['id']}/"), viewer.post(f"{URL}{one['id']}/keys/", {"name": "x"}),
                    viewer.patch(f"{URL}{one['id']}/", {}, content_type="application/json"),
                    viewer.post(URL, {"model": model.pk, "name": "x"})):  # fmt: skip
        problem(refused, 403, "permission_denied")


def test_a_deployer_deploys_and_may_not_delete(model: Model) -> None:
    deployer = caller("Deployers")
    one = made(deployer, model, deploy=True)
    problem(deployer.delete(f"{URL}{one['id']}/"), 403, "permission_denied")


def test_keys_are_made_listed_and_revoked_below_their_deployment(model: Model) -> None:
    client = caller()
    one, other = made(client, model), made(client, model, name="other")
    key = client.post(f"{URL}{one['id']}/keys/", {"name": "app"}).json()
    assert key["key"].startswith("myk_")
    assert "key" not in client.get(f"{URL}{one['id']}/keys/{key['id']}/").json()
    problem(client.get(f"{URL}{other['id']}/keys/{key['id']}/"), 404, "not_found")
    assert client.delete(f"{URL}{one['id']}/keys/{key['id']}/").status_code == 204
    assert client.get(f"{URL}{one['id']}/keys/").json()["results"][0]["state"] == "revoked"


def test_curl_and_logs_and_runtimes_are_there(model: Model) -> None:
    client = caller()
    one = made(client, model)
    assert "$MODELYARD_API_KEY" in client.get(f"{URL}{one['id']}/curl/").json()["curl"]
    assert client.get(f"{URL}{one['id']}/logs/").json() == {"lines": []}
    assert {row["name"] for row in client.get("/api/v1/runtimes/").json()} >= {"onnx", "echo"}


def test_what_is_not_there_is_a_problem(model: Model) -> None:
    client = caller()
    problem(client.get(f"{URL}dep_0000/"), 404, "not_found")
    problem(client.put(URL, {}), 405, "method_not_allowed")
