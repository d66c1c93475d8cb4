"""The form that deploys a model; the fields of a runtime's options come from its pydantic model."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.apikeys.models import LIMITS
from apps.apikeys.values import MAX_LIMIT
from apps.deployments import configuration, runtimes
from apps.deployments.models import Deployment
from apps.deployments.routing import usual_timeouts
from apps.deployments.versions import THRESHOLD, Optimization
from apps.models.models import USABLE, Model
from modelyard.runtimes import Recipe

Schema = Mapping[str, Any]
LONG_TEXT = 1000  # characters an option may have, above which it gets several lines


class TagsField(forms.CharField):
    """Tags in one line, with commas between them."""

    def __init__(self) -> None:
        super().__init__(required=False, help_text="With commas between them.", widget=UnfoldAdminTextInputWidget())

    def clean(self, value: Any) -> list[str]:
        """The list of tags."""
        return [part.strip() for part in str(value or "").split(",") if part.strip()]


class OptionsForm(forms.Form):
    """The options of every usable runtime; the page shows those of the chosen one."""

    def add_options(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds a field for each option, with the given values by runtime."""
        self.groups: list[tuple[str, str, list[str]]] = []
        for name, entry in sorted(runtimes.registry().items()):
            if entry.runtime is None:
                continue
            schema = entry.runtime.options.model_json_schema()
            fields = []
            for option, described in schema.get("properties", {}).items():
                field = f"option__{name}__{option}"
                self.fields[field] = option_field(described, schema.get("$defs", {}))
                self.fields[field].initial = values.get(name, {}).get(option, described.get("default"))
                fields.append(field)
            self.groups.append((name, entry.title, fields))

    def option_groups(self) -> Iterator[tuple[str, str, list[forms.BoundField]]]:
        """Runtime, its title, and its fields bound to what was typed."""
        for name, title, fields in self.groups:
            yield name, title, [self[field] for field in fields]

    def options(self, runtime: str) -> dict[str, Any]:
        """What was given for a runtime, without what was left empty."""
        prefix = f"option__{runtime}__"
        given = {name.removeprefix(prefix): v for name, v in self.cleaned_data.items() if name.startswith(prefix)}
        return {name: value for name, value in given.items() if value not in (None, "")}


class OptimizationForm(OptionsForm):
    """A form with an optimization; which recipes there are depends on the model and the runtime."""

    recipe = forms.CharField(required=False, max_length=64, label="Optimization")
    threshold = forms.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        initial=THRESHOLD,
        label="Least agreement",
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text="Of the optimized model's answers with the original's, 0 to 1. Below it, it waits for a person.",
    )
    samples = forms.CharField(
        required=False,
        label="Own samples (JSONL)",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"}),
        help_text='Lines such as "a text" or {"text": "…"}, at most 500. Empty: samples for the model\'s task.',
    )

    def offer(self, recipes: Sequence[Recipe]) -> None:
        """Makes the recipe a choice between these."""
        choices = [("", "None"), *((recipe.name, recipe.title) for recipe in recipes)]
        self.fields["recipe"] = forms.ChoiceField(
            choices=choices,
            required=False,
            label="Optimization",
            widget=UnfoldAdminSelectWidget(),
            help_text=" ".join(f"{recipe.title}: {recipe.description}" for recipe in recipes)
            or "This runtime offers none for this model.",
        )

    def optimization(self) -> Optimization:
        """What was asked for."""
        values = self.cleaned_data
        threshold = THRESHOLD if values["threshold"] is None else values["threshold"]
        return Optimization(values["recipe"], threshold, values["samples"].strip())


