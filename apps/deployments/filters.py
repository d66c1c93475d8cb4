"""Filters of the deployments' list in the API."""

from typing import Any

import django_filters
from django.db.models import QuerySet

from apps.deployments.models import Deployment
from apps.deployments.statuses import Status


class DeploymentFilter(django_filters.FilterSet):
    """`?status=deployed&status=failed&model=mdl_…&runtime=onnx&tag=demo&added_by=anna&added_after=2026-01-01`."""

    status = django_filters.MultipleChoiceFilter(choices=Status.choices)
    model = django_filters.CharFilter(field_name="model_id")
    runtime = django_filters.CharFilter()
    tag = django_filters.CharFilter(method="having_tag")
    added_by = django_filters.CharFilter(field_name="added_by__username")
    added_after = django_filters.IsoDateTimeFilter(field_name="added_at", lookup_expr="gte")
    added_before = django_filters.IsoDateTimeFilter(field_name="added_at", lookup_expr="lt")

    class Meta:
        model = Deployment
        fields = ["status", "model", "runtime", "tag", "added_by", "added_after", "added_before"]

    def having_tag(self, queryset: QuerySet[Deployment], name: str, value: str) -> Any:
        """Deployments with that tag."""
        return queryset.with_tag(value)  # type: ignore[attr-defined]
