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
            active_deployments=Count("deployments", filter=Q(deployments__status=DEPLOYED)),
            failed_deployments=Count("deployments", filter=Q(deployments__status=FAILED)),
            waiting_deployments=Count("deployments", filter=Q(deployments__status=READY_TO_DEPLOY)),
        )
