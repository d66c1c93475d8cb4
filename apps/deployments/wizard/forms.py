"""The forms of the wizard's steps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pydantic
from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.deployments import configuration, fit, naming
from apps.deployments.forms import DescriptionField, TagsField
from apps.deployments.optimization import samples
from apps.deployments.versions import THRESHOLD
from apps.deployments.wizard import fields
from apps.models.models import USABLE, Model
from modelyard.problems import Problem
from modelyard.runtimes import Recipe

if TYPE_CHECKING:
    from apps.deployments.wizard.state import Wizard


class StepForm(forms.Form):
    """What one step asks for. Initial values and what was sent are texts, as the draft keeps them."""

    def __init__(self, data: Mapping[str, Any] | None, wizard: "Wizard") -> None:
        super().__init__(data, label_suffix="")
        self.wizard = wizard
        self.prepare()

    def prepare(self) -> None:
        """Fields that depend on what was chosen before."""

    def start(self) -> None:
        """Every field begins with what the draft has, else with its default."""
        for name, field in self.fields.items():
            field.initial = self.wizard.values.get(name, fields.typed(field.initial))

    def refuse(self, field: str | None, problem: Problem) -> None:
        """A problem beside its field."""
        self.add_error(field, f"{problem.message} {problem.next_step}".strip())


class GeneralForm(StepForm):
    """Which model, under which name, on which runtime."""

    model = forms.ModelChoiceField(
        Model.objects.none(), label=_("Model"), widget=UnfoldAdminSelectWidget(), empty_label=_("Choose a model …")
    )
    name = forms.CharField(
        max_length=naming.LONGEST,
        label=_("Name"),
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=_("Callers send it as the model's name. It can't be changed later."),
    )
    description = DescriptionField(rows=2)
    tags = TagsField()
    runtime = forms.CharField(required=False, max_length=64, label=_("Runtime"))

    def prepare(self) -> None:
        """The models that can be deployed."""
        ready = Model.objects.filter(status__in=USABLE).order_by("name")
        self.fields["model"].queryset = ready  # type: ignore[attr-defined]

    def clean_name(self) -> str:
        """A name that nobody has."""
        try:
            return naming.check(self.cleaned_data["name"])
        except Problem as problem:
            raise forms.ValidationError(f"{problem.message} {problem.next_step}") from None

    def clean(self) -> dict[str, Any]:
        """Description and tags as the operation takes them, and a runtime that can have this model."""
        values = super().clean() or self.cleaned_data
        for name in ("description", "tags"):
            try:
                configuration.clean({name: values[name]} if name in values else {})
            except Problem as problem:
                self.refuse(name, problem)
        if values.get("model"):
            self._check_runtime(values["model"], values.get("runtime", ""))
        return values

    def _check_runtime(self, model: Model, name: str) -> None:
        """What no option can change is refused here; what one can, such as memory, at the step that asks for it."""
        try:
            if not name:
                fit.choose(model)
                return
            found = fit.findings(model, name, {})
        except Problem as problem:
            self.refuse("runtime", problem)
            return
        for finding in found:
            if finding.code == "wrong_format":
                self.add_error("runtime", f"{finding.message} {finding.fix}".strip())


class NothingForm(StepForm):
    """For a step that only shows."""


class OptimizationForm(StepForm):
    """Skip, or a recipe of the runtime."""

    recipe = forms.ChoiceField(required=False, label=_("Optimization"), widget=forms.RadioSelect())
    threshold = forms.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        initial=THRESHOLD,
        label=_("Least agreement"),
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text=_("Of the optimized model's answers with the original's, 0 to 1. Below it, it waits for a person."),
    )
    samples = forms.CharField(
        required=False,
        label=_("Own samples (JSONL)"),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=_('Lines such as "a text" or {"text": "…"}, at most 500. Empty: samples for the model\'s task.'),
    )

    def prepare(self) -> None:
        """The recipes that the runtime offers for the model with these options."""
        self.offered: Sequence[Recipe] = self.wizard.recipes
        choices = [("", gettext("Skip")), *((recipe.name, recipe.title) for recipe in self.offered)]
        self.fields["recipe"].choices = choices  # type: ignore[attr-defined]
        self.fields["recipe"].error_messages["invalid_choice"] = gettext(
            "This runtime doesn't offer the optimization %(value)s for this model: choose another, or skip."
        )

    def recipes(self) -> Iterator[tuple[Recipe, bool]]:
        """Each recipe, and whether it is chosen."""
        chosen = self["recipe"].value() or ""
        return ((recipe, recipe.name == chosen) for recipe in self.offered)

    def clean_samples(self) -> str:
        """Lines that can be read."""
        text = str(self.cleaned_data["samples"]).strip()
        try:
            samples.parse(text)
        except Problem as problem:
            raise forms.ValidationError(f"{problem.message} {problem.next_step}") from None
        return text


class OptionsForm(StepForm):
    """The options of the chosen runtime that belong to one step."""

    step = fields.PARAMETERS

    def prepare(self) -> None:
        """A field for each option, the usual ones before the advanced."""
        self.usual: list[str] = []
        self.advanced: list[str] = []
        self.by_option: dict[str, str] = {}
        for option, name, field, advanced in self.wizard.option_fields(self.step):
            self.fields[name] = field
            self.by_option[option] = name
            (self.advanced if advanced else self.usual).append(name)

    def usual_fields(self) -> list[forms.BoundField]:
        """What most people look at."""
        return [self[name] for name in self.usual]

    def advanced_fields(self) -> list[forms.BoundField]:
        """The rest."""
        return [self[name] for name in self.advanced]

    def advanced_open(self) -> bool:
        """Whether something of the rest was set, or is wrong."""
        return any(name in self.errors for name in self.advanced) or any(
            self.wizard.is_set(option) for option, name in self.by_option.items() if name in self.advanced
        )

    def clean(self) -> dict[str, Any]:
        """The runtime's own validation, beside the fields it speaks of."""
        values = super().clean() or self.cleaned_data
        plug = self.wizard.plug
        if plug is None:
            raise forms.ValidationError(gettext("Choose a runtime first, under General."))
        if not self.errors:
            try:
                plug.options.model_validate(self.wizard.options)
            except pydantic.ValidationError as error:
                for each in error.errors():
                    self._blame(each["loc"], each["msg"].removeprefix("Value error, "))
        return values

    def _blame(self, where: tuple[int | str, ...], message: str) -> None:
        field = self.by_option.get(str(where[0])) if where else None
        if field:
            self.add_error(field, message)
        elif not where:
            self.refuse_whole(message)

    def refuse_whole(self, message: str) -> None:
        """What is wrong with the options together: the last step that asks for some says it."""


