"""The filters of the admin's list of deployments: however many there are, each asks for little."""

from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.db.models import Case, Exists, OuterRef, Q, QuerySet, When
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.contrib.filters.admin.dropdown_filters import DropdownFilter as UnfoldDropdownFilter
from unfold.contrib.filters.forms import DropdownForm

from apps.deployments import runtimes
from apps.deployments.listing import WORDS
from apps.deployments.models import Deployment
from apps.models.models import Model

TAGS, PEOPLE, MODELS = 50, 200, 200  # offered at most
TAGGED = 500  # deployments whose tags are looked at


class Options(forms.Select):
    """unfold's choice, without a template for each of its options: there are hundreds."""

    template_name = "deployments/admin/options.html"


class OptionsForm(DropdownForm):  # type: ignore[misc]
    """unfold's form of one choice, with ours."""

    widget = Options(attrs=DropdownForm.widget.attrs)


class DropdownFilter(UnfoldDropdownFilter):  # type: ignore[misc]
    """unfold's filter, with our form."""

    form_class = OptionsForm


class StatusFilter(DropdownFilter):
    """Deployments in a status."""

    title = _("status")
    parameter_name = "status__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """All of them."""
        return [(status.value, words) for status, words in WORDS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Those in the chosen one."""
        return queryset.filter(status=self.value()) if self.value() else queryset


class RuntimeFilter(DropdownFilter):
    """Deployments on a runtime."""

    title = _("runtime")
    parameter_name = "runtime__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The installed ones."""
        return [(name, entry.title) for name, entry in runtimes.registry().items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Those on the chosen one."""
        return queryset.filter(runtime=self.value()) if self.value() else queryset


class TagFilter(DropdownFilter):
    """Deployments that carry a tag."""

    title = _("tag")
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The tags of the newest deployments, and the one that was asked for."""
        rows = Deployment.objects.exclude(tags=[]).order_by("-added_at").values_list("tags", flat=True)[:TAGGED]
        found = sorted({tag for row in rows for tag in row})[:TAGS]
        asked = request.GET.get("tag", "")
        return [(tag, tag) for tag in (found if asked in found or not asked else [asked, *found])]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Those with the chosen tag."""
        return queryset.with_tag(self.value()) if self.value() else queryset  # type: ignore[attr-defined]


class ModelFilter(DropdownFilter):
    """Deployments of a model."""

    title = _("model")
    parameter_name = "model__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Models that have one, by name; on the page of one, that one. The search finds the others by name."""
        asked = request.GET.get("model__id__exact", "")
        if of_model := getattr(request, "of_model", None):  # its own page, which changelist_view has found it for
            return [(of_model.pk, of_model.name)]
        deployed = Exists(Deployment.objects.filter(model=OuterRef("pk")))
        first = Case(When(pk=asked, then=0), default=1)
        rows = Model.objects.filter(deployed | Q(pk=asked)).order_by(first, "name")
        return list(rows.values_list("pk", "name")[:MODELS])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Those of the chosen one."""
        return queryset.filter(model=self.value()) if self.value() else queryset


class PersonFilter(DropdownFilter):
    """Deployments that a person added."""

    title = _("person")
    parameter_name = "added_by__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Those who added one."""
        added = Exists(Deployment.objects.filter(added_by=OuterRef("pk")))
        people = get_user_model().objects.filter(added).order_by("username").values_list("pk", "username")[:PEOPLE]
        return [(str(pk), name) for pk, name in people]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Those of the chosen one."""
        value = self.value() or ""
        return (
            queryset.filter(added_by=int(value))
            if value.isascii() and value.isdigit() and len(value) < 19
            else queryset
        )


class DaysFilter(RangeDateFilter):  # type: ignore[misc]
    """Deployments added on certain days of the installation's zone, the first and the last of them included."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Those between; unfold's own leaves the last day out."""
        first, last = (self._day(f"{self.parameter_name}_{end}") for end in ("from", "to"))
        if first:
            queryset = queryset.filter(added_at__gte=_midnight(first))
        return queryset.filter(added_at__lt=_midnight(last + timedelta(days=1))) if last else queryset

    def _day(self, name: str) -> date | None:
        try:
            day: date | None = forms.DateField(required=False).clean(self.used_parameters.get(name, ""))
        except forms.ValidationError:
            return None
        return day


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time()))
