"""Questions that are asked of many deployments at once."""

from typing import Any, Self

from django.db import models
from django.db.models import Exists, OuterRef, Q

from apps.deployments.statuses import WORKING, Desired, Status


class DeploymentQuerySet(models.QuerySet[Any]):
    """Deployments by what they need."""

    def unsettled(self) -> Self:
        """What the reconciler must look at: wanted running, in a working status, or with engines left."""
        from apps.deployments.models import Replica

        left = Replica.objects.filter(deployment=OuterRef("pk"))
        running = Q(desired=Desired.RUNNING) & ~Q(status=Status.FAILED)
        return self.filter(running | Q(status__in=WORKING) | Q(status=Status.DEPLOYED) | Exists(left))
