"""Overriding on a model's page."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _

from apps.models.models import Model
from apps.models.overrides import operations
from apps.models.rules import RULES
from modelyard import console

MAY = "models.override_rule"


def context(request: HttpRequest, model: Any) -> dict[str, Any]:
    """For `override.html`: the rule that could be overridden, by this person or by others, and what was."""
    history = operations.history(model) if model.overridden else []
    return {
        "rule": operations.blocking(model),
        "may": console.may(request, MAY),
        "history": [(row, RULES.get(row.rule)) for row in history],
        "least": operations.MIN_REASON,
        "most": operations.MAX_REASON,
        "kept_days": operations.KEPT_DAYS,
        "form_id": console.form_id(),
    }


@console.posted("admin:models_model_change", "pk")
def override(request: HttpRequest, pk: str) -> HttpResponse:
    """Override the rule that ended the import, with the reason that was typed."""
    console.require(request, MAY)
    model, by = get_object_or_404(Model, pk=pk), console.person(request)
    rule, reason = request.POST.get("rule", ""), request.POST.get("reason", "")
    if console.once(request):
        said = _("%(rule)s is overridden; %(name)s is being imported again.") % {"rule": rule, "name": model.name}
        console.attempt(request, lambda: operations.override_rule(model, rule, reason, by=by), said)
    return redirect("admin:models_model_change", pk)
