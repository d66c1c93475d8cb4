"""Questions that are asked of many models at once."""

from collections.abc import Sequence
from typing import Any, Self

from django.db import connections, models
from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce

# Deployment statuses as the database stores them: this app may not import apps.deployments, a test compares the two.
DEPLOYED, FAILED, READY_TO_DEPLOY = "deployed", "failed", "ready_to_deploy"


WANT_A_LOOK = ("warn", "block")  # levels of findings


class ModelQuerySet(models.QuerySet[Any]):
    """Models with the counts that their list shows."""

    def with_deployment_counts(self) -> Self:
        """Adds `active_deployments`, `failed_deployments`, `waiting_deployments` in the same query."""
        return self.annotate(
            active_deployments=self._counted(DEPLOYED),
            failed_deployments=self._counted(FAILED),
            waiting_deployments=self._counted(READY_TO_DEPLOY),
        )

    def deployment_counts(self, ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """How many deployments of each of these models are in each status."""
        found: dict[str, dict[str, int]] = {}
        of_these = self._deployments.filter(model__in=ids).order_by().values_list("model_id", "status")
        for model_id, status, count in of_these.annotate(count=Count("*")):
            found.setdefault(model_id, {})[status] = count
        return found

    def for_head(self) -> Self:
        """With everything that the head of a model's pages shows of it."""
        from apps.models.overrides.models import RuleOverride

        rows = self.select_related("added_by", "base_model", "hub_origin__connection", "bundle_origin")
        findings = self.model._meta.get_field("findings").related_model._default_manager
        return rows.annotate(
            overridden=Exists(RuleOverride.objects.filter(model_id=OuterRef("pk"))),
            deployment_count=self._number(self._deployments),
            finding_count=self._number(findings.filter(level__in=WANT_A_LOOK)),
        )

    def with_deployments(self, status: str) -> Self:
        """Those that have a deployment in that status."""
        return self.filter(pk__in=self._deployments.filter(status=status).order_by().values("model"))

    def without_deployments(self) -> Self:
        """Those that nobody has made a deployment of."""
        return self.filter(~Exists(self._deployments.filter(model=OuterRef("pk"))))

    def with_tag(self, tag: str) -> Self:
        """Those that carry exactly this tag."""
        if connections[self.db].vendor == "postgresql":
            return self.filter(tags__contains=[tag])
        # SQLite has no containment of JSON; its own json_each does the same.
        carries = "EXISTS (SELECT 1 FROM json_each(models_model.tags) WHERE json_each.value = %s)"
        return self.filter(RawSQL(carries, [tag], output_field=models.BooleanField()))  # noqa: S611 (no input in the clause)

    def users_by_revision(self, model_id: str) -> list[tuple[int, int]]:
        """How many deployments are set to each revision of a model."""
        set_to = self._deployments.filter(model=model_id, target_version__isnull=False).order_by()
        return list(set_to.values_list("target_version__model_revision").annotate(count=Count("pk")))

    @property
    def _deployments(self) -> Any:
        return self.model._meta.get_field("deployments").related_model._default_manager

    def _number(self, rows: Any) -> Coalesce:
        of_model = rows.filter(model=OuterRef("pk")).order_by().values("model")
        return Coalesce(Subquery(of_model.annotate(count=Count("*")).values("count")), 0)

    def _counted(self, status: str) -> Coalesce:
        """Counts in a subquery: the list keeps its order, which a GROUP BY of the whole would take away."""
        of_model = self._deployments.filter(model=OuterRef("pk")).order_by().values("model")
        # The status isn't in the WHERE: SQLite would go by its index, through every deployment there is.
        return Coalesce(Subquery(of_model.annotate(count=Count("pk", filter=Q(status=status))).values("count")), 0)
