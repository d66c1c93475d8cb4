"""What the list of models may be narrowed down to."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.models.models import Model
from apps.models.querysets import DEPLOYED, FAILED, READY_TO_DEPLOY

CHOICES = 50  # tasks or tags that are offered
NEWEST = 500  # models whose tags are offered
GB = 10**9
SIZES = {
    "100mb": (0, GB // 10),
    "1gb": (GB // 10, GB),
    "10gb": (GB, 10 * GB),
    "50gb": (10 * GB, 50 * GB),
    "large": (50 * GB, None),
}
"""From and up to so many bytes."""


class TaskFilter(admin.SimpleListFilter):
    """Models for a task; the choice is among the tasks that there are models for."""

    title = _("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The tasks there are."""
        tasks = Model.objects.exclude(task="").order_by("task").values_list("task", flat=True).distinct()
        return [(task, task) for task in tasks[:CHOICES]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        """Those for the chosen task."""
        return queryset.filter(task=self.value()) if self.value() else queryset


class SizeFilter(admin.SimpleListFilter):
    """Models whose files have so many bytes."""

    title = _("size")
    parameter_name = "size"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """From small to large."""
        return [
            ("100mb", _("below 100 MB")),
            ("1gb", _("100 MB to 1 GB")),
            ("10gb", _("1 GB to 10 GB")),
            ("50gb", _("10 GB to 50 GB")),
            ("large", _("50 GB and more")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        """Those between the bounds; what has no files yet has no size."""
        least, below = SIZES.get(self.value() or "", (None, None))
        if least is None:
            return queryset
        found = queryset.filter(size__gte=max(least, 1))
        return found if below is None else found.filter(size__lt=below)


class TagFilter(admin.SimpleListFilter):
    """Models that carry a tag."""

    title = _("tag")
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The tags of the newest models, and the chosen one, so that it can be seen and taken away."""
        rows = Model.objects.order_by("-added_at").values_list("tags", flat=True)[:NEWEST]
        chosen = {request.GET["tag"]} if request.GET.get("tag") else set()
        tags = sorted({tag for row in rows for tag in row} - chosen)
        return [(tag, tag) for tag in [*sorted(chosen), *tags[:CHOICES]]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> Any:
        """Those with the chosen tag."""
        return queryset.with_tag(self.value()) if self.value() else queryset  # type: ignore[attr-defined]


class DeploymentsFilter(admin.SimpleListFilter):
    """Models by how their deployments are."""

    title = _("deployments")
    parameter_name = "deployments"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """In the order of the list's columns."""
        return [
            (DEPLOYED, _("with an active one")),
            (FAILED, _("with a failed one")),
            (READY_TO_DEPLOY, _("with one that is ready to deploy")),
            ("none", _("without any")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> Any:
        """Those that have, or haven't, such deployments."""
        if self.value() in {DEPLOYED, FAILED, READY_TO_DEPLOY}:
            return queryset.with_deployments(self.value())  # type: ignore[attr-defined]
        return queryset.without_deployments() if self.value() == "none" else queryset  # type: ignore[attr-defined]
