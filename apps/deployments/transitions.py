"""The one place where a deployment's status changes: compare-and-swap, and the event in the same transaction."""

from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from apps.deployments.models import Deployment, Event
from apps.deployments.statuses import FOLLOWS, Status
from modelyard import changes
from modelyard.problems import Problem


def move(
    deployment: Deployment,
    to: Status,
    *,
    allowed: Collection[Status] | None = None,
    seen_generation: int | None = None,
    code: str,
    message: str,
    next_step: str = "",
    by: User | None = None,
    detail: dict[str, Any] | None = None,
    **fields: Any,
) -> bool:
    """Change the status if it still is one of `allowed` (by default: every status that `to` may follow).

    With `seen_generation`, only if nobody has asked for anything since: what was found out is about an older wish.
    True if this call changed it. `fields` are written with it. The instance is brought up to date either way.
    """
    sources = [status for status in (allowed or Status) if to in FOLLOWS[Status(status)]]
    now = timezone.now()
    failed = {"failure_code": "", "failure": "", "next_step": ""}
    if to == Status.FAILED:
        failed = {"failure_code": code, "failure": message, "next_step": next_step}
    with transaction.atomic():
        rows = Deployment.objects.filter(pk=deployment.pk, status__in=sources)
        if seen_generation is not None:
            rows = rows.filter(generation=seen_generation)
        changed = rows.update(
            status=to, status_at=now, heartbeat_at=now, stalled_at=None, **{"stage": "", **failed, **fields}
        )
        if changed:
            record(deployment, code, message, next_step=next_step, status=to, by=by, detail=detail)
            changes.announce("deployment", deployment.pk)
    renew(deployment)
    return bool(changed)


def renew(deployment: Deployment) -> None:
    """Bring an instance up to date. A Problem if it was deleted meanwhile."""
    try:
        deployment.refresh_from_db()
    except Deployment.DoesNotExist:
        raise _gone() from None


def lock(deployment: Deployment) -> Deployment:
    """As it is now, for this transaction alone. A Problem if it was deleted meanwhile."""
    row: Deployment | None = Deployment.objects.select_for_update().filter(pk=deployment.pk).first()
    if row is None:
        raise _gone()
    return row


def _gone() -> Problem:
    return Problem("deployment_gone", "The deployment doesn't exist any more.", "Reload the list.", status=404)


def record(
    deployment: Deployment,
    code: str,
    message: str,
    *,
    next_step: str = "",
    stage: str = "",
    progress: int | None = None,
    status: Status | None = None,
    by: User | None = None,
    detail: dict[str, Any] | None = None,
) -> Event:
    """Add one line to a deployment's timeline."""
    return Event.objects.create(
        deployment=deployment,
        code=code,
        message=message,
        next_step=next_step,
        stage=stage or deployment.stage,
        progress=progress,
        status=status or "",
        by=by,
        detail=detail or {},
    )
