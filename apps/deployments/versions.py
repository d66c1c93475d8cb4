"""What a version is made of: options, resources and an optimization, checked before it is written once."""

from dataclasses import asdict, dataclass
from typing import Any

from django.contrib.auth.models import User

from apps.deployments import fit, runtimes
from apps.deployments.models import Deployment, Proof, Version
from apps.deployments.optimization import artifacts, samples
from apps.models.models import Model
from modelyard.problems import Problem

THRESHOLD = 0.98


@dataclass(frozen=True)
class Optimization:
    """A recipe, the least agreement with the original that is deployed without asking, and a person's own samples."""

    recipe: str = ""
    threshold: float = THRESHOLD
    samples: str = ""


NONE = Optimization()


def plan(
    model: Model,
    runtime: str,
    options: dict[str, Any],
    optimization: Optimization,
    *,
    replicas: int,
    ready_seconds: int | None,
) -> dict[str, Any]:
    """The fields of a version; a Problem for a recipe, a threshold or samples that can't be."""
    plug = runtimes.get(runtime)
    typed = runtimes.options_of(plug, options)
    found = fit.estimate(model, runtime, plug, typed)
    fields = {
        "options": options,
        "replicas_wanted": replicas,
        "ready_seconds": ready_seconds,
        "estimate": asdict(found) if found else {},
        "model_revision": model.revision,
    }
    if not optimization.recipe:
        return fields
    offered = fit.recipes(model, runtime, typed)
    recipe = next((each for each in offered if each.name == optimization.recipe), None)
    if recipe is None:
        names = ", ".join(each.name for each in offered) or "none"
        message = f"{plug.title} doesn't offer the optimization {optimization.recipe!r} for this model."
        raise Problem("unknown_recipe", message, f"It offers: {names}.", status=400)
    if not 0 <= optimization.threshold <= 1:
        raise Problem("invalid_threshold", "The threshold isn't between 0 and 1.", "0.98 is usual.", status=400)
    samples.parse(optimization.samples)
    return {
        **fields,
        "recipe": recipe.name,
        "recipe_options": dict(recipe.options),
        "threshold": optimization.threshold,
        "samples": optimization.samples,
    }


def without_optimization(deployment: Deployment, version: Version) -> dict[str, Any]:
    """The fields of the same version, not optimized."""
    plain = plan(
        deployment.model,
        deployment.runtime,
        version.options,
        NONE,
        replicas=version.replicas_wanted,
        ready_seconds=version.ready_seconds,
    )
    return {**plain, "model_revision": version.model_revision}


def add(deployment: Deployment, fields: dict[str, Any], *, by: User | None) -> Version:
    """The next version."""
    newest = deployment.versions.order_by("-number").first()
    number = newest.number + 1 if newest else 1
    return Version.objects.create(deployment=deployment, number=number, created_by=by, **fields)


def needs_optimizing(version: Version) -> bool:
    """Whether its recipe has to run first. A Problem if its proof waits for a decision, or was rejected."""
    if not version.recipe:
        return False
    proof = Proof.objects.filter(version=version).first()
    if proof is None:
        return True
    if not proof.holds:
        decided = proof.accepted is not None
        message = f"The optimization of {version} " + ("was rejected." if decided else "waits for a decision.")
        step = "Re-deploy with another optimization, or without." if decided else "Accept or reject it first."
        raise Problem("optimization_rejected" if decided else "undecided", message, step)
    return version.artifact is not None and not artifacts.intact(version.artifact)