class DeployForm(OptimizationForm):
    """A new deployment."""

    model = forms.ModelChoiceField(
        Model.objects.none(), label="Model", widget=UnfoldAdminSelectWidget(), empty_label="Choose a model …"
    )
    name = forms.CharField(
        max_length=100,
        label="Name",
        widget=UnfoldAdminTextInputWidget(),
        help_text="Callers send it as the model's name. It can't be changed later.",
    )
    runtime = forms.ChoiceField(
        required=False,
        label="Runtime",
        widget=UnfoldAdminSelectWidget(),
        help_text="Automatic takes the one that can serve the model here with the fewest warnings.",
    )
    description = forms.CharField(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))
    tags = TagsField()
    replicas = forms.IntegerField(
        min_value=1,
        max_value=50,
        initial=1,
        label="Replicas",
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Engines that run side by side.",
    )
    ready_seconds = forms.IntegerField(
        min_value=1,
        max_value=86_400,
        required=False,
        label="Start limit (s)",
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="How long a start may take; empty: the runtime's own limit.",
    )

    def __init__(self, *args: Any, values: Mapping[str, Mapping[str, Any]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ready = Model.objects.filter(status__in=USABLE).order_by("name")
        self.fields["model"].queryset = ready  # type: ignore[attr-defined]
        usable = [(name, e.title) for name, e in sorted(runtimes.registry().items()) if e.runtime]
        self.fields["runtime"].choices = [("", "Automatic"), *usable]  # type: ignore[attr-defined]
        self.add_options(values or {})


class RedeployForm(OptimizationForm):
    """The next version of a deployment."""

    replicas = forms.IntegerField(min_value=1, max_value=50, label="Replicas", widget=UnfoldAdminIntegerFieldWidget())
    ready_seconds = forms.IntegerField(
        min_value=1, max_value=86_400, required=False, label="Start limit (s)", widget=UnfoldAdminIntegerFieldWidget()
    )

    def __init__(self, *args: Any, runtime: str, values: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_options({runtime: values})
        for name, _, fields in self.groups:
            if name != runtime:
                for field in fields:
                    del self.fields[field]
        self.groups = [group for group in self.groups if group[0] == runtime]


class ConfigurationForm(forms.Form):
    """A deployment as it is; only what somebody changes is written."""

    description = forms.CharField(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))
    tags = TagsField()
    captures = forms.BooleanField(
        required=False,
        label="Keep inputs and outputs",
        widget=UnfoldBooleanSwitchWidget(),
        help_text="What callers send and get is stored, with secrets and personal data taken out as far as patterns "
        "find them: ours, and those of MODELYARD_REDACT_PATTERNS. Who may see captures sees it on the Usage tab. "
        "Tell the callers, and leave it off where much is called.",
    )
    capture_days = forms.IntegerField(
        label="For so many days",
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
                label=configuration.LABELS[name].capitalize(),
                widget=UnfoldAdminIntegerFieldWidget(attrs={"placeholder": "unlimited"}),
            )
        usual = usual_timeouts()
        for name, (least, most) in configuration.TIMEOUTS.items():
            seconds = getattr(usual, name.removesuffix("_timeout"))
            self.fields[name] = forms.FloatField(
                required=False,
                min_value=least,
                max_value=most,
                label=configuration.LABELS[name].capitalize(),
                widget=UnfoldAdminTextInputWidget(
                    attrs={"inputmode": "decimal", "placeholder": f"{seconds:g}" if seconds else "any time"}
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
        now = {name: getattr(deployment, name) for name in configuration.EDITABLE}
        edits = self.edits()
        return [name for name, value in self.seen().items() if value != now[name] != edits[name]]


def option_field(described: Schema, definitions: Schema) -> forms.Field:
    """A form field for one property of a JSON Schema, with the widget that suits its type."""
    schema = _resolved(described, definitions)
    common: dict[str, Any] = {
        "label": described.get("title", ""),
        "help_text": described.get("description", ""),
        "required": False,
    }
    choices = schema.get("enum")
    if choices:
        named = [(value, value if value != "" else "—") for value in choices]
        return forms.ChoiceField(choices=named, widget=UnfoldAdminSelectWidget(), **common)
    kind = schema.get("type")
    if kind == "boolean":
        return forms.BooleanField(widget=UnfoldBooleanSwitchWidget(), **common)
    if kind in {"integer", "number"}:
        field = forms.IntegerField if kind == "integer" else forms.FloatField
        return field(
            min_value=schema.get("minimum"),
            max_value=schema.get("maximum"),
            widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
            **common,
        )
    if kind == "string":
        long = schema.get("maxLength", 0) > LONG_TEXT
        widget = (
            UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"})
            if long
            else UnfoldAdminTextInputWidget()
        )
        return forms.CharField(widget=widget, **common)
    return JsonField(widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}), **common)


class JsonField(forms.JSONField):
    """The last resort for structured options."""

    def prepare_value(self, value: Any) -> Any:
        """JSON text, empty for nothing."""
        return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _resolved(described: Schema, definitions: Schema) -> Schema:
    """The property itself where it is a reference, or optional."""
    for key in ("anyOf", "allOf"):
        parts = [part for part in described.get(key, []) if part.get("type") != "null"]
        if len(parts) == 1:
            return _resolved(parts[0], definitions)
    reference = described.get("$ref", "").rpartition("/")[2]
    return definitions[reference] if reference else described
