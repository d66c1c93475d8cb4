"""Runtimes for a model, optimizations and their proofs, as a script and the admin's pages use them."""

import csv
import io
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from knox.models import AuthToken

from apps.deployments.models import Deployment, Proof
from apps.deployments.optimization import report
from apps.deployments.optimization.agreement import Answer, compare
from apps.deployments.optimization.trial import Trial
from apps.deployments.statuses import Outcome, Status
from apps.deployments.versions import Optimization
from apps.models.models import Model
from modelyard.launchers.host import this_host
from modelyard.roles import create_groups
from modelyard.runtimes import SampleRequest
from tests.deployments.conftest import Make
from tests.deployments.walking import Walk

URL = "/api/v1/deployments/"


def client_of(group: str = "") -> Client:
    user = User.objects.create(username=group or "root", is_superuser=not group, is_staff=True)
    if group:
        create_groups()
        user.groups.add(Group.objects.get(name=group))
    client = Client(headers={"Authorization": f"Bearer {AuthToken.objects.create(user=user)[1]}"})
    client.force_login(user)
    return client


@pytest.fixture
def undecided(make: Make) -> Deployment:
    """A deployment whose first version waits for accept or reject."""
    deployment = make(optimization=Optimization("shout"))
    requests = [SampleRequest("/v1/chat/completions", {"messages": [{"content": text}]}) for text in ("one", "two")]
    answers = [Answer("generation", text="one"), Answer("generation", text="two")]
    trial = Trial(1.5, [0.1, 0.2], [], 5.0, 2**20)
    made = report.build(
        report.side(trial, 1000), report.side(trial, 250), compare(answers, [answers[0], None]), requests,
        threshold=0.98, own_samples=False, recipe="shout", host=this_host(),
    )  # fmt: skip
    version = deployment.versions.get()
    Proof.objects.create(version=version, agreement=made["agreement"], passed=made["passed"], report=made)
    deployment.versions.update(outcome=Outcome.UNDECIDED)
    deployment.refresh_from_db()
    return deployment


def test_a_model_says_who_can_serve_it_and_why_others_cannot(model: Model) -> None:
    rows = {row["name"]: row for row in client_of("Viewers").get(f"/api/v1/models/{model.pk}/runtimes/").json()}
    assert rows["echo"]["usable"]
    assert rows["echo"]["estimate"]["parts"]
    assert "shout" in {recipe["name"] for recipe in rows["echo"]["recipes"]}
    blocked = [finding for finding in rows["onnx"]["findings"] if finding["level"] == "block"]
    assert blocked
    assert all(finding["message"] and finding["fix"] for finding in blocked)


def test_the_fit_is_of_the_options_that_are_given(model: Model) -> None:
    body = {"options": {"echo": {"refuse": True}}}
    answer = client_of().post(f"/api/v1/models/{model.pk}/runtimes/", body, content_type="application/json")
    assert not next(row for row in answer.json() if row["name"] == "echo")["usable"]
    body = {"options": {"echo": {"speed": 1}}}
    answer = client_of("Viewers").post(f"/api/v1/models/{model.pk}/runtimes/", body, content_type="application/json")
    wrong = next(row for row in answer.json() if row["name"] == "echo")["findings"]
    assert [finding["code"] for finding in wrong] == ["invalid_options"]


def test_a_deployment_can_ask_for_an_optimization(model: Model) -> None:
    optimization = {"recipe": "copy", "threshold": 0.9, "samples": ["a text", {"messages": []}]}
    body = {"model": model.pk, "name": "fast", "runtime": "echo", "optimization": optimization, "deploy": True}
    made = client_of().post(URL, body, content_type="application/json").json()
    assert made["status"] == "optimizing"
    version = Deployment.objects.get(pk=made["id"]).versions.get()
    assert (version.recipe, version.threshold) == ("copy", 0.9)
    assert version.samples == '"a text"\n{"messages": []}'
    assert version.estimate["likely"] == 25_000_000


