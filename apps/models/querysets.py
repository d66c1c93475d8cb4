"""Questions that are asked of many models at once."""

from typing import Any, Self

from django.db import models
from django.db.models import Count, Q

# Deployment statuses as the database stores them: this app may not import apps.deployments, a test compares the two.
DEPLOYED, FAILED, READY_TO_DEPLOY = "deployed", "failed", "ready_to_deploy"


class ModelQuerySet(models.QuerySet[Any]):
    """Models with the counts that their list shows."""

    def with_deployment_counts(self) -> Self:
        """Adds `active_deployments`, `failed_deployments`, `waiting_deployments` in the same query."""
        return self.annotate(
            active_deployments=_counted(DEPLOYED),
            failed_deployments=_counted(FAILED),
            waiting_deployments=_counted(READY_TO_DEPLOY),
        )


def _counted(status: str) -> Count:
    return Count("deployments", filter=Q(deployments__status=status))
