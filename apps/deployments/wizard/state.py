"""One draft, as its steps see it: what was chosen, and what follows from it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.deployments import fit, runtimes
from apps.deployments.models import Deployment, Draft
from apps.deployments.runtimes import Entry
from apps.deployments.wizard import fields
from apps.deployments.wizard.forms import (
    GeneralForm,
    HardwareForm,
    NothingForm,
    OptimizationForm,
    OptionsForm,
    ReviewForm,
    StepForm,
)
from apps.models.models import Model
from modelyard.problems import Problem
from modelyard.runtimes import Finding, Level, Options, Recipe, Runtime


class Step(models.TextChoices):
    """The steps in their order."""

    GENERAL = "general", _("General")
    OPTIMIZATION = "optimization", _("Optimization")
    PARAMETERS = "parameters", _("Parameters")
    HARDWARE = "hardware", _("Hardware")
    REVIEW = "review", _("Review")


ORDER: Sequence[Step] = tuple(Step)
FORMS: Mapping[Step, type[StepForm]] = {
    Step.GENERAL: GeneralForm, Step.OPTIMIZATION: OptimizationForm, Step.PARAMETERS: OptionsForm,
    Step.HARDWARE: HardwareForm, Step.REVIEW: ReviewForm,
}  # fmt: skip


class Wizard:
    """What a draft's values mean. Made for one request; whatever changes the values makes another."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.values: Mapping[str, Any] = draft.values

    @property
    def deployment(self) -> Deployment | None:
        """What is deployed again; None for a new one."""
        return self.draft.deployment

    @cached_property
    def model(self) -> Model | None:
        """The chosen model."""
        return Model.objects.filter(pk=str(self.values.get("model", ""))).first()

    @cached_property
    def automatic(self) -> str:
        """The runtime that is taken where none is chosen; empty where none can serve the model."""
        try:
            return fit.choose(self.model) if self.model else ""
        except Problem:
            return ""

    @property
    def runtime(self) -> str:
        """The name of the chosen runtime, or of the one that is taken."""
        return str(self.values.get("runtime", "")) or self.automatic

    @property
    def entry(self) -> Entry | None:
        """The runtime as it is installed."""
        return runtimes.registry().get(self.runtime)

    @property
    def plug(self) -> Runtime[Any] | None:
        """The runtime itself; None where it isn't there or is broken."""
        return self.entry.runtime if self.entry else None

    @cached_property
    def _idle(self) -> frozenset[str]:
        if self.plug is None or self.model is None:
            return frozenset()
        try:
            with runtimes.asking(self.runtime):
                return frozenset(self.plug.idle_options(runtimes.as_contract(self.model)))
        except Problem:
            return frozenset()

    @cached_property
    def _all_fields(self) -> list[tuple[str, str, forms.Field, Mapping[str, Any]]]:
        """Option, name, field and description of each option that does something for the model, or is set."""
        if self.plug is None:
            return []
        found = []
        properties, definitions = fields.schema_of(self.plug)
        for option, described in properties.items():
            name = fields.name_of(self.runtime, option)
            if option in self._idle and not self._differs(name, described):
                continue
            field = fields.option_field(described, definitions)
            field.initial = described.get("default")
            found.append((option, name, field, described))
        return found

    def _differs(self, name: str, described: Mapping[str, Any]) -> bool:
        default = fields.typed(described.get("default"))
        return str(self.values.get(name, default)) != default

    def is_set(self, option: str) -> bool:
        """Whether an option has another value than its default."""
        return any(self._differs(name, described) for each, name, _, described in self._all_fields if each == option)

    def option_fields(self, step: str) -> Iterator[tuple[str, str, forms.Field, bool]]:
        """Option, name, field, and whether few people change it, of those that a step asks for."""
        for option, name, field, described in self._all_fields:
            if fields.step_of(described) == step:
                yield option, name, field, described.get("advanced") is True

    @cached_property
    def options(self) -> dict[str, Any]:
        """The options as far as they can be read; what was left empty is left out."""
        found = {}
        for option, name, field, described in self._all_fields:
            try:
                value = field.clean(self.values.get(name, fields.typed(described.get("default"))))
            except ValidationError:
                continue
            if value not in (None, ""):
                found[option] = value
        return found

    @cached_property
    def valid_options(self) -> Options | None:
        """The options as the runtime has them; None where it refuses them."""
        try:
            return runtimes.options_of(self.plug, self.options) if self.plug else None
        except Problem:
            return None

    @cached_property
    def recipes(self) -> Sequence[Recipe]:
        """The optimizations that the runtime offers."""
        if self.plug is None or self.model is None:
            return ()
        try:
            options = self.valid_options or runtimes.options_of(self.plug, {})
        except Problem:
            return ()
        return fit.recipes(self.model, self.runtime, options)

    def recipe(self) -> Recipe | None:
        """The chosen optimization."""
        return next((each for each in self.recipes if each.name == self.values.get("recipe")), None)

    def blocks(self) -> list[Finding]:
        """Why the runtime can't serve the model with these options. A Problem if they aren't valid."""
        if self.model is None:
            return []
        return [each for each in fit.findings(self.model, self.runtime, self.options) if each.level == Level.BLOCK]

    def fits(self) -> list[fit.Fit]:
        """Every runtime on the model, the chosen one with the options that were typed."""
        if self.model is None:
            return []
        recipe = self.recipe()
        options = {**self.options, **(recipe.options if recipe else {})}
        return fit.fits(self.model, {self.runtime: options} if self.runtime else {})

    def form(self, step: Step) -> StepForm:
        """The form of a step, with what was typed into it."""
        made = FORMS[step] if not (self.deployment and step == Step.GENERAL) else NothingForm
        form = made(None, self)
        form.start()
        return form

    def checked(self, step: Step) -> StepForm:
        """The form of a step as it would be sent with what was typed, so that it can say what is wrong."""
        form = self.form(step)
        form.data = {name: field.initial for name, field in form.fields.items()}
        form.is_bound = True
        return form

    def read(self, step: Step, sent: Mapping[str, Any]) -> dict[str, str]:
        """The values of a step's fields as they were sent, to be kept as they are."""
        form = self.form(step)
        return {name: str(sent.get(name, "")).replace("\0", "") for name in form.fields}

    def troubles(self) -> list[tuple[Step, list[tuple[str, str, str]]]]:
        """Every step before the review with what is wrong with it."""
        found = [(step, said(self.checked(step))) for step in ORDER[:-1]]
        return [(step, lines) for step, lines in found if lines]


def said(form: StepForm) -> list[tuple[str, str, str]]:
    """What is wrong with a form: the field's ID and label, and the message."""
    found = []
    for name, errors in form.errors.items():
        field = form[name] if name in form.fields else None
        label: str | Promise = field.label if field else ""
        where = f"id_{name}" if field else ""
        found += [(where, str(label), str(error)) for error in errors]
    return found