def test_an_unknown_recipe_is_refused_with_what_there_is(model: Model) -> None:
    body = {"model": model.pk, "name": "fast", "runtime": "echo", "optimization": {"recipe": "magic"}}
    answer = client_of().post(URL, body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_recipe")
    assert "copy" in answer.json()["next_step"]


def test_the_proof_is_read_and_exported(undecided: Deployment) -> None:
    client = client_of("Viewers")
    address = f"{URL}{undecided.pk}/versions/1/proof/"
    body = client.get(address).json()
    assert (body["agreement"], body["passed"], body["accepted"]) == (0.5, False, None)
    assert body["report"]["worst"][0] == {"sample": 2, "agreement": 0, "text": "two"}
    sheet = client.get(f"{address}?as=csv")
    assert "attachment" in sheet.headers["Content-Disposition"]
    rows = {row[0]: row for row in csv.reader(io.StringIO(sheet.content.decode()))}
    assert rows["size_bytes"][2:] == ["1000", "250", "0.25"]
    assert client.get(f"{URL}{undecided.pk}/versions/7/proof/").status_code == 404


def test_only_who_may_decides(undecided: Deployment) -> None:
    assert client_of("Viewers").post(f"{URL}{undecided.pk}/accept/").status_code == 403
    answer = client_of("Deployers").post(f"{URL}{undecided.pk}/accept/")
    assert (answer.status_code, answer.json()["status"]) == (202, "deploying")
    again = client_of("Platform admins").post(f"{URL}{undecided.pk}/reject/")
    assert (again.status_code, again.json()["code"]) == (409, "wrong_status")


def test_rejecting_is_an_event_with_a_name(undecided: Deployment) -> None:
    client_of("Deployers").post(f"{URL}{undecided.pk}/reject/")
    event = undecided.events.get(code="rejected")
    assert event.by
    assert event.by.username == "Deployers"


def page(client: Client, name: str, deployment: Deployment, *more: Any) -> str:
    answer = client.get(reverse(f"admin:deployments_deployment_{name}", args=[deployment.pk, *more]))
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_shows_both_sides_and_asks_for_a_decision(undecided: Deployment) -> None:
    client = client_of("Deployers")
    text = page(client, "optimization", undecided)
    for shown in ("Size on disk", "0.25", "Accept and deploy", "Reject", "waits for a decision", "Export CSV"):
        assert shown in text, shown
    assert "waits for accept or reject" in page(client, "detail", undecided)
    assert "Accept and deploy" not in page(client_of("Viewers"), "optimization", undecided)


def test_the_list_offers_the_decision_and_no_deploy(undecided: Deployment) -> None:
    text = client_of("Deployers").get(reverse("admin:deployments_deployment_changelist")).content.decode()
    assert ">Decide</a>" in text
    assert ">Deploy</button>" not in text


def test_the_decision_is_made_in_the_admin(undecided: Deployment) -> None:
    address = reverse("admin:deployments_deployment_decide", args=[undecided.pk, "accept"])
    assert client_of("Viewers").post(address).status_code == 403
    client_of("Deployers").post(address)
    undecided.refresh_from_db()
    assert undecided.status == Status.DEPLOYING


def test_the_exports_are_files(undecided: Deployment) -> None:
    client = client_of("Viewers")
    for kind in ("json", "csv"):
        answer = client.get(reverse("admin:deployments_deployment_proof_export", args=[undecided.pk, 1, kind]))
        assert f"-v1-proof.{kind}" in answer.headers["Content-Disposition"]


def test_the_wizard_takes_an_optimization(model: Model) -> None:
    walk = Walk(client_of("Deployers"), model=model)
    walk.finish(name="fast", runtime="echo", recipe="copy", threshold="0.5")
    version = Deployment.objects.get().versions.get()
    assert (version.recipe, version.threshold, version.outcome) == ("copy", 0.5, Outcome.OPTIMIZING)
