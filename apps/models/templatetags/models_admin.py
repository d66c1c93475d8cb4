"""The head of a model's pages, for templates of other apps too."""

from typing import Any

from django import template
from django.template.context import RequestContext

from apps.models.models import Model

register = template.Library()


@register.inclusion_tag("models/admin/head.html", takes_context=True)
def model_head(context: RequestContext, model: Model, here: str) -> dict[str, Any]:
    """Name, status, facts, buttons and tabs of a model; `here` is the tab that the page is."""
    # Late: unfold renders a template while it is imported, and for that imports every library of tags.
    from apps.models.admin import tabs
    from modelyard import console

    request = context["request"]
    if not console.may(request, "models.view_model"):
        return {}
    return {**tabs.head(request, model, here), "csrf_token": context.get("csrf_token"), "request": request}
