"""The admin's forms of a key; what is valid is for `values` to say."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    INPUT_CLASSES,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.apikeys import scopes, values, words
from apps.apikeys.models import LIMITS, ApiKey
from apps.apikeys.operations import MAX_OVERLAP, stamp
from modelyard import console
from modelyard.problems import Problem

OVERLAPS = [("0", _("ends at once")), ("3600", _("works for 1 hour more")), ("86400", _("works for 24 hours more")),
            ("604800", _("works for 7 days more"))]  # fmt: skip
DAYS = (7, 30, 90, 365)
MOMENT = "%Y-%m-%dT%H:%M:%S"  # what <input type="datetime-local"> reads


def lives() -> list[tuple[str, str]]:
    """For how long a key may be made, in the person's language."""
    days = [(str(n), ngettext("%(n)s day", "%(n)s days", n) % {"n": n}) for n in DAYS]
    return [("", gettext("until revoked")), *days]


def in_zone(text: str) -> str:
    """That text, and which zone a moment is typed in: pages show it in the zone of who looks."""
    zone = gettext("In the time zone of this installation: %(zone)s.") % {"zone": timezone.get_current_timezone_name()}
    return f"{text} {zone}"


class NetworksField(forms.CharField):
    """Networks, one each line."""

    def prepare_value(self, value: Any) -> Any:
        """Lines of text."""
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        """The list of networks in the form that is stored."""
        return checked(values.networks, super().clean(value).replace(",", "\n").splitlines())

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Is it another text than was shown?"""
        return bool((data or "").split() != list(initial or []))


class KeyForm(forms.Form):
    """What may be said of a key."""

    name = forms.CharField(
        label=_("Name"),
        max_length=values.MAX_NAME,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": _("Who or what will use it")}),
    )
    expires_at = forms.DateTimeField(
        required=False,
        label=_("Expires"),
        widget=forms.DateTimeInput(
            format=MOMENT, attrs={"type": "datetime-local", "step": "1", "class": " ".join(INPUT_CLASSES)}
        ),
    )
    scopes = forms.MultipleChoiceField(
        required=False,
        label=_("Scopes"),
        choices=list(scopes.LABELS.items()),
        widget=forms.CheckboxSelectMultiple(),
        help_text=_("What it may call; none chosen: everything. Every key may list the models."),
    )
    networks = NetworksField(
        required=False,
        label=_("Networks"),
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 3, "spellcheck": "false", "placeholder": "192.0.2.7\n2001:db8::/32"}
        ),
        help_text=_("Addresses it may be used from, one each line: IPv4 or IPv6, alone or as a network. Empty: any."),
    )
    notes = forms.CharField(
        label=_("Notes"),
        required=False,
        max_length=values.MAX_NOTES,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in LIMITS:
            self.fields[name] = forms.IntegerField(
                required=False,
                min_value=0,
                max_value=values.MAX_LIMIT,
                label=words.LIMIT_LABELS[name],
                widget=UnfoldAdminIntegerFieldWidget(attrs={"placeholder": _("unlimited")}),
            )

    def limits(self) -> list[forms.BoundField]:
        """The fields of the limits."""
        return [self[name] for name in LIMITS]

    def clean_name(self) -> str:
        """The name in one line."""
        return checked(values.name, self.cleaned_data["name"])

    def clean_notes(self) -> str:
        """The notes."""
        return checked(values.notes, self.cleaned_data["notes"])

    def refuse(self, problem: Problem) -> None:
        """Say at its field what an operation didn't take."""
        self.add_error(values.FIELD_OF.get(problem.code), str(problem))


class NewKeyForm(KeyForm):
    """A new key: how long it lives in words, or as a date."""

    days = forms.ChoiceField(required=False, label=_("Lives"), choices=lives, widget=UnfoldAdminSelectWidget())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["expires_at"].help_text = in_zone(gettext("A date of its own, in place of “Lives”."))
        self.more = ["expires_at", "scopes", "networks", "notes", *LIMITS]

    def clean(self) -> dict[str, Any]:
        """One end, not two."""
        if self.cleaned_data.get("days") and self.cleaned_data.get("expires_at"):
            self.add_error("expires_at", _("Choose how long it lives, or a date, not both."))
        return self.cleaned_data

    def details(self) -> dict[str, Any]:
        """What a key is made of."""
        given = dict(self.cleaned_data)
        lives = console.expiry(given.pop("days"))
        return {**given, "expires_at": given["expires_at"] or lives}

    @property
    def wants_more(self) -> bool:
        """Was something given, or is something wrong, beyond the name?"""
        return self.is_bound and any(self.errors.get(name) or self[name].data for name in self.more)


class EditKeyForm(KeyForm):
    """A key as it is; only what somebody changes is written, and only to what they looked at."""

    seen = forms.CharField(required=False, widget=forms.HiddenInput())
    """What the key was when the form was shown."""

    def __init__(self, data: Any, key: ApiKey) -> None:
        initial = {name: getattr(key, name) for name in [*KeyForm.base_fields, *LIMITS]}
        super().__init__(data, initial={**initial, "seen": stamp(key)})
        rotated = gettext("It was rotated: within %(days)s days.") % {"days": MAX_OVERLAP.days}
        self.fields["expires_at"].help_text = in_zone(rotated if key.successor_id else gettext("Empty: never."))

    def edits(self) -> dict[str, Any]:
        """The values of what was changed."""
        return {name: self.cleaned_data[name] for name in self.changed_data if name != "seen"}

    @property
    def stale(self) -> bool:
        """Has somebody else changed the key since the form was shown?"""
        return self.is_bound and self.data.get("seen", self.initial["seen"]) != self.initial["seen"]

    def typed(self) -> list[tuple[Any, str, str]]:
        """What was sent that isn't so now: label, what is so, what was sent."""
        self.full_clean()
        sent = {name: self.cleaned_data.get(name, self[name].value()) for name in self.changed_data}
        return [
            (self.fields[name].label, words.value(name, self.initial[name]), words.value(name, value))
            for name, value in sent.items()
            if name != "seen" and value != self.initial[name]
        ]


class RotateForm(forms.Form):
    """How long the old key works on."""

    overlap = forms.TypedChoiceField(
        label=_("The old key"),
        choices=OVERLAPS,
        initial="86400",
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        widget=UnfoldAdminSelectWidget(),
    )


def checked[T](check: Callable[[Any], T], value: Any) -> T:
    """A value that one of `values` let through; its Problem as the error of a form."""
    try:
        return check(value)
    except Problem as problem:
        raise forms.ValidationError(str(problem)) from None
