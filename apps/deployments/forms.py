"""The forms of a deployment that is there."""

import contextlib
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.apikeys.models import LIMITS
from apps.apikeys.values import MAX_LIMIT
from apps.apikeys.words import LIMIT_LABELS
from apps.deployments import configuration
from apps.deployments.models import Deployment
from apps.deployments.routing import usual_timeouts

TIMEOUT_LABELS = {
    "connect_timeout": _("Connect timeout (s)"), "first_byte_timeout": _("First byte timeout (s)"),
    "idle_timeout": _("Idle timeout (s)"), "total_timeout": _("Total timeout (s)"),
}  # fmt: skip


class TagsField(forms.CharField):
    """Tags in one line, with commas between them."""

    def __init__(self) -> None:
        super().__init__(
            required=False,
            label=_("Tags"),
            help_text=_("With commas between them."),
            widget=UnfoldAdminTextInputWidget(),
        )

    def clean(self, value: Any) -> list[str]:
        """The list of tags."""
        return [part.strip() for part in str(value or "").split(",") if part.strip()]


class DescriptionField(forms.CharField):
    """Text of several lines as it is stored, whatever a browser makes of their ends; blanks around it stay."""

    def __init__(self, rows: int) -> None:
        super().__init__(
            required=False, strip=False, label=_("Description"), widget=UnfoldAdminTextareaWidget(attrs={"rows": rows})
        )

    def to_python(self, value: Any) -> str:
        """The text."""
        return configuration.lines(super().to_python(value) or "")


class ConfigurationForm(forms.Form):
    """A deployment as it is; only what somebody changes is written."""

    description = DescriptionField(rows=3)
    tags = TagsField()
    captures = forms.BooleanField(
        required=False,
        label=_("Keep inputs and outputs"),
        widget=UnfoldBooleanSwitchWidget(),
        help_text=_(
            "What callers send and get is stored, with secrets and personal data taken out as far as patterns "
            "find them: ours, and those of MODELYARD_REDACT_PATTERNS. Who may see captures sees it on the Usage tab. "
            "Tell the callers, and leave it off where much is called."
        ),
    )
    capture_days = forms.IntegerField(
        label=_("For so many days"),
        min_value=configuration.CAPTURE_DAYS[0],
        max_value=configuration.CAPTURE_DAYS[1],
        widget=UnfoldAdminIntegerFieldWidget(),
    )

    def __init__(self, data: Any, deployment: Deployment) -> None:
        values = {name: getattr(deployment, name) for name in configuration.EDITABLE}
        super().__init__(data, initial={**values, "tags": ", ".join(deployment.tags)})
        for name in LIMITS:
            self.fields[name] = forms.IntegerField(
                required=False,
                min_value=0,
                max_value=MAX_LIMIT,
                label=LIMIT_LABELS[name],
                widget=UnfoldAdminIntegerFieldWidget(attrs={"placeholder": _("unlimited")}),
            )
        usual = usual_timeouts()
        for name, (least, most) in configuration.TIMEOUTS.items():
            seconds = getattr(usual, name.removesuffix("_timeout"))
            self.fields[name] = forms.FloatField(
                required=False,
                min_value=least,
                max_value=most,
                label=TIMEOUT_LABELS[name],
                widget=UnfoldAdminTextInputWidget(
                    attrs={"inputmode": "decimal", "placeholder": f"{seconds:g}" if seconds else _("any time")}
                ),
            )
        for field in self.fields.values():
            field.show_hidden_initial = True  # what somebody else changes meanwhile isn't changed back

    def limits(self) -> list[forms.BoundField]:
        """The fields of the limits."""
        return [self[name] for name in LIMITS]

    def timeouts(self) -> list[forms.BoundField]:
        """The fields of the timeouts."""
        return [self[name] for name in configuration.TIMEOUTS]

    def edits(self) -> dict[str, Any]:
        """The values of what was changed."""
        return {name: self.cleaned_data[name] for name in self.changed_data}

    def seen(self) -> dict[str, Any]:
        """What stood in the changed fields when the page was opened, where the page said so."""
        found = {}
        for name in self.changed_data:
            if self.add_prefix(f"initial-{name}") not in self.data:
                continue
            field = self.fields[name]
            raw = field.hidden_widget().value_from_datadict(self.data, self.files, f"initial-{name}")
            with contextlib.suppress(forms.ValidationError):
                found[name] = field.clean(raw)
        return found

    def conflicts(self, deployment: Deployment) -> list[str]:
        """Fields that somebody else has changed since to another value than this person wants."""
        edits, differ = self.edits(), configuration.differ
        return [
            name
            for name, value in self.seen().items()
            if differ(deployment, name, value) and differ(deployment, name, edits[name])
        ]
