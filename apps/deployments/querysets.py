"""Questions that are asked of many deployments at once."""

from typing import Any, Self

from django.db import connections, models
from django.db.models import Exists, OuterRef, Q
from django.db.models.expressions import RawSQL

from apps.deployments.statuses import WORKING, Desired, ReplicaState, Status


class DeploymentQuerySet(models.QuerySet[Any]):
    """Deployments by what they need."""

    def unsettled(self) -> Self:
        """What the reconciler must look at: wanted running, in a working status, or with engines left."""
        from apps.deployments.models import Replica

        left = Replica.objects.filter(deployment=OuterRef("pk")).exclude(state=ReplicaState.ENDED)
        running = Q(desired=Desired.RUNNING) & ~Q(status=Status.FAILED)
        return self.filter(running | Q(status__in=WORKING) | Q(status=Status.DEPLOYED) | Exists(left))

    def with_tag(self, tag: str) -> Self:
        """Those that carry exactly this tag."""
        if connections[self.db].vendor == "postgresql":
            return self.filter(tags__contains=[tag])
        # SQLite has no containment of JSON; its own json_each does the same.
        carries = "EXISTS (SELECT 1 FROM json_each(deployments_deployment.tags) WHERE json_each.value = %s)"
        return self.filter(RawSQL(carries, [tag], output_field=models.BooleanField()))  # noqa: S611 (no input in the clause)
