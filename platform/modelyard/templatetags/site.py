"""How templates show times and numbers."""

from datetime import datetime

from django import template
from django.utils.safestring import SafeString

from modelyard import moments

register = template.Library()


@register.filter
def moment(at: datetime | None, show: str = "") -> SafeString:
    """A time in the zone of who looks; `show` is clock, date or relative."""
    return moments.moment(at, show)


@register.filter
def plain(value: float) -> str:
    """A number for an attribute, whatever the language."""
    return str(value)