class HardwareForm(OptionsForm):
    """What it needs: memory, devices, replicas, and time to start."""

    step = fields.HARDWARE

    replicas = forms.IntegerField(
        min_value=1,
        max_value=50,
        initial=1,
        label=_("Replicas"),
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=_("Engines that run side by side; each takes the memory."),
    )
    ready_seconds = forms.IntegerField(
        min_value=1,
        max_value=86_400,
        required=False,
        label=_("Start limit (s)"),
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=_("How long a start may take; empty: the runtime's own limit."),
    )

    def refuse_whole(self, message: str) -> None:
        """Here everything is known."""
        self.add_error(None, message)

    def clean(self) -> dict[str, Any]:
        """Nothing that the runtime knows it can't serve goes on."""
        values = super().clean()
        model = self.wizard.model
        if not self.errors and model is not None:
            try:
                blocks = self.wizard.blocks()
            except Problem as problem:
                self.refuse(None, problem)
                return values
            for finding in blocks:
                self.add_error(None, f"{finding.message} {finding.fix}".strip())
        return values


class ReviewForm(StepForm):
    """The terms."""

    accepted = forms.BooleanField(label=_("Terms"), widget=forms.CheckboxInput())

    def prepare(self) -> None:
        """What has to be accepted is named; for the next version it was accepted already."""
        model = self.wizard.model
        if self.wizard.draft.deployment_id is not None:
            del self.fields["accepted"]
        elif model is not None and model.licence:
            words = gettext("I accept the licence of %(model)s, %(licence)s, for what it is used for here.")
            self.fields["accepted"].label = words % {"model": model.name, "licence": model.licence}
        elif model is not None:
            words = gettext("The licence of %(model)s isn't known: I have made sure that it may be used here.")
            self.fields["accepted"].label = words % {"model": model.name}
