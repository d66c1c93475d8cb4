"""What may be changed of a deployment while it runs: each value checked, in the form that is stored, and in words."""

from collections.abc import Mapping
from typing import Any

from django.utils import translation
from django.utils.formats import number_format
from django.utils.translation import gettext

from apps.apikeys import values, words
from apps.apikeys.models import LIMITS
from apps.deployments.models import Deployment
from apps.models.operations import clean_tags
from modelyard.problems import Problem

MAX_DESCRIPTION = 10_000
TIMEOUTS = {
    "connect_timeout": (0.1, 300.0),
    "first_byte_timeout": (0.5, 86_400.0),
    "idle_timeout": (0.5, 86_400.0),
    "total_timeout": (0.0, 604_800.0),
}
"""Seconds that each timeout may have at least and at most; the gateway looks at them twice a second."""
CAPTURE_DAYS = (1, 365)
TRAFFIC = (*LIMITS, *TIMEOUTS, "captures", "capture_days")
"""What says how calls are treated."""
EDITABLE = ("description", "tags", *TRAFFIC)
LABELS = {field.name: str(field.verbose_name) for field in Deployment._meta.fields if field.name in EDITABLE}
FIELD_OF = {f"invalid_{name}": name for name in ("description", "tags", "captures", "capture_days", *TIMEOUTS)}


def clean(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values by field, as they are stored; a Problem that names the first wrong one."""
    fixed = sorted(set(given) - set(EDITABLE))
    if fixed:
        raise Problem("not_editable", f"Not editable: {', '.join(fixed)}.",
                      f"Editable are: {', '.join(EDITABLE)}; re-deploy to change options.", status=400)  # fmt: skip
    return {name: _cleaned(name, value) for name, value in given.items()}


def changes_of(deployment: Deployment, given: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What would be another value than it has: the old and the new one by field."""
    cleaned = clean(given)
    found = {name: (getattr(deployment, name), value) for name, value in cleaned.items()}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def differ(deployment: Deployment, name: str, seen: Any) -> bool:
    """Has it another value than somebody saw? How lines of text end is the browser's choice, and no difference."""
    now = getattr(deployment, name)
    return bool(lines(now) != lines(seen) if isinstance(now, str) and isinstance(seen, str) else now != seen)


def lines(text: str) -> str:
    """A text with the ends of lines as they are stored; browsers send others."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def sentence(found: Mapping[str, tuple[Any, Any]]) -> str:
    """What was changed, from what to what."""
    with translation.override("en"):  # it is written down, and events are English
        return _sentence(found)


def _sentence(found: Mapping[str, tuple[Any, Any]]) -> str:
    long = [LABELS[name] for name in ("description", "tags") if name in found]
    short = [
        f"{LABELS[name]} from {said(name, old)} to {said(name, new)}"
        for name, (old, new) in found.items()
        if name in TRAFFIC
    ]
    return f"Changed {words.listed([*short, *long])}."


def said(name: str, value: Any) -> str:
    """One value, in the language of who reads it."""
    if value is None and name not in LIMITS:
        return gettext("the installation's")
    if isinstance(value, bool):
        return gettext("on") if value else gettext("off")
    return number_format(f"{value:g}") if isinstance(value, float) else words.value(name, value)


def _cleaned(name: str, value: Any) -> Any:
    if name in LIMITS:
        return values.limit(name, value)
    if name in TIMEOUTS:
        return _seconds(name, value)
    if name == "captures":
        if not isinstance(value, bool):
            raise _wrong(name, "Give true or false.")
        return value
    if name == "capture_days":
        least, most = CAPTURE_DAYS
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _wrong(name, f"Give a whole number of days from {least} to {most}.")
        return value
    if name == "tags":
        return clean_tags(value)
    text = lines(str(value))
    if len(text) > MAX_DESCRIPTION or "\0" in text:
        raise _wrong(name, f"Keep it to {MAX_DESCRIPTION:,} characters of text.")
    return text


def _seconds(name: str, value: Any) -> float | None:
    least, most = TIMEOUTS[name]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        none = "none for the installation's" if least else "0 for any time, none for the installation's"
        raise _wrong(name, f"Give {least:g} to {most:,.0f} seconds, or {none}.")
    return float(value)


def _wrong(name: str, next_step: str) -> Problem:
    return Problem(f"invalid_{name}", f"The {LABELS[name]} isn't valid.", next_step, status=400)
