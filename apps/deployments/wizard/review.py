"""The last step: everything that was chosen, how it differs from the running version, and the same as an API call."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from apps.deployments import runtimes
from apps.deployments.models import Version
from apps.deployments.versions import THRESHOLD, Optimization
from apps.deployments.wizard import fields
from apps.deployments.wizard.state import Step, Wizard
from apps.models.models import Model
from modelyard.problems import Problem
from modelyard.runtimes import Options, Runtime

CHANGED, ADDED, REMOVED = gettext_noop("changed"), gettext_noop("added"), gettext_noop("removed")
TOKEN = "$MODELYARD_TOKEN"  # noqa: S105 (the variable's name)


@dataclass(frozen=True)
class Chosen:
    """A valid draft, as the operations take it."""

    model: Model
    runtime: str
    plug: Runtime[Any]
    options: Mapping[str, Any]
    optimization: Optimization
    replicas: int
    ready_seconds: int | None
    about: Mapping[str, Any]
    """Name, description and tags, of a new deployment."""

    @property
    def titles(self) -> Mapping[str, str]:
        """What people read of each option."""
        properties, _ = fields.schema_of(self.plug)
        return {option: str(described.get("title") or option) for option, described in properties.items()}

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The runtime's own value of each option."""
        return defaults_of(self.plug)


@dataclass(frozen=True)
class Difference:
    """One thing that the next version has otherwise."""

    name: str
    kind: str
    old: str
    new: str


def chosen(wizard: Wizard) -> Chosen:
    """What a draft asks for; a Problem where something of it is wrong."""
    about, optimized, hardware = (
        wizard.checked(step) for step in (Step.GENERAL, Step.OPTIMIZATION, Step.HARDWARE)
    )  # fmt: skip
    plug = runtimes.get(wizard.runtime)
    if wizard.model is None or not (about.is_valid() and optimized.is_valid() and hardware.is_valid()):
        raise Problem("invalid_draft", "Something that was typed isn't valid.", "The review says what.", status=400)
    options = runtimes.options_of(plug, wizard.options)
    values = optimized.cleaned_data
    threshold = THRESHOLD if values["threshold"] is None else values["threshold"]
    return Chosen(
        model=wizard.model, runtime=wizard.runtime, plug=plug,
        options=options.model_dump(mode="json", exclude_defaults=True),
        optimization=Optimization(values["recipe"], threshold, values["samples"]),
        replicas=hardware.cleaned_data["replicas"],
        ready_seconds=hardware.cleaned_data["ready_seconds"],
        about={name: about.cleaned_data[name] for name in ("name", "description", "tags") if name in about.fields},
    )  # fmt: skip


def defaults_of(plug: Runtime[Any]) -> Mapping[str, Any]:
    """The value that each option of a runtime has where nobody sets it."""
    return dict(plug.options().model_dump(mode="json"))


def differences(old: Version, new: Chosen) -> list[Difference]:
    """What would change; a value that was or becomes the runtime's default was added or is removed."""
    found = list(_of_options(old.options, new.options, new.defaults, new.titles))
    now = Optimization(old.recipe, old.threshold, old.samples)
    skip = gettext("none")
    rows: list[tuple[Any, Any, Any]] = [(_("Optimization"), now.recipe or skip, new.optimization.recipe or skip)]
    if now.recipe and new.optimization.recipe:
        rows += [
            (_("Least agreement"), now.threshold, new.optimization.threshold),
            (_("Own samples (JSONL)"), now.samples, new.optimization.samples),
        ]
    usual = gettext("the runtime's own")
    rows += [
        (_("Replicas"), old.replicas_wanted, new.replicas),
        (_("Start limit (s)"), old.ready_seconds or usual, new.ready_seconds or usual),
        (_("Revision of the model"), old.model_revision, new.model.revision),
    ]
    return found + [Difference(str(name), CHANGED, str(was), str(is_)) for name, was, is_ in rows if was != is_]


def _of_options(
    old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Any], titles: Mapping[str, str]
) -> Iterator[Difference]:
    for option in sorted({*old, *new}):
        was, is_ = (side.get(option, defaults.get(option)) for side in (old, new))
        if was != is_:
            kind = ADDED if option not in old else REMOVED if option not in new else CHANGED
            yield Difference(titles.get(option, option), kind, shown(was), shown(is_))


def between(old: Version, new: Version, plug: Runtime[Any] | None) -> list[Difference]:
    """What one version has otherwise than another, for those who started from the older one."""
    found = list(_of_options(old.options, new.options, defaults_of(plug) if plug else {}, {}))
    rows: list[tuple[Any, Any, Any]] = [(_("optimization"), old.recipe or "—", new.recipe or "—"),
            (_("replicas"), old.replicas_wanted, new.replicas_wanted),
            (_("start limit"), old.ready_seconds or "—", new.ready_seconds or "—")]  # fmt: skip
    return found + [Difference(str(name), CHANGED, str(was), str(is_)) for name, was, is_ in rows if was != is_]


def shown(value: Any) -> str:
    """A value as people read it."""
    if value is None or value == "":
        return "—"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def options_to_run(wizard: Wizard, new: Chosen) -> Options:
    """The options, with what the recipe sets over them."""
    recipe = wizard.recipe()
    over = dict(recipe.options) if recipe else {}
    return runtimes.options_of(new.plug, {**new.options, **over})


def api_call(wizard: Wizard, new: Chosen, base: str) -> str:
    """The same, as one line for a shell that has a user token in its environment."""
    path, body = _request(wizard, new)
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return " ".join(
        ["curl -sS -X POST", shlex.quote(f"{base.rstrip('/')}/api/v1/deployments/{path}"),
         f'-H "Authorization: Bearer {TOKEN}"', "-H 'Content-Type: application/json'", "-d", shlex.quote(data)]
    )  # fmt: skip


def _request(wizard: Wizard, new: Chosen) -> tuple[str, dict[str, Any]]:
    version: dict[str, Any] = {"options": new.options, "replicas": new.replicas}
    if wizard.deployment:
        version["ready_seconds"] = new.ready_seconds
        version["optimization"] = _optimization(new.optimization)
        return f"{wizard.deployment.pk}/redeploy/", {**version, "expected_version": wizard.draft.base}
    if new.ready_seconds:
        version["ready_seconds"] = new.ready_seconds
    if new.optimization.recipe:
        version["optimization"] = _optimization(new.optimization)
    about = {name: value for name, value in new.about.items() if value}
    return "", {"model": new.model.pk, **about, "runtime": new.runtime, **version, "deploy": True}


def _optimization(wanted: Optimization) -> dict[str, Any]:
    said: dict[str, Any] = {"recipe": wanted.recipe}
    if wanted.recipe:
        said["threshold"] = wanted.threshold
    if wanted.samples:
        said["samples"] = [json.loads(line) for line in wanted.samples.splitlines() if line.strip()]
    return said
