"""Questions that are asked of many models at once."""

from typing import Any, Self

from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

# Deployment statuses as the database stores them: this app may not import apps.deployments, a test compares the two.
DEPLOYED, FAILED, READY_TO_DEPLOY = "deployed", "failed", "ready_to_deploy"


class ModelQuerySet(models.QuerySet[Any]):
    """Models with the counts that their list shows."""

    def with_deployment_counts(self) -> Self:
        """Adds `active_deployments`, `failed_deployments`, `waiting_deployments` in the same query."""
        return self.annotate(
            active_deployments=self._counted(DEPLOYED),
            failed_deployments=self._counted(FAILED),
            waiting_deployments=self._counted(READY_TO_DEPLOY),
        )

    def users_by_revision(self, model_id: str) -> list[tuple[int, int]]:
        """How many deployments are set to each revision of a model."""
        deployments: Any = self.model._meta.get_field("deployments").related_model
        set_to = deployments.objects.filter(model=model_id, target_version__isnull=False).order_by()
        return list(set_to.values_list("target_version__model_revision").annotate(count=Count("pk")))

    def _counted(self, status: str) -> Coalesce:
        """Counts in a subquery: the list keeps its order, which a GROUP BY of the whole would take away."""
        deployments: Any = self.model._meta.get_field("deployments").related_model
        of_model = deployments.objects.filter(model=OuterRef("pk")).order_by().values("model")
        # The status isn't in the WHERE: SQLite would go by its index, through every deployment there is.
        return Coalesce(Subquery(of_model.annotate(count=Count("pk", filter=Q(status=status))).values("count")), 0)
