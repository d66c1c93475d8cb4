"""Form fields from a runtime's options: each property of the JSON Schema gets the widget that suits its type."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from modelyard.runtimes import Runtime

Schema = Mapping[str, Any]
LONG_TEXT = 1000  # characters an option may have, above which it gets several lines
PARAMETERS, HARDWARE = "parameters", "hardware"


def name_of(runtime: str, option: str) -> str:
    """The name of an option's field."""
    return f"option__{runtime}__{option}"


def schema_of(plug: Runtime[Any]) -> tuple[dict[str, Any], Schema]:
    """The properties of a runtime's options, and what they refer to."""
    schema = plug.options.model_json_schema()
    return schema.get("properties", {}), schema.get("$defs", {})


def step_of(described: Schema) -> str:
    """Where an option is asked for."""
    return HARDWARE if described.get("step") == HARDWARE else PARAMETERS


class LinesField(forms.CharField):
    """A list of texts, one a line; as JSON where a text has lines itself."""

    def __init__(self, help_text: str = "", **kwargs: Any) -> None:
        help_text = " ".join([help_text, gettext("One a line, or a JSON list.")]).strip()
        super().__init__(
            help_text=help_text, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"}), **kwargs
        )

    def clean(self, value: Any) -> Any:
        """The list; none where nothing was given."""
        text = str(value or "").strip()
        if not text.startswith("["):
            return [line.strip() for line in text.splitlines() if line.strip()] or None
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise forms.ValidationError(_("This is no list of texts: write one a line, or a JSON list."))
        return found or None


class JsonField(forms.JSONField):
    """The last resort for structured options."""

    def prepare_value(self, value: Any) -> Any:
        """JSON text, empty for nothing."""
        return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def option_field(described: Schema, definitions: Schema) -> forms.Field:
    """A form field for one property of a JSON Schema."""
    schema = _resolved(described, definitions)
    common: dict[str, Any] = {
        "label": described.get("title", ""),
        "help_text": described.get("description", ""),
        "required": False,
    }
    if schema.get("enum"):
        named = [(value, value if value != "" else "—") for value in schema["enum"]]
        return forms.ChoiceField(choices=named, widget=UnfoldAdminSelectWidget(), **common)
    kind = schema.get("type")
    if kind == "boolean":
        return forms.BooleanField(widget=UnfoldBooleanSwitchWidget(), **common)
    if kind in {"integer", "number"}:
        return _number(kind, schema, common)
    if kind == "string":
        return _text(schema, common)
    if kind == "array" and schema.get("items", {}).get("type") == "string":
        return LinesField(**common)
    return JsonField(widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}), **common)


def _number(kind: str, schema: Schema, common: dict[str, Any]) -> forms.Field:
    field = forms.IntegerField if kind == "integer" else forms.FloatField
    limits: dict[str, Any] = {"min_value": schema.get("minimum"), "max_value": schema.get("maximum")}
    mode = "numeric" if kind == "integer" else "decimal"
    return field(widget=UnfoldAdminTextInputWidget(attrs={"inputmode": mode}), **limits, **common)


def _text(schema: Schema, common: dict[str, Any]) -> forms.Field:
    long = schema.get("maxLength", 0) > LONG_TEXT
    widget = UnfoldAdminTextareaWidget if long else UnfoldAdminTextInputWidget
    attributes = {"rows": 3, "spellcheck": "false"} if long else {"spellcheck": "false"}
    return forms.CharField(widget=widget(attrs=attributes), strip=not long, **common)


def _resolved(described: Schema, definitions: Schema) -> Schema:
    """The property itself where it is a reference, or optional."""
    for key in ("anyOf", "allOf"):
        parts = [part for part in described.get(key, []) if part.get("type") != "null"]
        if len(parts) == 1:
            return _resolved(parts[0], definitions)
    reference = described.get("$ref", "").rpartition("/")[2]
    return definitions[reference] if reference else described


def typed(value: Any) -> str:
    """A value as somebody would have typed it into its field."""
    if value is None or value is False:
        return ""
    if value is True:
        return "on"
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        plain = not any("\n" in each or each.startswith("[") or each != each.strip() for each in value)
        return "\n".join(value) if plain else json.dumps(list(value), ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
