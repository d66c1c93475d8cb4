"""Keys, their limits and what was changed of them, put into words for people."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.apikeys.models import LIMITS, ApiKey, State, state_of
from modelyard import console

UNITS = ((10**6, "M"), (10**3, "k"))
NO_BREAK = "\u00a0"
SHORT = {
    "requests_per_minute": "{}/min", "tokens_per_minute": "{} tok/min", "tokens_per_day": "{} tok/day",
    "tokens_per_month": "{} tok/month", "concurrent_requests": "{} at once",
}  # fmt: skip
EMPTY = {"scopes": "everything", "networks": "anywhere", "expires_at": "never", "notes": "none",
         **dict.fromkeys(LIMITS, "unlimited")}  # fmt: skip
LABELS = {field.name: str(field.verbose_name) for field in ApiKey._meta.fields}
TONES = {State.ACTIVE: "good", State.REVOKED: "calm", State.EXPIRED: "warn"}


def amount(number: int) -> str:
    """A number in short where that loses nothing: 100 k, 1.5 M, 1,234."""
    for size, unit in UNITS:
        if number >= size and number % (size // 100) == 0:
            return f"{number / size:,.2f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{number:,}"


def limits(key: ApiKey) -> str:
    """What a key may use at most: "60/min · 100 k tok/day", or "unlimited"."""
    set_ones = [SHORT[name].format(amount(value)) for name in LIMITS if (value := getattr(key, name)) is not None]
    return " · ".join(each.replace(" ", NO_BREAK) for each in set_ones) or "unlimited"


def value(field: str, content: Any) -> str:
    """One value of a key, as a sentence takes it."""
    if content is None or content in ("", []):
        return EMPTY.get(field, "none")
    if isinstance(content, datetime):
        return moment(content)
    if isinstance(content, int):
        return f"{content:,}"
    return ", ".join(content) if isinstance(content, list) else str(content)


def changed(changes: dict[str, tuple[Any, Any]]) -> str:
    """What was changed, from what to what."""
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
    below = f"works until {moment(key.expires_at)}" if works else f"ended {moment(key.expires_at)}"
    shown = console.badge("Rotated", "warn" if works else "calm")
    return format_html('{}<span class="my-below">{}</span>', shown, below)
