"""Filters of the models' list in the API."""

from typing import Any

import django_filters

from apps.models.models import Format, Kind, Model, Source, Status


class ModelFilter(django_filters.FilterSet):
    """`?status=ready&source=file&format=onnx&tag=search&min_size=1000000`; sizes in bytes."""

    status = django_filters.MultipleChoiceFilter(choices=Status.choices)
    source = django_filters.MultipleChoiceFilter(choices=Source.choices)
    format = django_filters.MultipleChoiceFilter(choices=Format.choices)
    kind = django_filters.ChoiceFilter(choices=Kind.choices)
    base_model = django_filters.CharFilter()
    task = django_filters.CharFilter()
    tag = django_filters.CharFilter(method="tagged", help_text="Models that carry exactly this tag.")
    name = django_filters.CharFilter()
    min_size = django_filters.NumberFilter(field_name="size", lookup_expr="gte")
    max_size = django_filters.NumberFilter(field_name="size", lookup_expr="lte")

    class Meta:
        model = Model
        fields = ["status", "source", "format", "kind", "base_model", "task", "tag", "name", "min_size", "max_size"]

    def tagged(self, rows: Any, name: str, value: str) -> Any:
        """Those with the tag."""
        return rows.with_tag(value)
