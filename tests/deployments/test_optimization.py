"""A recipe makes an artifact, the proof compares it with the original, and a person decides where they differ."""

import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError
from django.utils import timezone

from apps.deployments import operations, runtimes
from apps.deployments.models import Artifact, Deployment
from apps.deployments.optimization import artifacts, trial
from apps.deployments.reconciler import optimizing, policy, reconcile
from apps.deployments.reconciler.optimizing import OptimizationStep
from apps.deployments.routing import route
from apps.deployments.statuses import Outcome, Status
from apps.deployments.versions import Optimization
from apps.models.installation import operations as installation
from modelyard import launchers
from modelyard.launchers.base import Launcher, Observation
from modelyard.problems import Problem
from modelyard.runtimes import SampleRequest
from tests.deployments.conftest import Make, codes, settle, status

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules with shorter waits."""
    for name, seconds in {"PROBE_EVERY": 0.1, "PASS": 0.05, "DRAIN_AT_LEAST": 0.1}.items():
        monkeypatch.setattr(policy, name, seconds)
    monkeypatch.setattr(trial, "THROUGHPUT_SECONDS", 0.2)


def optimized(make: Make, person: User, recipe: str, **more: object) -> Deployment:
    return operations.deploy(make(optimization=Optimization(recipe, **more)), by=person)  # type: ignore[arg-type]


def left_over() -> list[str]:
    return sorted(p.name for p in Path(settings.ARTIFACTS_DIR).iterdir() if not p.name.startswith("art_"))


def test_an_artifact_that_agrees_is_deployed_without_asking(make: Make, person: User) -> None:
    deployment = settle(optimized(make, person, "copy"), status(Status.DEPLOYED))
    version = deployment.versions.get()
    assert version.proof.agreement == 1
    assert version.artifact
    assert [file["path"] for file in version.artifact.files] == ["copy"]
    assert {"optimizing", "artifact_ready", "proof_started", "proof_passed", "deployed"} <= set(codes(deployment))
    assert left_over() == []


def test_the_report_has_both_sides(make: Make, person: User) -> None:
    deployment = settle(optimized(make, person, "copy"), status(Status.DEPLOYED))
    report = deployment.versions.get().proof.report
    assert report["kind"] == "generation"
    assert report["samples"] == 12
    for side in ("original", "optimized"):
        for name in ("load_seconds", "latency_p50_ms", "latency_p95_ms", "requests_per_second", "peak_memory_bytes"):
            assert report[side][name] > 0, (side, name)
    assert report["measures"] == {"exact_match": 1, "token_overlap": 1}


def test_load_time_is_known_of_an_engine_that_was_seen_before_it_began(
    make: Make, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, seen = type(launchers.default()), set[tuple[str, int]]()
    observe = launcher.observe

    def slowly(self: Launcher, unit: str) -> Observation:
        found = observe(self, unit)
        first = (unit, found.number) not in seen
        seen.add((unit, found.number))
        return replace(found, started_at=None) if first else found

    monkeypatch.setattr(launcher, "observe", slowly)
    deployment = settle(optimized(make, person, "copy"), status(Status.DEPLOYED))
    assert 0 < deployment.versions.get().proof.report["optimized"]["load_seconds"] < 60


def test_one_that_differs_waits_and_serves_once_it_is_accepted(make: Make, person: User) -> None:
    deployment = settle(optimized(make, person, "shout"), status(Status.READY_TO_DEPLOY))
    version = deployment.versions.get()
    assert (version.outcome, version.proof.passed) == (Outcome.UNDECIDED, False)
    assert deployment.events.get(code="proof_undecided").next_step
    with pytest.raises(Problem, match="waits for a decision"):
        operations.deploy(deployment, by=person)
    settle(operations.accept(deployment, by=person), status(Status.DEPLOYED))
    version.proof.refresh_from_db()
    assert (version.proof.accepted, version.proof.decided_by) == (True, person)
    assert "accepted" in codes(deployment)


def test_a_rejected_one_is_replaced_by_the_original(make: Make, person: User) -> None:
    deployment = settle(optimized(make, person, "shout"), status(Status.READY_TO_DEPLOY))
    operations.reject(deployment, by=person)
    assert [(v.number, v.recipe, v.outcome) for v in deployment.versions.order_by("number")] == [
        (1, "shout", Outcome.REJECTED),
        (2, "", Outcome.PENDING),
    ]
    settle(operations.deploy(deployment, by=person), status(Status.DEPLOYED))


def test_there_is_nothing_to_decide_without_a_proof(make: Make, person: User) -> None:
    deployment = make()
    for verb in (operations.accept, operations.reject):
        with pytest.raises(Problem, match="isn't possible"):
            verb(deployment, by=person)


def test_a_recipe_that_the_engine_applies_itself_needs_no_artifact(make: Make, person: User) -> None:
    deployment = settle(optimized(make, person, "loud"), status(Status.READY_TO_DEPLOY))
    version = deployment.versions.get()
    assert (version.artifact, version.recipe_options) == (None, {"loud": True})
    settle(operations.accept(deployment, by=person), status(Status.DEPLOYED))


@pytest.mark.parametrize(("recipe", "code"), [("crash", "engine_died"), ("empty", "artifact_empty")])
def test_a_recipe_that_fails_says_so_and_leaves_nothing(make: Make, person: User, recipe: str, code: str) -> None:
    deployment = settle(optimized(make, person, recipe), status(Status.FAILED))
    assert deployment.failure_code == code
    assert "The model is as it was." in deployment.failure
    assert deployment.next_step
    assert not Artifact.objects.exists()
    assert left_over() == []


def test_a_recipe_can_be_cancelled(make: Make, person: User) -> None:
    deployment = optimized(make, person, "endless")
    settle(deployment, lambda it: "Reading the model" in it.stage)
    pid = launchers.default().observe(deployment.replicas.get().pk).pid
    settle(operations.undeploy(deployment, by=person), status(Status.STOPPED))
    assert not psutil.pid_exists(pid or 0)
    assert deployment.versions.get().outcome == Outcome.CANCELLED
    assert left_over() == []


def steal(deployment: Deployment) -> None:
    Deployment.objects.filter(pk=deployment.pk).update(
        lease_owner="another", lease_until=timezone.now() + timedelta(seconds=30)
    )


def give_back(deployment: Deployment) -> None:
    Deployment.objects.filter(pk=deployment.pk).update(lease_until=None)


def test_whoever_loses_the_lease_while_checksums_are_taken_adopts_nothing(
    make: Make, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = optimized(make, person, "copy")
    described, stolen = artifacts._described, list[str]()

    def slowly(*args: Any) -> Any:
        if not stolen:
            stolen.append(deployment.pk)
            steal(deployment)
        return described(*args)

    monkeypatch.setattr(artifacts, "_described", slowly)
    monkeypatch.setattr(optimizing, "HELD", 0)
    settle(deployment, lambda _: bool(stolen))
    assert (deployment.status, Artifact.objects.count()) == (Status.OPTIMIZING, 0)
    give_back(deployment)
    settle(deployment, status(Status.DEPLOYED))


def test_whoever_loses_the_lease_before_a_warm_up_asks_the_engine_nothing_more(
    make: Make, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = optimized(make, person, "loud")
    ask, asked = trial.Client.ask, list[str]()

    def slowly(client: trial.Client, request: SampleRequest) -> tuple[float, httpx.Response]:
        asked.append(request.path)
        if len(asked) == 1:
            steal(deployment)
        return ask(client, request)

    monkeypatch.setattr(trial.Client, "ask", slowly)
    monkeypatch.setattr(optimizing, "HELD", 0)
    settle(deployment, lambda _: bool(asked))
    assert len(asked) == 1
    give_back(deployment)
    settle(deployment, status(Status.READY_TO_DEPLOY))


def test_what_a_worker_adopted_before_it_was_killed_is_used(
    make: Make, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = optimized(make, person, "copy")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as for_now:
        for_now.setattr(OptimizationStep, "_end", killed)
        with pytest.raises(KeyboardInterrupt):
            settle(deployment, status(Status.FAILED))
    settle(deployment, status(Status.DEPLOYED))
    assert Artifact.objects.count() == 1


def test_a_killed_recipe_fails_with_an_explanation(make: Make, person: User) -> None:
    deployment = optimized(make, person, "endless")
    settle(deployment, lambda it: "Reading the model" in it.stage)
    psutil.Process(launchers.default().observe(deployment.replicas.get().pk).pid).kill()
    settle(deployment, status(Status.FAILED))
    assert "-9" in deployment.failure
    assert left_over() == []


def test_without_room_on_the_disk_nothing_is_started(make: Make, person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "SPARE_BYTES", 1 << 60)
    deployment = settle(optimized(make, person, "copy"), status(Status.FAILED))
    assert deployment.failure_code == "disk_full"


def test_the_same_artifact_is_made_once(make: Make, person: User) -> None:
    for name in ("one", "two"):
        deployment = make(name, optimization=Optimization("copy"))
        settle(operations.deploy(deployment, by=person), status(Status.DEPLOYED))
    assert Artifact.objects.count() == 1
    assert "optimizing" not in codes(deployment)


def test_an_artifact_whose_files_are_gone_is_made_again(make: Make, person: User) -> None:
    deployment = settle(optimized(make, person, "copy"), status(Status.DEPLOYED))
    settle(operations.undeploy(deployment, by=person), status(Status.STOPPED))
    artifacts.discard(artifacts.folder(Artifact.objects.get()))
    operations.retrigger(deployment, by=person)
    assert deployment.status == Status.OPTIMIZING
    settle(deployment, status(Status.DEPLOYED))
    assert codes(deployment).count("artifact_ready") == 2


def test_the_running_version_serves_while_the_next_is_optimized(make: Make, person: User) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    operations.redeploy(deployment, by=person, optimization=Optimization("shout"))
    assert deployment.status == Status.OPTIMIZING
    reconcile(deployment.pk)
    found = route(deployment.pk)
    assert found
    assert len(found.backends) == 1
    settle(deployment, status(Status.DEPLOYED))
    assert (str(deployment.live_version), str(deployment.target_version)) == ("v1", "v1")
    settle(operations.accept(deployment, by=person), lambda it: str(it.live_version) == "v2" and not it.stage)


def test_a_broken_recipe_leaves_the_running_version_alone(make: Make, person: User) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    operations.redeploy(deployment, by=person, optimization=Optimization("crash"))
    settle(deployment, status(Status.DEPLOYED))
    assert "rolled_back" in codes(deployment)
    assert left_over() == []


def test_a_proof_holds_for_the_next_version_of_the_same(make: Make, person: User) -> None:
    deployment = settle(optimized(make, person, "copy"), status(Status.DEPLOYED))
    operations.redeploy(deployment, by=person, replicas=2)
    settle(deployment, lambda it: str(it.live_version) == "v2")
    assert codes(deployment).count("proof_started") == 2
    assert codes(deployment).count("proof_passed") == 2


def test_ones_own_samples_are_asked(make: Make, person: User) -> None:
    own = '"one two"\n{"text": "three"}\n{"messages": [{"role": "user", "content": "four"}]}\n'
    deployment = settle(optimized(make, person, "shout", samples=own), status(Status.READY_TO_DEPLOY))
    report = deployment.versions.get().proof.report
    assert (report["samples"], report["own_samples"]) == (3, True)
    assert {each["text"] for each in report["worst"]} == {"one two", "three", "four"}


@pytest.mark.parametrize(
    ("optimization", "code"),
    [
        (Optimization("nothing"), "unknown_recipe"),
        (Optimization("copy", threshold=1.5), "invalid_threshold"),
        (Optimization("copy", samples="{"), "invalid_samples"),
        (Optimization("copy", samples="[1]"), "invalid_samples"),
        (Optimization("copy", samples='"x"\n' * 501), "invalid_samples"),
        (Optimization("copy", samples='"hello \\ud83d"'), "invalid_samples"),
        (Optimization("copy", samples='"hello \ud83d"'), "invalid_samples"),
        (Optimization("copy", samples='{"prompt": "x", "temperature": NaN}'), "invalid_samples"),
        (Optimization("copy", samples='{"prompt": "x", "stop": [{"at": -1e999}]}'), "invalid_samples"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_at_once(make: Make, optimization: Optimization, code: str) -> None:
    with pytest.raises(Problem) as refused:
        make(optimization=optimization)
    assert refused.value.code == code
    assert refused.value.next_step


def test_samples_of_before_that_cannot_be_sent_fail_with_the_line(make: Make, person: User) -> None:
    deployment = optimized(make, person, "loud", samples='"fine"')
    deployment.versions.update(samples='"fine"\n"hello \\ud83d"')
    settle(deployment, status(Status.FAILED))
    assert deployment.failure_code == "invalid_samples"
    assert "Line 2" in deployment.failure
    settle(deployment, lambda it: not it.replicas.exclude(state="ended").exists())


@pytest.mark.parametrize("error", [RuntimeError("oops"), subprocess.CalledProcessError(2, ["quantize"])])
def test_a_fault_of_the_plugin_fails_and_leaves_nothing(
    make: Make, person: User, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object) -> None:
        raise error

    deployment = optimized(make, person, "copy")
    monkeypatch.setattr(type(runtimes.get("echo")), "optimize", broken)
    settle(deployment, status(Status.FAILED))
    assert deployment.failure_code == "runtime_error"
    assert str(error) in deployment.failure
    assert deployment.next_step
    assert left_over() == []


def test_a_database_that_is_away_is_no_failure(make: Make, person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: OptimizationStep) -> None:
        raise OperationalError("the connection was lost")

    deployment = optimized(make, person, "copy")
    with monkeypatch.context() as for_now:
        for_now.setattr(OptimizationStep, "_step", away)
        with pytest.raises(OperationalError):
            reconcile(deployment.pk)
    settle(deployment, status(Status.DEPLOYED))


def test_artifacts_of_a_deleted_model_are_swept(make: Make, person: User) -> None:
    deployment = settle(optimized(make, person, "copy"), status(Status.DEPLOYED))
    settle(operations.undeploy(deployment, by=person), status(Status.STOPPED))
    folder, model = artifacts.folder(Artifact.objects.get()), deployment.model
    operations.delete(deployment, by=person)
    installation.marker().write_text(installation.own())
    artifacts.sweep()
    assert folder.exists()
    model.delete()
    artifacts.sweep()
    assert not folder.exists()
