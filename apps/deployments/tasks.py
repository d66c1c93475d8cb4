"""What workers do for deployments. Every task is short, idempotent and safe to lose: beat asks again."""

import logging
import time
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from apps.deployments import transitions
from apps.deployments.models import Deployment, Replica, Version
from apps.deployments.optimization import artifacts
from apps.deployments.reconciler import reconcile as run_pass
from apps.deployments.statuses import UNFINISHED, WORKING, Desired, Outcome, ReplicaState, Status
from apps.deployments.usage import retention
from modelyard import launchers

logger = logging.getLogger(__name__)
HEARTBEAT_KEY, HEARTBEAT_SECONDS = "modelyard:worker", 30
SECOND_LOOK = 30  # seconds between the watchdog's first and last look at something silent


def enqueue(deployment_id: str, delay: float = 0) -> None:
    """Ask for a pass; a delayed one only once at a time. If the broker is away, beat asks later."""
    try:
        if delay and not cache.add(f"pass:{deployment_id}", 1, timeout=max(int(delay * 3), 3)):
            return
        reconcile.apply_async(args=(deployment_id,), countdown=delay)
    except (OperationalError, RedisError) as error:
        logger.warning("no pass asked for %s, the broker is away: %s", deployment_id, error)


@shared_task
def reconcile(deployment_id: str) -> None:
    """One pass over one deployment, and a request for the next while it is moving."""
    cache.delete(f"pass:{deployment_id}")
    delay = run_pass(deployment_id)
    if delay is not None:
        enqueue(deployment_id, delay)


@shared_task
def reconcile_all() -> None:
    """Ask for a pass over everything that isn't settled, and look at what should be running.

    That it runs at all proves beat, the broker and a worker: the heartbeat that health checks read.
    """
    cache.set(HEARTBEAT_KEY, time.time(), HEARTBEAT_SECONDS)
    for deployment_id in Deployment.objects.unsettled().values_list("pk", flat=True):
        enqueue(deployment_id, delay=0.1)


@shared_task
def watch() -> None:
    """Fail what has been silent in a working status: nothing stays there without a heartbeat.

    Two looks, so that what was silent because all of Modelyard was down gets its chance first.
    """
    now = timezone.now()
    silent = Deployment.objects.filter(
        status__in=WORKING, heartbeat_at__lt=now - timedelta(seconds=settings.STALLED_AFTER)
    )
    for deployment in silent:
        if deployment.stalled_at is None:
            Deployment.objects.filter(pk=deployment.pk, stalled_at=None).update(stalled_at=now)
            enqueue(deployment.pk)
        elif deployment.stalled_at < now - timedelta(seconds=SECOND_LOOK):
            _stall(deployment)


def _stall(deployment: Deployment) -> None:
    stage = f" Last stage: {deployment.stage}." if deployment.stage else ""
    message = f"Nothing was heard of it for {settings.STALLED_AFTER} s.{stage}"
    with transaction.atomic():
        # Once more under the lock: it may have been heard of between the look and now.
        locked = Deployment.objects.select_for_update().filter(pk=deployment.pk)
        if not locked.filter(heartbeat_at=deployment.heartbeat_at, stalled_at=deployment.stalled_at).exists():
            return
        failed = transitions.move(
            deployment,
            Status.FAILED,
            allowed=WORKING,
            code="stalled",
            message=message,
            next_step="Run `modelyard doctor`, look at the worker's log, then re-trigger.",
            desired=Desired.STOPPED,
            live_version=None,
        )
        if failed:
            Version.objects.filter(deployment=deployment, outcome__in=UNFINISHED).update(
                outcome=Outcome.FAILED, reason=message, ended_at=timezone.now()
            )


@shared_task
def reap() -> None:
    """End engines whose replica the database doesn't know or counts as ended, and forget their records."""
    artifacts.sweep()
    launcher = launchers.default()
    known = list(launcher.known())
    owned = set(Replica.objects.exclude(state=ReplicaState.ENDED).filter(pk__in=known).values_list("pk", flat=True))
    kept = set(Replica.objects.filter(pk__in=known).values_list("pk", flat=True))
    for replica in known:
        if replica in owned:
            continue
        try:
            launcher.stop(replica, now=True)
            if replica not in kept:
                launcher.remove(replica)
        except OSError as error:
            logger.warning("the record of %s can't be ended: %s", replica, error)  # the others still are


@shared_task
def forget_usage() -> None:
    """Delete usage, captures and events kept for long enough; what takes too long goes on in a task of its own."""
    if not retention.sweep():
        forget_usage.apply_async(countdown=1)
