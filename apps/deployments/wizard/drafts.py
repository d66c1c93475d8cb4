"""Drafts: begun, filled in, kept, and forgotten once nobody comes back for them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from apps.deployments import naming, portable, runtimes
from apps.deployments.configuration import lines
from apps.deployments.models import Deployment, Draft, Version
from apps.deployments.wizard.fields import name_of, typed
from apps.models.models import Model

KEPT = timedelta(days=30)
UNTOUCHED = timedelta(days=1)  # an open page may be filled in after a long lunch
TERMS = "accepted"
OF_RUNTIME = ("recipe", "threshold", "samples")  # what a recommendation says for the runtime that it names alone
UNFINISHED = 3  # of one's own that are offered to go on with


def begin(model: Model | None, by: User, runtime: str = "") -> Draft:
    """For a new deployment; filled in with what came with the model. A runtime that isn't there is left out."""
    _forget()
    values = {"model": model.pk, "name": naming.free(model.name)} if model else {}
    draft = Draft(owner=by, values=values | ({"runtime": runtime} if runtime in runtimes.registry() else {}))
    if model:
        fill(draft, model)
    draft.save()
    return draft


def fill(draft: Draft, model: Model) -> bool:
    """Take over what came with a model, beside what was typed already. True if something came.

    What came with the model that was chosen before goes with it, unless somebody has changed it.
    """
    before, given = _came_with(Model.objects.filter(pk=draft.filled_from).first()), _came_with(model)
    own = {
        name: value for name, value in draft.values.items()
        if (value != "" or name not in given) and (name not in before or lines(value) != lines(before[name]))
    }  # fmt: skip
    if own.get("runtime", given.get("runtime")) != given.get("runtime"):
        given = {name: value for name, value in given.items() if name not in OF_RUNTIME}
    draft.filled_from = model.pk if given else ""
    draft.values = {**given, **own}
    return bool(given)


def _came_with(model: Model | None) -> dict[str, str]:
    """What a model fills in, as somebody would have typed it."""
    kept = portable.prefilled(model)
    if kept is None:
        return {}
    given = {name: typed(value) for name, value in kept.initial.items()}
    for runtime, options in kept.options.items():
        given |= {name_of(runtime, option): typed(value) for option, value in options.items()}
    return given


def begin_again(deployment: Deployment, by: User, version: Version | None = None) -> Draft:
    """For the next version of a deployment, with the values of the running one, or of the one that is named."""
    _forget()
    version, target = version or _running(deployment), deployment.target_version
    base = target.number if target else None
    return Draft.objects.create(owner=by, deployment=deployment, base=base, values=values_of(version, deployment))


def _running(deployment: Deployment) -> Version | None:
    return deployment.live_version or deployment.target_version


def values_of(version: Version | None, deployment: Deployment) -> dict[str, str]:
    """A version as somebody would have typed it."""
    values = {"model": deployment.model_id, "runtime": deployment.runtime}
    if version is None:
        return values
    options = {name_of(deployment.runtime, option): typed(value) for option, value in version.options.items()}
    return values | options | {
        "recipe": version.recipe, "threshold": typed(version.threshold), "samples": version.samples,
        "replicas": typed(version.replicas_wanted), "ready_seconds": typed(version.ready_seconds),
    }  # fmt: skip


def keep(draft: Draft, values: Mapping[str, Any]) -> None:
    """Remember what was typed. Terms are accepted for one model: another one's are asked for again."""
    if "model" in values and values["model"] != draft.values.get("model", ""):
        draft.values = {name: value for name, value in draft.values.items() if name != TERMS}
    draft.values = {**draft.values, **values}
    draft.saved_at = timezone.now()
    draft.save(update_fields=["values", "saved_at", "passed", "filled_from"])


def unfinished(draft: Draft) -> list[Draft]:
    """A person's other drafts of new deployments, or of the same one, that something was typed into, newest first."""
    same = Draft.objects.filter(owner=draft.owner, deployment=draft.deployment_id, sent_at=None)
    rows = same.exclude(saved_at=None)
    return list(rows.exclude(pk=draft.pk).order_by("-saved_at")[:UNFINISHED])


def _forget() -> None:
    now = timezone.now()
    Draft.objects.filter(Q(saved_at__lt=now - KEPT) | Q(saved_at=None, made_at__lt=now - UNTOUCHED)).delete()
