"""What people want becomes so, on real engines, whatever breaks on the way."""

import os
import signal

import psutil
import pytest
from django.contrib.auth.models import User
from modelyard_echo import EchoRuntime
from pytest_django import Settings

from apps.deployments import operations
from apps.deployments.models import Deployment
from apps.deployments.reconciler import policy, reconcile
from apps.deployments.reconciler.engines import Engines
from apps.deployments.reconciler.lease import hold
from apps.deployments.reconciler.replicas import ReplicaStep
from apps.deployments.routing import route
from apps.deployments.statuses import Outcome, ReplicaState, Status
from modelyard import launchers
from modelyard.runtimes import Failure
from tests.deployments.conftest import Make, codes, only_replica, settle, status

pytestmark = pytest.mark.system


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules with shorter waits."""
    for name, seconds in {"PROBE_EVERY": 0.1, "PASS": 0.05, "DRAIN_AT_LEAST": 0.1, "HEALTH_PROBE_TIMEOUT": 0.5}.items():
        monkeypatch.setattr(policy, name, seconds)
    monkeypatch.setattr(policy, "backoff", lambda crashes: 0.0)


def engine_pid(deployment: Deployment) -> int:
    pid = launchers.default().observe(only_replica(deployment).pk).pid
    assert pid
    return pid


def test_a_deployment_becomes_deployed_and_its_engine_is_routed(make: Make, person: User) -> None:
    deployment = operations.deploy(make(start_seconds=0.5), by=person)
    settle(deployment, status(Status.DEPLOYED))
    assert codes(deployment) == ["created", "deploy_asked", "engine_started", "engine_ready", "deployed"]
    assert deployment.target_version
    assert deployment.target_version.outcome == Outcome.SUCCEEDED
    found = route(deployment.pk)
    assert found
    assert [backend.port for backend in found.backends] == [only_replica(deployment).port]


def test_an_engine_outlives_a_change_of_the_secret_key(
    make: Make, person: User, quick: None, settings: Settings
) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    pid, known = engine_pid(deployment), route(deployment.pk)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another one, as long as those that are made at the first start"
    found = route(deployment.pk)
    assert known
    assert found
    assert found.backends == known.backends
    Engines(deployment, deployment.versions.get(), launchers.default()).probe(only_replica(deployment), 10)
    os.kill(pid, signal.SIGKILL)
    settle(deployment, lambda now: only_replica(now).launches == 2 and now.status == Status.DEPLOYED)
    again = route(deployment.pk)
    assert again
    settings.SECRET_KEY_FALLBACKS = []
    assert route(deployment.pk) == again


def test_undeploy_ends_the_engine_and_then_says_stopped(make: Make, person: User, quick: None) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    pid = engine_pid(deployment)
    operations.undeploy(deployment, by=person)
    reconcile(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.status == Status.DEPLOYED
    found = route(deployment.pk)
    assert found
    assert (found.accepting, found.backends) == (False, ())
    settle(deployment, status(Status.STOPPED))
    assert not psutil.pid_exists(pid)


def test_a_stopped_one_can_be_retriggered(make: Make, person: User, quick: None) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    settle(operations.undeploy(deployment, by=person), status(Status.STOPPED))
    settle(operations.retrigger(deployment, by=person), status(Status.DEPLOYED))
    assert deployment.versions.count() == 1


def test_a_retriggered_one_waits_for_its_old_engine_to_end(make: Make, person: User, quick: None) -> None:
    deployment = operations.deploy(make(fault="deaf", ready_seconds=1), by=person)
    settle(deployment, status(Status.FAILED))
    old = engine_pid(deployment)
    operations.retrigger(deployment, by=person)
    reconcile(deployment.pk)
    deployment.refresh_from_db()
    assert only_replica(deployment).state == ReplicaState.DRAINING
    assert deployment.stage == "Waiting for the old engine to end"
    settle(deployment, lambda it: codes(it).count("engine_started") == 2)
    assert not psutil.pid_exists(old)


def test_undeploy_cancels_a_start(make: Make, person: User, quick: None) -> None:
    deployment = operations.deploy(make(fault="never_ready"), by=person)
    reconcile(deployment.pk)
    settle(operations.undeploy(deployment, by=person), status(Status.STOPPED))
    assert deployment.versions.get().outcome == Outcome.CANCELLED


def test_a_killed_engine_comes_back_with_the_restart_counted_and_explained(make: Make, person: User) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    os.kill(engine_pid(deployment), signal.SIGKILL)
    settle(deployment, status(Status.DEPLOYING))
    settle(deployment, status(Status.DEPLOYED))
    replica = only_replica(deployment)
    assert (replica.restarts, replica.launches, replica.exit_code) == (1, 2, None)
    died = deployment.events.get(code="engine_died")
    assert "restart 1" in died.message
    assert died.detail["exit_code"] == -9
    assert any("echo: ready" in line for line in died.detail["log"])


def test_a_death_is_explained_by_its_own_launch(make: Make, person: User, quick: None) -> None:
    deployment = settle(operations.deploy(make(fault="port_taken"), by=person), status(Status.DEPLOYED))
    os.kill(engine_pid(deployment), signal.SIGKILL)
    settle(deployment, lambda it: codes(it).count("engine_died") == 2)
    causes = [event.detail["cause"] for event in deployment.events.filter(code="engine_died").order_by("id")]
    assert causes == ["port_in_use", "engine_died"]


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ("exit", "engine_died", "The engine died 3 times in a row: The engine ended with code 1."),
        ("exit_permanent", "bad_model", "The engine can't load this model."),
    ],
)
def test_an_engine_that_exits_at_once_fails_with_the_cause(
    make: Make, person: User, quick: None, fault: str, code: str, said: str
) -> None:
    deployment = settle(operations.deploy(make(fault=fault), by=person), status(Status.FAILED))
    assert (deployment.failure_code, deployment.failure) == (code, said)
    assert deployment.next_step
    settle(deployment, lambda it: not operations.live_replicas(it))
    assert any("echo:" in line for line in deployment.events.filter(status=Status.FAILED).get().detail["log"])


def test_an_engine_that_never_becomes_ready_fails_within_its_limit(make: Make, person: User, quick: None) -> None:
    deployment = operations.deploy(make(fault="never_ready", ready_seconds=1), by=person)
    settle(deployment, status(Status.FAILED), limit=15)
    assert deployment.failure_code == "start_timeout"
    assert "within 1 s" in deployment.failure
    settle(deployment, lambda it: not operations.live_replicas(it))


def test_a_port_taken_in_the_meantime_is_left_for_another(make: Make, person: User, quick: None) -> None:
    deployment = settle(operations.deploy(make(fault="port_taken"), by=person), status(Status.DEPLOYED))
    died = deployment.events.get(code="engine_died")
    assert died.detail["cause"] == "port_in_use"
    assert only_replica(deployment).restarts == 1


def test_no_free_port_fails_with_what_to_do(
    make: Make, person: User, settings: Settings, unused_tcp_port_taken: int
) -> None:
    settings.ENGINE_PORTS = f"{unused_tcp_port_taken}-{unused_tcp_port_taken}"
    deployment = settle(operations.deploy(make(), by=person), status(Status.FAILED))
    assert deployment.failure_code == "no_free_port"
    assert "MODELYARD_ENGINE_PORTS" in deployment.next_step


def test_a_crash_loop_ends_in_failed(make: Make, person: User, quick: None) -> None:
    deployment = operations.deploy(make(fault="die_after_ready"), by=person)
    settle(deployment, status(Status.FAILED), limit=60)
    assert deployment.failure_code == "crash_loop"
    assert "5 times in a row" in deployment.failure


def test_an_engine_that_had_served_is_started_again_whatever_it_died_of(
    make: Make, person: User, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    monkeypatch.setattr(Engines, "death", lambda *_: Failure("full", "The GPU is full.", "Free it.", permanent=True))
    os.kill(engine_pid(deployment), signal.SIGKILL)
    settle(deployment, lambda it: "engine_died" in codes(it))
    settle(deployment, status(Status.DEPLOYED))
    assert only_replica(deployment).restarts == 1


@pytest.mark.parametrize("fault", ["queue_after_ready", "refuse_after_ready"])
def test_an_engine_that_lets_a_probe_wait_while_it_works_stays_in_the_routes(
    make: Make, person: User, quick: None, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EchoRuntime, "metrics", {"echo_tokens_total": "tokens"})
    deployment = settle(operations.deploy(make(fault=fault), by=person), status(Status.DEPLOYED))
    asked = set()
    while len(asked) < policy.HUNG_AFTER:
        reconcile(deployment.pk)
        asked.add(only_replica(deployment).probed_at)
    assert (only_replica(deployment).state, only_replica(deployment).restarts) == (ReplicaState.READY, 0)
    assert "engine_unhealthy" not in codes(deployment)


@pytest.mark.parametrize("metrics", [{}, {"echo_tokens_total": "tokens"}])
def test_an_engine_that_stops_answering_leaves_the_routes_and_is_replaced(
    make: Make, person: User, quick: None, metrics: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EchoRuntime, "metrics", metrics)
    deployment = operations.deploy(make(fault="hang_after_ready"), by=person)
    settle(deployment, lambda it: "engine_unhealthy" in codes(it), limit=60)
    found = route(deployment.pk)
    assert found
    assert found.backends == ()
    settle(deployment, lambda it: "engine_hung" in codes(it))


def test_a_new_version_comes_up_beside_the_old_one(make: Make, person: User, quick: None) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    old = engine_pid(deployment)
    operations.redeploy(deployment, by=person, options={"start_seconds": 1.0})
    reconcile(deployment.pk)
    found = route(deployment.pk)
    assert found
    assert len(found.backends) == 1
    settle(deployment, lambda it: it.status == Status.DEPLOYED and not psutil.pid_exists(old))
    assert str(deployment.live_version) == "v2"


def test_a_new_version_that_fails_leaves_the_old_one_serving(make: Make, person: User, quick: None) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    old = engine_pid(deployment)
    operations.redeploy(deployment, by=person, options={"fault": "exit_permanent"})
    settle(deployment, lambda it: it.status == Status.DEPLOYED and len(operations.live_replicas(it)) == 1)
    assert (str(deployment.live_version), str(deployment.target_version)) == ("v1", "v1")
    assert deployment.versions.get(number=2).outcome == Outcome.FAILED
    assert "rolled_back" in codes(deployment)
    assert psutil.pid_exists(old)


def test_a_new_version_that_fails_leaves_the_old_one_although_it_does_not_answer_just_then(
    make: Make, person: User, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    old = only_replica(deployment)
    old_pid = engine_pid(deployment)
    operations.redeploy(deployment, by=person, options={})
    deployment.replicas.filter(pk=old.pk).update(state=ReplicaState.UNHEALTHY, probe_failures=policy.UNHEALTHY_AFTER)
    with monkeypatch.context() as patch:
        broken = Failure("broken", "v2 is broken.", "", permanent=True)
        patch.setattr(ReplicaStep, "run", lambda step: setattr(step, "failure", broken))
        reconcile(deployment.pk)
    deployment.refresh_from_db()
    assert (deployment.status, str(deployment.target_version)) == (Status.DEPLOYING, "v1")
    assert deployment.versions.get(number=2).outcome == Outcome.FAILED
    settle(deployment, lambda it: it.status == Status.DEPLOYED and len(operations.live_replicas(it)) == 1)
    assert codes(deployment)[-4:] == ["rolled_back", "recovering", "engine_recovered", "deployed"]
    assert engine_pid(deployment) == old_pid


def test_a_worker_killed_between_writing_and_starting_loses_nothing(
    make: Make, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = operations.deploy(make(), by=person)
    with monkeypatch.context() as patch:
        patch.setattr(Engines, "start", lambda *_: (_ for _ in ()).throw(SystemExit("killed here")))
        with pytest.raises(SystemExit):
            reconcile(deployment.pk)
    assert launchers.default().observe(only_replica(deployment).pk).number == 0
    settle(deployment, status(Status.DEPLOYED))
    assert launchers.default().observe(only_replica(deployment).pk).number == 1


def test_an_engine_stopped_with_modelyard_is_no_crash(make: Make, person: User, quick: None) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    launchers.default().stop(only_replica(deployment).pk)
    settle(deployment, lambda it: "engine_resumed" in codes(it))
    settle(deployment, status(Status.DEPLOYED))
    assert only_replica(deployment).restarts == 0


def test_two_replicas_are_both_routed(make: Make, person: User) -> None:
    deployment = settle(operations.deploy(make(replicas=2), by=person), status(Status.DEPLOYED))
    found = route(deployment.pk)
    assert found
    assert len({backend.port for backend in found.backends}) == 2


def test_a_pass_is_left_to_whoever_holds_the_lease(make: Make, person: User) -> None:
    deployment = operations.deploy(make(), by=person)
    with hold(deployment.pk):
        assert reconcile(deployment.pk) is None
    assert not deployment.replicas.exists()
    reconcile(deployment.pk)
    assert deployment.replicas.exists()


def test_a_pass_that_loses_the_lease_leaves_the_serving_version_too(
    make: Make, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    operations.redeploy(deployment, by=person, options={})
    looked_at = []

    def lost_meanwhile(step: ReplicaStep) -> None:
        looked_at.append(str(step.replica.version))
        Deployment.objects.filter(pk=deployment.pk).update(lease_owner="somebody else")

    monkeypatch.setattr(ReplicaStep, "run", lost_meanwhile)
    reconcile(deployment.pk)
    assert looked_at == ["v2"]


def test_a_runtime_that_is_gone_fails_with_the_way_out(make: Make, person: User) -> None:
    deployment = operations.deploy(make(), by=person)
    Deployment.objects.filter(pk=deployment.pk).update(runtime="uninstalled")
    settle(deployment, status(Status.FAILED))
    assert deployment.failure_code == "unknown_runtime"
    assert "Installed runtimes" in deployment.next_step


def test_a_redeploy_that_comes_while_the_old_version_fails_is_not_lost(
    make: Make, person: User, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))

    def asked_meanwhile(step: ReplicaStep) -> None:
        operations.redeploy(Deployment.objects.get(pk=deployment.pk), by=person, options={})
        step.failure = Failure("late", "v1 failed.", "", permanent=True)

    with monkeypatch.context() as patch:
        patch.setattr(ReplicaStep, "run", asked_meanwhile)
        reconcile(deployment.pk)
    deployment.refresh_from_db()
    assert (deployment.status, str(deployment.target_version)) == (Status.DEPLOYING, "v2")
    settle(deployment, status(Status.DEPLOYED))
    assert str(deployment.live_version) == "v2"


def test_a_process_that_never_comes_up_fails_within_its_limit(
    make: Make, person: User, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.launchers.local._spawn_shim", lambda *_: None)
    deployment = operations.deploy(make(ready_seconds=1), by=person)
    settle(deployment, status(Status.FAILED), limit=30)
    assert deployment.failure_code == "start_timeout"


def test_a_bug_of_a_plugin_ends_in_failed_with_the_cause(
    make: Make, person: User, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = operations.deploy(make(), by=person)
    monkeypatch.setattr(Engines, "start", lambda *_: 1 / 0)
    settle(deployment, status(Status.FAILED))
    assert "ZeroDivisionError" in deployment.failure


def test_the_serving_version_is_brought_back_while_the_next_one_comes_up(make: Make, person: User, quick: None) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    first = engine_pid(deployment)
    operations.redeploy(deployment, by=person, options={"start_seconds": 600.0})
    reconcile(deployment.pk)
    os.kill(first, signal.SIGKILL)
    settle(deployment, lambda it: "engine_died" in codes(it))

    def serves_again(_: Deployment) -> bool:
        found = route(deployment.pk)
        return found is not None and len(found.backends) == 1 and not psutil.pid_exists(first)

    settle(deployment, serves_again)
    assert str(deployment.live_version) == "v1"


def test_one_bad_engine_does_not_take_down_the_others(
    make: Make, person: User, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = settle(operations.deploy(make(replicas=2), by=person), status(Status.DEPLOYED))
    bad, good = operations.live_replicas(deployment)
    os.kill(launchers.default().observe(bad.pk).pid or 0, signal.SIGKILL)
    broken = Failure("bad", "It is broken.", "Mend it.", permanent=True)
    monkeypatch.setattr(Engines, "pick_port", lambda *_: (_ for _ in ()).throw(broken))
    settle(deployment, lambda it: "engine_given_up" in codes(it))
    assert deployment.status == Status.DEPLOYED
    found = route(deployment.pk)
    assert found
    assert [backend.replica_id for backend in found.backends] == [good.pk]
