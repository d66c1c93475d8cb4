"""A moment as pages show it."""

from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString


def moment(at: datetime | None, show: str = "") -> SafeString:
    """A time, which the page shows in the zone of who looks; `show` is clock, date or relative (see times.js)."""
    if at is None:
        return SafeString("—")
    local = timezone.localtime(at)
    words = f"{date_format(local, 'DATETIME_FORMAT')} {local.tzname()}"
    return format_html('<time datetime="{}" data-show="{}">{}</time>', at.isoformat(), show, words)
