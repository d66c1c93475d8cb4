"""What people may ask of a deployment, and what they are told when it isn't possible."""

import json
import shlex

import pytest
from django.contrib.auth.models import User

from apps.deployments import operations
from apps.deployments.models import Deployment
from apps.deployments.statuses import Desired, Status
from apps.models.models import Model
from apps.models.models import Status as ModelStatus
from modelyard.problems import Problem
from tests.deployments.conftest import Make

EVERY = list(Status)


def put(deployment: Deployment, status: Status) -> Deployment:
    running = status in {Status.DEPLOYING, Status.DEPLOYED}
    desired = Desired.RUNNING if running else Desired.STOPPED
    Deployment.objects.filter(pk=deployment.pk).update(status=status, desired=desired)
    deployment.refresh_from_db()
    return deployment


def test_a_new_deployment_is_ready_to_deploy_with_its_first_version(make: Make) -> None:
    deployment = make(words_per_second=5)
    assert deployment.status == Status.READY_TO_DEPLOY
    assert deployment.pk.startswith("dep_")
    assert deployment.target_version
    assert deployment.target_version.number == 1
    assert deployment.target_version.options == {"words_per_second": 5}


@pytest.mark.parametrize("state", [ModelStatus.IMPORTING, ModelStatus.VALIDATING, ModelStatus.IMPORT_FAILED])
def test_a_model_that_is_not_ready_is_refused(model: Model, person: User, state: ModelStatus) -> None:
    model.status = state
    with pytest.raises(Problem, match="isn't ready to deploy") as caught:
        operations.create(model=model, name="early", runtime="echo", by=person)
    assert caught.value.code == "model_not_ready"


@pytest.mark.parametrize(
    ("name", "code"), [("", "invalid_name"), ("x" * 101, "invalid_name"), ("a\0b", "invalid_name")]
)
def test_a_bad_name_is_refused(model: Model, person: User, name: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        operations.create(model=model, name=name, runtime="echo", by=person)
    assert caught.value.code == code


def test_a_name_in_any_script_is_taken_once(make: Make) -> None:
    make("模型 Ж")
    with pytest.raises(Problem, match="already") as caught:
        make("模型 Ж")
    assert caught.value.code == "name_taken"


def test_wrong_options_are_named(make: Make) -> None:
    with pytest.raises(Problem, match="words_per_second.*nonsense|nonsense.*words_per_second") as caught:
        make(words_per_second=-1, nonsense=1)
    assert caught.value.status == 400


def test_what_the_runtime_refuses_is_not_created(make: Make) -> None:
    with pytest.raises(Problem, match="told to refuse") as caught:
        make(refuse=True)
    assert caught.value.next_step == "Set refuse to false."
    assert not Deployment.objects.exists()


def test_an_unknown_runtime_names_those_there_are(model: Model, person: User) -> None:
    with pytest.raises(Problem, match="Installed runtimes: .*onnx"):
        operations.create(model=model, name="x", runtime="nope", by=person)


@pytest.mark.parametrize("state", EVERY)
def test_retrigger_is_accepted_only_after_failure_or_stop(make: Make, person: User, state: Status) -> None:
    deployment = put(make(), state)
    if state in {Status.FAILED, Status.STOPPED}:
        assert operations.retrigger(deployment, by=person).status == Status.DEPLOYING
    else:
        with pytest.raises(Problem, match="Re-trigger isn't possible"):
            operations.retrigger(deployment, by=person)


@pytest.mark.parametrize("state", EVERY)
def test_deploy_is_accepted_only_when_ready_to_deploy(make: Make, person: User, state: Status) -> None:
    deployment = put(make(), state)
    if state == Status.READY_TO_DEPLOY:
        assert operations.deploy(deployment, by=person).desired == Desired.RUNNING
    else:
        with pytest.raises(Problem, match="Deploy isn't possible"):
            operations.deploy(deployment, by=person)


@pytest.mark.parametrize("state", EVERY)
def test_delete_is_accepted_only_when_nothing_runs(make: Make, person: User, state: Status) -> None:
    deployment = put(make(), state)
    if state in {Status.READY_TO_DEPLOY, Status.FAILED, Status.STOPPED}:
        operations.delete(deployment, by=person)
        assert not Deployment.objects.exists()
    else:
        with pytest.raises(Problem, match="can't be deleted while"):
            operations.delete(deployment, by=person)


def test_a_second_click_on_deploy_is_refused_and_changes_nothing(make: Make, person: User) -> None:
    deployment = make()
    second_tab = Deployment.objects.get(pk=deployment.pk)
    operations.deploy(deployment, by=person)
    with pytest.raises(Problem, match="is Deploying"):
        operations.deploy(second_tab, by=person)
    assert Deployment.objects.get().generation == 1


def test_a_second_click_on_undeploy_changes_nothing(make: Make, person: User) -> None:
    deployment = operations.deploy(make(), by=person)
    operations.undeploy(deployment, by=person)
    operations.undeploy(deployment, by=person)
    assert Deployment.objects.get().generation == 2
    assert deployment.events.filter(code="undeploy_asked").count() == 1


def test_redeploy_waits_until_the_deployment_has_settled(make: Make, person: User) -> None:
    deployment = operations.deploy(make(), by=person)
    with pytest.raises(Problem, match="Re-deploy isn't possible"):
        operations.redeploy(deployment, by=person, options={})
    assert deployment.versions.count() == 1


def test_redeploy_makes_the_next_version_and_keeps_what_is_left_out(make: Make, person: User) -> None:
    deployment = put(make(words_per_second=5, replicas=2), Status.DEPLOYED)
    operations.redeploy(deployment, by=person)
    assert deployment.target_version
    assert str(deployment.target_version) == "v2"
    assert deployment.target_version.options == {"words_per_second": 5}
    assert deployment.target_version.replicas_wanted == 2


def test_edit_changes_description_and_tags_and_says_so(make: Make, person: User) -> None:
    deployment = operations.edit(make(), by=person, description="For search", tags=[" a ", "b", "a", ""])
    assert (deployment.description, deployment.tags) == ("For search", ["a", "b"])
    assert deployment.events.filter(code="edited", by=person).exists()


def test_curl_is_one_line_that_a_shell_takes_apart_as_meant(make: Make) -> None:
    line = operations.curl(make("it's"), "myk_x_y", "http://127.0.0.1:8000/")
    words = shlex.split(line)
    assert "\n" not in line
    assert line.startswith("curl ")
    assert words[2].startswith("http://127.0.0.1:8000/d/dep_")
    assert json.loads(words[-1])["messages"][0]["content"] == 'Say it\'s "me"'
