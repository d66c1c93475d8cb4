"""Keys, their limits and what was changed of them, put into words for people."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils import timezone, translation
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.apikeys.models import LIMITS, ApiKey, State, state_of
from modelyard import console

UNITS = ((10**6, "M"), (10**3, "k"))
NO_BREAK = "\u00a0"
SHORT = {
    "requests_per_minute": _("{}/min"), "tokens_per_minute": _("{} tok/min"), "tokens_per_day": _("{} tok/day"),
    "tokens_per_month": _("{} tok/month"), "concurrent_requests": _("{} at once"),
}  # fmt: skip
EMPTY = {"scopes": _("everything"), "networks": _("anywhere"), "expires_at": _("never"), "notes": _("none"),
         **dict.fromkeys(LIMITS, _("unlimited"))}  # fmt: skip
LABELS = {field.name: str(field.verbose_name) for field in ApiKey._meta.fields}
LIMIT_LABELS = {
    "requests_per_minute": _("Requests a minute"), "tokens_per_minute": _("Tokens a minute"),
    "tokens_per_day": _("Tokens a day"), "tokens_per_month": _("Tokens a month"),
    "concurrent_requests": _("Requests at once"),
}  # fmt: skip
"""For people who read; `LABELS` stand in what is written down, which is English."""
TONES = {State.ACTIVE: "good", State.REVOKED: "calm", State.EXPIRED: "warn"}


def amount(number: int) -> str:
    """A number in short where that loses nothing: 100 k, 1.5 M, 1,234."""
    for size, unit in UNITS:
        if number >= size and number % (size // 100) == 0:
            return f"{number_format(number / size, 2, force_grouping=True).rstrip('0').rstrip('.,')} {unit}"
    return grouped(number)


def grouped(number: int) -> str:
    """A number as the language groups its digits."""
    return number_format(number, force_grouping=True)


def limits(key: ApiKey) -> str:
    """What a key may use at most: "60/min · 100 k tok/day", or gettext("unlimited")."""
    set_ones = [str(SHORT[name]).format(amount(value)) for name in LIMITS if (value := getattr(key, name)) is not None]
    return " · ".join(each.replace(" ", NO_BREAK) for each in set_ones) or gettext("unlimited")


def value(field: str, content: Any) -> str:
    """One value of a key, as a sentence takes it."""
    if content is None or content in ("", []):
        return str(EMPTY.get(field, _("none")))
    if isinstance(content, datetime):
        return moment(content)
    if isinstance(content, int):
        return grouped(content)
    return ", ".join(content) if isinstance(content, list) else str(content)


def created(given: dict[str, tuple[Any, Any]]) -> str:
    """What a new key was given."""
    with translation.override("en"):  # as `changed`
        told = [f"{LABELS[f]}: {value(f, new)}" for f, (_, new) in given.items() if f not in {"name", "notes"}]
    return f"Created ({'; '.join(told)})." if told else "Created."


def changed(changes: dict[str, tuple[Any, Any]]) -> str:
    """What was changed, from what to what."""
    with translation.override("en"):  # it is written down, and events are English
        return _changed(changes)


def _changed(changes: dict[str, tuple[Any, Any]]) -> str:
    parts = [
        f"{LABELS[f]} from {value(f, old)} to {value(f, new)}" for f, (old, new) in changes.items() if f != "notes"
    ]
    return f"Changed {listed([*parts, *(['notes'] if 'notes' in changes else [])])}."


def listed(parts: Iterable[str]) -> str:
    """Parts of a sentence, as in: a, b and c."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def moment(at: datetime) -> str:
    """A moment in the site's time zone, the same in every language: what is written down stays as it is."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M %Z}"


def badge(key: ApiKey) -> SafeString:
    """The state of a key as a coloured word; of a rotated one also until when it works."""
    state = state_of(key)
    if not key.successor_id or state == State.REVOKED or key.expires_at is None:
        return console.badge(str(state.label), TONES[state])
    works = state == State.ACTIVE
    below = (gettext("works until %(when)s") if works else gettext("ended %(when)s")) % {"when": moment(key.expires_at)}
    shown = console.badge(gettext("Rotated"), "warn" if works else "calm")
    return format_html('{}<span class="my-below">{}</span>', shown, below)
