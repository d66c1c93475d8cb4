"""How a model was deployed, as a deployconfig.json: written from a version, and read back into the wizard."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from apps.deployments import runtimes
from apps.deployments.models import Deployment, Version
from apps.models import exporting
from apps.models.deployconfig import reading
from apps.models.deployconfig.schema import DeployConfig, Optimization, Origin, Scaling
from apps.models.models import USABLE, Level, Model
from modelyard import __version__
from modelyard.problems import Problem

MADE_BY = f"modelyard {__version__}"


@dataclass(frozen=True)
class Export:
    """A model about to be sent: its zip's name, and the zip piece by piece."""

    name: str
    pieces: Iterator[bytes]


def export(model: Model, deployment_id: str = "") -> Export:
    """The zip of a model, with how that deployment (else the last one) runs it. A Problem if it can't be."""
    if model.status not in USABLE:
        step = "Wait until the import is Ready, or mend what its report says."
        raise Problem("model_not_ready", f"{model.name} can't be exported: it isn't Ready.", step)
    chosen = _chosen(model, deployment_id)
    config = of_version(chosen) if chosen else reading.of(model)
    config = config or DeployConfig(version=1, made_by=MADE_BY, model=_origin(model))
    return Export(f"{model.name}.zip", exporting.zipped(model, config))


def of_model(model: Model) -> DeployConfig | None:
    """How its last deployment runs it, else what came with it; None where there is neither."""
    chosen = _chosen(model, "")
    return of_version(chosen) if chosen else reading.of(model)


def _chosen(model: Model, deployment_id: str) -> Version | None:
    rows = Deployment.objects.filter(model=model).select_related("target_version", "live_version", "model")
    if deployment_id:
        deployment = rows.filter(pk=deployment_id).first()
        if deployment is None:
            said = f"{model.name} has no deployment {deployment_id!r:.60}."
            raise Problem("unknown_deployment", said, "Name one of its deployments, or none for the last.", status=404)
    else:
        deployment = rows.order_by("-added_at").first()
    return (deployment.live_version or deployment.target_version) if deployment else None


def of_version(version: Version) -> DeployConfig:
    """A version of a deployment as a configuration."""
    deployment = version.deployment
    optimization = None
    if version.recipe:
        optimization = Optimization(recipe=version.recipe, threshold=version.threshold, samples=version.samples)
    return DeployConfig(
        version=1, made_by=MADE_BY, model=_origin(deployment.model), runtime=deployment.runtime,
        options=version.options, optimization=optimization,
        scaling=Scaling(replicas=version.replicas_wanted, ready_seconds=version.ready_seconds),
        description=deployment.description, tags=tuple(deployment.tags),
    )  # fmt: skip


def _origin(model: Model) -> Origin:
    return Origin(name=model.name, task=model.task, format=model.format)


@dataclass(frozen=True)
class Prefilled:
    """What the wizard starts with; `missing` names a runtime that isn't installed here.

    With `from_file` it came as the deployconfig.json among the model's files, else it was recommended with the model.
    """

    initial: dict[str, Any]
    options: dict[str, dict[str, Any]]
    missing: str = ""
    from_file: bool = False


def prefilled(model: Model | None) -> Prefilled | None:
    """What came with a model, for the wizard; None where nothing did."""
    config = reading.of(model) if model else None
    if config is None:
        return None
    entry = runtimes.registry().get(config.runtime)
    usable = entry is not None and entry.runtime is not None
    initial: dict[str, Any] = {
        "replicas": config.scaling.replicas, "ready_seconds": config.scaling.ready_seconds,
        "description": config.description, "tags": ", ".join(config.tags),
    }  # fmt: skip
    if usable:
        initial["runtime"] = config.runtime
        if config.optimization:
            initial |= config.optimization.model_dump()
    missing = config.runtime if config.runtime and not usable else ""
    from_file = model is not None and model.findings.filter(rule="MYI030", level=Level.PASS).exists()
    return Prefilled(initial, {config.runtime: config.options} if usable else {}, missing, from_file)


def named(name: str) -> Model:
    """A model by its name or ID. A Problem if there is none."""
    found: Model | None = Model.objects.filter(Q(pk=name) | Q(name=name)).first()
    if found is None:
        step = "Use its name or ID from the list of models."
        raise Problem("unknown_model", f"There is no model {name!r:.120}.", step, status=404)
    return found
