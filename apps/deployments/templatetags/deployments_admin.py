"""Figures as the deployments' pages show them."""

from datetime import timedelta

from django import template
from django.template.defaultfilters import filesizeformat, floatformat

register = template.Library()


@register.simple_tag
def measured(value: float, unit: str) -> str:
    """A figure of a proof with its unit."""
    if unit == "bytes":
        return str(filesizeformat(value))
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{floatformat(value, digits)} {unit}"


@register.filter
def unlocal(value: float) -> str:
    """A number for an attribute: with a point, whatever the language."""
    return f"{value:.2f}"


@register.filter
def lasting(value: timedelta) -> str:
    """How long something took: seconds below two minutes, else as a clock says it."""
    seconds = value.total_seconds()
    if seconds < 120:
        return f"{floatformat(seconds, -1)} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02} min"
