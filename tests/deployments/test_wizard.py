"""The wizard: its steps through Django's client, with real operations behind them."""

import json
import re
import shlex
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.deployments import operations
from apps.deployments.models import Deployment, Draft
from apps.deployments.statuses import Desired, Status
from apps.deployments.versions import Optimization
from apps.models.models import Model
from tests.deployments.conftest import Make
from tests.deployments.test_optimization_api import client_of
from tests.deployments.walking import Walk

SPEED = "option__echo__words_per_second"


@pytest.fixture
def walk(model: Model, person: User) -> Walk:
    return Walk(client_of("Deployers"), model=model)


def words(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_the_five_steps_deploy(walk: Walk) -> None:
    answer = walk.finish(name="fresh", runtime="echo", **{SPEED: "7"}, replicas="2", ready_seconds="90", tags="a, b")
    made = Deployment.objects.get()
    assert answer.headers["Location"].endswith(f"{made.pk}/")
    assert (made.name, made.status, made.runtime, made.tags) == ("fresh", Status.DEPLOYING, "echo", ["a", "b"])
    version = made.versions.get()
    assert (version.options, version.replicas_wanted, version.ready_seconds) == ({"words_per_second": 7.0}, 2, 90)


def test_saved_it_is_ready_to_deploy_and_the_licence_is_in_the_timeline(model: Model, walk: Walk) -> None:
    Model.objects.filter(pk=model.pk).update(licence="apache-2.0")
    assert "apache-2.0" in words(walk.to_review(runtime="echo"))
    assert "This field is required" in words(walk.send("review", "save"))
    walk.send("review", "save", accepted="on")
    made = Deployment.objects.get()
    assert made.status == Status.READY_TO_DEPLOY
    assert made.events.get(code="created").detail == {"accepted_licence": "apache-2.0"}


def test_what_was_typed_stays_on_the_way_back_and_over_a_reload(walk: Walk) -> None:
    walk.send("general", runtime="echo", description="For search.")
    walk.send("optimization", recipe="loud")
    assert walk.send("parameters", "back", **{SPEED: "nonsense"}).headers["Location"].endswith("/optimization/")
    assert walk.fields("parameters")[SPEED] == "nonsense"
    assert walk.fields("optimization")["recipe"] == "loud"
    assert walk.fields("general")["description"] == "For search."
    assert 'value="loud" checked' in words(walk.see("optimization"))


def test_a_wrong_value_is_said_beside_its_field_and_above_with_a_link(walk: Walk) -> None:
    walk.send("general", runtime="echo")
    answer = walk.send("parameters", **{SPEED: "0"})
    assert f'<a class="my-link" href="#id_{SPEED}">Speed</a>: Input should be greater than 0' in words(answer)
    assert f'id="id_{SPEED}_error"' in words(answer)
    assert walk.draft.passed == ["general"]


def test_nobody_gets_past_a_step_that_is_wrong(walk: Walk) -> None:
    assert walk.send("general", "review", name="").status_code == 200
    assert walk.send("general", "review", name="right", runtime="echo").headers["Location"].endswith("/optimization/")
    walk.send("hardware", "back", replicas="99")
    answer = walk.see("review")
    assert "#id_replicas" in words(answer)
    assert ">Deploy</button>" not in words(answer)
    walk.send("review", "deploy", accepted="on")
    assert not Deployment.objects.exists()


def test_a_name_is_checked_when_the_step_is_left_and_as_it_is_typed(walk: Walk, make: Make) -> None:
    make("taken")
    answer = walk.send("general", name="taken")
    assert "There is a deployment named &#x27;taken&#x27; already." in words(answer)
    assert "taken-2" in words(answer)
    address = reverse("admin:deployments_deployment_add_name")
    assert "already" in walk.client.get(address, {"name": "taken"}).json()["problem"]
    assert "slash" in walk.client.get(address, {"name": "a/b"}).json()["problem"]
    assert walk.client.get(address, {"name": "free"}).json()["problem"] == ""


def test_of_two_people_with_one_name_the_second_loses_nothing(walk: Walk, make: Make) -> None:
    walk.to_review(name="ours", runtime="echo", **{SPEED: "9"})
    make("ours")
    answer = walk.send("review", "deploy", accepted="on")
    assert "There is a deployment named" in words(answer)
    assert walk.fields("parameters")[SPEED] == "9"
    walk.send("general", "review", name="ours-2")
    walk.send("review", "deploy", accepted="on")
    assert Deployment.objects.get(name="ours-2").target_version.options == {"words_per_second": 9.0}  # type: ignore[union-attr]


def test_sent_twice_it_is_made_once(walk: Walk) -> None:
    walk.to_review(name="once", runtime="echo")
    form = {"go": "deploy", "accepted": "on"}
    answers = [walk.client.post(f"{walk.base}review/", form) for _ in range(2)]
    assert Deployment.objects.count() == 1
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert walk.see("general").headers["Location"] == answers[0].headers["Location"]


def test_a_draft_is_its_owners_alone(walk: Walk) -> None:
    other = client_of("Platform admins")
    assert other.get(f"{walk.base}general/").status_code == 404
    assert other.post(reverse("admin:deployments_deployment_fit"), {"draft": walk.draft.pk}).status_code == 404
    assert client_of("Viewers").get(f"{walk.base}general/").status_code == 403


def test_after_a_new_login_the_draft_goes_on(walk: Walk) -> None:
    walk.send("general", runtime="echo", name="patient")
    walk.client.logout()
    answer = walk.client.post(f"{walk.base}optimization/", {"go": "next"})
    assert "/login/?next=" in answer.headers["Location"]
    walk.client.force_login(walk.draft.owner)
    assert walk.fields("general")["name"] == "patient"


def test_automatic_takes_the_best_runtime_and_says_which(walk: Walk) -> None:
    assert "now that is Echo" in words(walk.see("general"))
    assert "chosen automatically" in words(walk.to_review())
    walk.send("review", "save", accepted="on")
    assert Deployment.objects.get().runtime == "echo"


def test_a_runtime_that_cannot_have_the_model_is_refused_with_the_fix(walk: Walk) -> None:
    answer = words(walk.send("general", runtime="vllm"))
    assert "vLLM loads safetensors folders" in answer
    assert "Import the model&#x27;s safetensors version." in answer
    assert "doesn&#x27;t exist" not in answer
    assert "There is no runtime" in words(walk.send("general", runtime="nothing"))


def test_what_a_runtime_refuses_with_its_options_stops_at_the_hardware(walk: Walk) -> None:
    walk.send("general", runtime="echo")
    walk.send("parameters", option__echo__refuse="on")
    assert "Echo was told to refuse. Set refuse to false." in words(walk.send("hardware"))


def test_the_fit_follows_what_is_typed_and_nothing_is_kept_of_it(walk: Walk) -> None:
    walk.send("general", runtime="echo")
    given = {"draft": walk.draft.pk, "step": "hardware", "replicas": "3"}
    answer = words(walk.client.post(reverse("admin:deployments_deployment_fit"), given))
    assert "3 replicas probably take <b>71.5" in answer
    refuse = {"draft": walk.draft.pk, "step": "parameters", "option__echo__refuse": "on"}
    assert "Echo was told to refuse." in words(walk.client.post(reverse("admin:deployments_deployment_fit"), refuse))
    assert "option__echo__refuse" not in walk.draft.values


def test_the_review_shows_the_command_without_the_secret(walk: Walk) -> None:
    page = walk.to_review(name="shown", runtime="echo", **{SPEED: "7"})
    preview = page.context["preview"]
    assert preview.argv[2:7] == ["127.0.0.1", "<port>", "-", "0", "7.0"]
    assert preview.argv[7] == "<workdir>"
    assert preview.env == {"ECHO_SECRET": "<secret>"}


def test_the_review_shows_what_the_recipe_sets_in_the_command(walk: Walk) -> None:
    plain = walk.to_review(runtime="echo").context["preview"].argv[-1]
    walk.send("optimization", recipe="loud")
    assert (plain, walk.see("review").context["preview"].argv[-1]) == ("0", "1")


def test_the_api_call_makes_the_same(walk: Walk) -> None:
    values = {"name": "by hand", "runtime": "echo", SPEED: "7", "replicas": "2", "recipe": "loud",
              "samples": '"it\'s a text"\n{"text": "another"}',
              "description": "It's here.", "tags": "a, b"}  # fmt: skip
    line = walk.to_review(**values).context["api_call"]
    parts = shlex.split(line)
    address, body = next(part for part in parts if part.startswith("http")), json.loads(parts[-1])
    assert "$MODELYARD_TOKEN" in line
    answer = walk.client.post(address, body, content_type="application/json")
    assert answer.status_code == 201, answer.json()
    walk.send("general", "back", name="by the button")
    walk.send("review", "deploy", accepted="on")
    one, two = (Deployment.objects.get(name=name) for name in ("by hand", "by the button"))
    assert (one.tags, one.description, one.status) == (two.tags, two.description, two.status)
    same = ("options", "replicas_wanted", "ready_seconds", "recipe", "threshold", "samples")
    first, second = one.versions.get(), two.versions.get()
    assert [getattr(first, name) for name in same] == [getattr(second, name) for name in same]


def test_an_option_that_does_nothing_for_the_model_is_not_asked_for(
    walk: Walk, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.deployments import runtimes

    monkeypatch.setattr(type(runtimes.get("echo")), "idle_options", lambda *_: ("loud",))
    walk.send("general", runtime="echo")
    assert "option__echo__loud" not in walk.see("parameters").context["form"].fields
    assert SPEED in walk.see("parameters").context["form"].fields


# --- Re-deploy ---


@pytest.fixture
def running(make: Make) -> Deployment:
    deployment = make("running", words_per_second=5.0, ready_seconds=60, replicas=2)
    Deployment.objects.filter(pk=deployment.pk).update(
        status=Status.DEPLOYED, desired=Desired.RUNNING, live_version=deployment.target_version
    )
    deployment.refresh_from_db()
    return deployment


@pytest.fixture
def again(running: Deployment) -> Walk:
    return Walk(client_of("Deployers"), deployment=running)


def test_a_redeploy_begins_with_the_running_version(again: Walk) -> None:
    assert again.fields("parameters")[SPEED] == "5.0"
    assert (again.fields("hardware")["replicas"], again.fields("hardware")["ready_seconds"]) == ("2", "60")
    assert 'name="name"' not in words(again.see("general"))


def test_unchanged_it_says_so_and_can_still_be_done(again: Walk, running: Deployment) -> None:
    page = words(again.to_review())
    assert "Nothing changed." in page
    assert "v2 is brought up beside v1" in page
    again.send("review", "deploy")
    running.refresh_from_db()
    assert (running.target_version.number, running.status) == (2, Status.DEPLOYING)  # type: ignore[union-attr]


def test_the_review_has_the_difference(again: Walk, running: Deployment) -> None:
    page = again.to_review(option__echo__loud="on", **{SPEED: "20"}, ready_seconds=None, replicas="3", recipe="loud")
    found = {each.name: (each.kind, each.old, each.new) for each in page.context["differences"]}
    assert found == {
        "Loud": ("added", "false", "true"), "Speed": ("removed", "5.0", "20.0"),
        "Replicas": ("changed", "2", "3"), "Start limit (s)": ("changed", "60", "the runtime's own"),
        "Optimization": ("changed", "none", "loud"),
    }  # fmt: skip
    again.send("review", "deploy")
    version = running.versions.get(number=2)
    assert (version.options, version.replicas_wanted, version.ready_seconds) == ({"loud": True}, 3, None)


def test_a_version_made_meanwhile_is_a_clear_conflict_and_nothing_is_lost(
    again: Walk, running: Deployment, person: User
) -> None:
    again.to_review(**{SPEED: "30"})
    operations.redeploy(running, by=person, replicas=4)
    Deployment.objects.filter(pk=running.pk).update(status=Status.DEPLOYED)
    page = words(again.send("review", "deploy"))
    assert "anna has made v2 since you began with v1." in page
    assert "<code>replicas</code>: 2 → 4" in page
    assert running.versions.count() == 2
    assert again.fields("parameters")[SPEED] == "30"
    again.send("review", "rebase")
    again.send("review", "deploy")
    version = running.versions.get(number=3)
    assert (version.options, version.replicas_wanted) == ({"words_per_second": 30.0}, 2)


def test_begun_again_it_has_the_newer_values(again: Walk, running: Deployment, person: User) -> None:
    operations.redeploy(running, by=person, replicas=4)
    again.send("review", "restart")
    assert again.fields("hardware")["replicas"] == "4"


def test_the_redeploy_call_of_the_api_does_the_same_once(again: Walk, running: Deployment) -> None:
    line = again.to_review(**{SPEED: "30"}, ready_seconds=None).context["api_call"]
    parts = shlex.split(line)
    address, body = next(part for part in parts if part.startswith("http")), json.loads(parts[-1])
    assert body["expected_version"] == 1
    answer = again.client.post(address, body, content_type="application/json")
    assert answer.status_code == 202, answer.json()
    version = running.versions.get(number=2)
    assert (version.options, version.ready_seconds) == ({"words_per_second": 30.0}, None)
    Deployment.objects.filter(pk=running.pk).update(status=Status.DEPLOYED)
    refused = again.client.post(address, body, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (409, "version_conflict")


def test_an_optimized_version_is_kept_as_it_was(make: Make) -> None:
    deployment = make("optimized", optimization=Optimization("loud", 0.5, '"text"'))
    walk = Walk(client_of("Deployers"), deployment=deployment)
    assert walk.fields("optimization") == {"recipe": "loud", "threshold": "0.5", "samples": '"text"'}
    assert "Nothing changed." in words(walk.to_review())


def test_an_earlier_version_is_deployed_again_from_its_history(running: Deployment, person: User) -> None:
    operations.redeploy(running, by=person, options={"words_per_second": 9.0}, replicas=4)
    second = running.versions.get(number=2)
    Deployment.objects.filter(pk=running.pk).update(status=Status.DEPLOYED, live_version=second)
    client = client_of("Deployers")
    history = words(client.get(reverse("admin:deployments_deployment_history", args=[running.pk])))
    address = reverse("admin:deployments_deployment_redeploy", args=[running.pk])
    assert f'href="{address}?version=1"' in history
    assert f'href="{address}?version=2"' not in history
    page = client.get(address, {"version": "1"}, follow=True)
    assert "The values of v1 were filled in." in words(page)
    found = {each.name: (each.old, each.new) for each in page.context["differences"]}
    assert found == {"Replicas": ("4", "2"), "Speed": ("9.0", "5.0")}
    client.post(page.redirect_chain[-1][0], {"go": "deploy"})
    version = running.versions.get(number=3)
    assert (version.options, version.replicas_wanted) == ({"words_per_second": 5.0}, 2)
    for unknown in ("7", "x", ""):
        assert client.get(address, {"version": unknown}).status_code == 404


def test_without_the_permission_there_is_no_redeploy(running: Deployment) -> None:
    address = reverse("admin:deployments_deployment_redeploy", args=[running.pk])
    assert client_of("Viewers").get(address).status_code == 403


def test_old_drafts_are_forgotten(walk: Walk, model: Model) -> None:
    from datetime import timedelta

    from django.utils import timezone

    walk.send("general")
    kept = walk.draft.pk
    Draft.objects.filter(pk=kept).update(made_at=timezone.now() - timedelta(days=31))
    Walk(walk.client, model=model)
    assert Draft.objects.filter(pk=kept).exists()  # it was begun long ago, and somebody typed into it just now
    Draft.objects.filter(pk=kept).update(saved_at=timezone.now() - timedelta(days=31))
    Walk(walk.client, model=model)
    assert not Draft.objects.filter(pk=kept).exists()


def test_an_unfinished_draft_is_offered(walk: Walk, model: Model) -> None:
    walk.send("general", name="half done")
    page = words(Walk(walk.client, model=model).see("general"))
    assert re.search(rf'href="{walk.base}optimization/">half done</a>', page)


def test_going_on_later_keeps_what_was_typed(walk: Walk, model: Model, running: Deployment) -> None:
    again = Walk(walk.client, deployment=running)
    answer = walk.send("general", go="later", name="", description="half a thought")
    assert answer.headers["Location"] == reverse("admin:deployments_deployment_changelist")
    assert "offers to go on with it" in words(walk.client.get(answer.headers["Location"]))
    assert f'href="{walk.base}general/"' in words(Walk(walk.client, model=model).see("general"))
    assert walk.fields("general")["description"] == "half a thought"
    for step in ("general", "optimization"):
        again.send(step)
    answer = again.send("parameters", go="later", **{SPEED: "7"})
    assert answer.headers["Location"] == reverse("admin:deployments_deployment_detail", args=[running.pk])
    page = words(Walk(again.client, deployment=running).see("general"))
    assert re.search(rf'href="{again.base}parameters/">What you began from v1</a>', page)
    assert again.fields("parameters")[SPEED] == "7"
    assert f'href="{walk.base}' not in page


def test_only_a_name_that_nobody_typed_follows_another_model(walk: Walk, model: Model) -> None:
    assert f'data-suggested="{model.name}"' in words(walk.see("general"))
    walk.send("general", name="chatbot-prod")
    assert 'data-suggested=""' in words(walk.see("general"))


def test_no_page_has_inline_code_or_style(walk: Walk, running: Deployment) -> None:
    again = Walk(walk.client, deployment=running)
    walk.to_review(runtime="echo")
    again.to_review()
    for each, step in ((each, step) for each in (walk, again) for step in ("general", "optimization", "parameters",
                                                                           "hardware", "review")):  # fmt: skip
        main = each.see(step).content.decode().partition('class="my-page wz"')[2]
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=", main.partition("</form>")[0]), step


def test_without_a_model_it_says_where_to_get_one(person: User) -> None:
    client = Client()
    client.force_login(person)
    assert "no model to deploy yet" in words(client.get(reverse("admin:deployments_deployment_add")))


def test_skipping_to_the_review_takes_what_is_filled_in(walk: Walk) -> None:
    answer = walk.send("general", "skip", runtime="echo")
    assert answer.headers["Location"].endswith("/review/")
    assert walk.draft.passed == ["general", "optimization", "parameters", "hardware"]


def test_skipping_stops_at_the_step_that_is_wrong(walk: Walk) -> None:
    walk.send("general", runtime="echo")
    walk.send("optimization")
    walk.send("parameters", "back", **{SPEED: "0"})
    assert walk.send("general", "skip").headers["Location"].endswith("/parameters/")
