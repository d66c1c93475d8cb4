"""Who may work on a deployment now: a lease with expiry in the database, never a lock file."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from apps.deployments.models import Deployment
from apps.deployments.optimization.trial import REQUEST_SECONDS

SECONDS = 30  # renewed at each replica; a killed worker's lease is free after this
LONGEST = SECONDS + REQUEST_SECONDS  # around one request of a proof


class Lost(Exception):
    """Somebody else works on the deployment now, or something else is asked for: this pass ends where it is."""


@contextmanager
def hold(deployment_id: str) -> Iterator[Deployment | None]:
    """The deployment while this caller owns it; None if somebody else does, or if it is gone."""
    owner = f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    now = timezone.now()
    set_back = now + timedelta(seconds=2 * LONGEST)  # nobody takes one for so long: the clock was ahead then
    free = Q(lease_until=None) | Q(lease_until__lt=now) | Q(lease_until__gt=set_back)
    mine = Deployment.objects.filter(free, pk=deployment_id)
    if not mine.update(lease_owner=owner, lease_until=now + timedelta(seconds=SECONDS)):
        yield None
        return
    try:
        yield (
            Deployment.objects.select_related("model", "target_version", "live_version")
            .filter(pk=deployment_id)
            .first()
        )
    finally:
        Deployment.objects.filter(pk=deployment_id, lease_owner=owner).update(lease_owner="", lease_until=None)


def renew(deployment: Deployment, seconds: float = SECONDS) -> bool:
    """Keep the lease for another while, and say that work goes on; False if it was lost in the meantime."""
    now = timezone.now()
    mine = Deployment.objects.filter(pk=deployment.pk, lease_owner=deployment.lease_owner)
    return bool(mine.update(lease_until=now + timedelta(seconds=seconds), heartbeat_at=now, stalled_at=None))
