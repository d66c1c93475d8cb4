"""The watchdog and the reaper."""

import sys
import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from apps.deployments import operations, tasks
from apps.deployments.models import Deployment
from apps.deployments.statuses import Status
from modelyard import ids, launchers
from modelyard.launchers import Launch
from tests.deployments.conftest import Make, only_replica, settle, status


def silent(deployment: Deployment) -> Deployment:
    long_ago = timezone.now() - timedelta(hours=1)
    Deployment.objects.filter(pk=deployment.pk).update(heartbeat_at=long_ago)
    return deployment


def test_the_first_look_at_a_silent_deployment_only_asks_for_a_pass(make: Make, person: User) -> None:
    deployment = silent(operations.deploy(make(), by=person))
    tasks.watch()
    deployment.refresh_from_db()
    assert deployment.status == Status.DEPLOYING
    assert deployment.stalled_at


def test_what_stays_silent_becomes_failed(make: Make, person: User) -> None:
    deployment = silent(operations.deploy(make(), by=person))
    tasks.watch()
    Deployment.objects.update(stalled_at=timezone.now() - timedelta(minutes=1))
    tasks.watch()
    deployment.refresh_from_db()
    assert (deployment.status, deployment.failure_code) == (Status.FAILED, "stalled")
    assert "doctor" in deployment.next_step


@pytest.mark.system
def test_a_pass_takes_the_suspicion_away(make: Make, person: User) -> None:
    deployment = silent(operations.deploy(make(), by=person))
    tasks.watch()
    settle(deployment, status(Status.DEPLOYED))
    assert deployment.stalled_at is None


@pytest.mark.system
def test_the_reaper_ends_what_the_database_does_not_know_and_nothing_else(make: Make, person: User) -> None:
    deployment = settle(operations.deploy(make(), by=person), status(Status.DEPLOYED))
    launcher, orphan = launchers.default(), ids.replica()
    launcher.start(Launch(orphan, 1, [sys.executable, "-c", "import time; time.sleep(600)"]))
    for _ in range(100):
        tasks.reap()
        if orphan not in launcher.known():
            break
        time.sleep(0.1)
    assert list(launcher.known()) == [only_replica(deployment).pk]
    assert launcher.observe(only_replica(deployment).pk).state == "running"
