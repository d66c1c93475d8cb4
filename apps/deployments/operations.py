"""What people do with deployments: one verb each, called by the admin, the API and the command line alike.

A verb writes what is wanted and returns; the reconciler makes it so.
"""

import enum
import json
import logging
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from apps.apikeys import words
from apps.deployments import configuration, fit, naming, runtimes, versions
from apps.deployments.models import Deployment, Proof, Replica, Version
from apps.deployments.statuses import IDLE, RETRIGGERABLE, WORKING, Desired, Outcome, ReplicaState, Status
from apps.deployments.transitions import lock, move, record, renew
from apps.deployments.versions import NONE, Optimization
from apps.models.models import USABLE, Model
from apps.models.models import Status as ModelStatus
from modelyard import changes, launchers
from modelyard.language import english
from modelyard.problems import Problem
from modelyard.runtimes import Level, Options, Route, Runtime, SampleRequest
from modelyard.runtimes import Model as RuntimeModel

logger = logging.getLogger(__name__)


class Unsaid(enum.Enum):
    """For what is left as it is, where none is a value too."""

    UNSAID = enum.auto()


def create(
    *,
    model: Model,
    name: str,
    by: User | None,
    runtime: str = "",
    options: Mapping[str, Any] | None = None,
    description: str = "",
    tags: Iterable[str] = (),
    replicas: int = 1,
    ready_seconds: int | None = None,
    optimization: Optimization = NONE,
    traffic: Mapping[str, Any] | None = None,
    accepted_licence: str | None = None,
) -> Deployment:
    """A new deployment with its first version, in Ready to Deploy. An empty `runtime` chooses one that can serve it.

    `traffic` has any of `configuration.TRAFFIC`: limits, timeouts, capture. `accepted_licence` is the model's, where
    somebody was asked to accept it: it is kept in the timeline.
    """
    if model.status not in USABLE:
        raise Problem(
            "model_not_ready",
            f"{model.name} isn't ready to deploy: its import is {english(ModelStatus(model.status).label).lower()}.",
            "Wait until the import is Ready, or mend what its report says and import it again.",
        )
    runtime = runtime or fit.choose(model)
    wanted = _checked_options(model, runtime, options or {})
    plan = versions.plan(model, runtime, wanted, optimization, replicas=replicas, ready_seconds=ready_seconds)
    try:
        with transaction.atomic():
            deployment = Deployment.objects.create(
                name=naming.clean(name),
                model=model,
                runtime=runtime,
                added_by=by,
                **configuration.clean({"description": description, "tags": tags, **(traffic or {})}),
            )
            version = versions.add(deployment, plan, by=by)
            Deployment.objects.filter(pk=deployment.pk).update(target_version=version)
            accepted = {} if accepted_licence is None else {"accepted_licence": accepted_licence}
            message = f"{deployment.name} was created."
            record(deployment, "created", message, by=by, status=Status.READY_TO_DEPLOY, detail=accepted)
    except IntegrityError:
        raise naming.taken(name) from None
    renew(deployment)
    return deployment


def deploy(deployment: Deployment, *, by: User | None) -> Deployment:
    """Start a deployment that has never run."""
    return _start(deployment, {Status.READY_TO_DEPLOY}, by, "deploy_asked", "Deploy")


def retrigger(deployment: Deployment, *, by: User | None) -> Deployment:
    """Start a Failed or Stopped deployment again, with the version it has."""
    return _start(deployment, RETRIGGERABLE, by, "retrigger_asked", "Re-trigger")


def redeploy(
    deployment: Deployment,
    *,
    by: User | None,
    options: Mapping[str, Any] | None = None,
    replicas: int | None = None,
    ready_seconds: int | Unsaid | None = Unsaid.UNSAID,
    optimization: Optimization | None = None,
    expected_version: int | None = None,
) -> Deployment:
    """Make the next version and bring it up beside the running one, which serves until the new one is ready.

    With `expected_version` only if that is the number of the deployment's version still: nobody's change is lost.
    """
    renew(deployment)
    current = deployment.target_version
    if current is None:
        raise _refused(deployment, "Re-deploy")
    _expect(current, expected_version)
    wanted = _checked_options(deployment.model, deployment.runtime, current.options if options is None else options)
    plan = versions.plan(
        deployment.model,
        deployment.runtime,
        wanted,
        Optimization(current.recipe, current.threshold, current.samples) if optimization is None else optimization,
        replicas=replicas or current.replicas_wanted,
        ready_seconds=current.ready_seconds if ready_seconds is Unsaid.UNSAID else ready_seconds,
    )
    with transaction.atomic():
        locked = lock(deployment)
        if locked.status in WORKING or (locked.status == Status.DEPLOYED and locked.desired == Desired.STOPPED):
            raise _refused(locked, "Re-deploy")
        _expect(locked.target_version, expected_version)
        version = versions.add(locked, plan, by=by)
        locked.versions.filter(outcome=Outcome.UNDECIDED).update(
            outcome=Outcome.CANCELLED, reason=f"{version} was deployed instead.", ended_at=timezone.now()
        )
        _start(locked, {locked.status}, by, "redeploy_asked", "Re-deploy", version)
    renew(deployment)
    return deployment


def _expect(found: Version | None, number: int | None) -> None:
    """A Problem if the deployment has got another version than somebody started from."""
    if number is None or (found is not None and found.number == number):
        return
    by = f" by {found.created_by}" if found is not None and found.created_by else ""
    raise Problem(
        "version_conflict",
        f"The deployment is at {found or 'no version'}, made{by} meanwhile; this change starts from v{number}.",
        "Look at what changed, then send it again with the version that it is at.",
        status=409,
    )


def accept(deployment: Deployment, *, by: User | None) -> Deployment:
    """Deploy an optimized version although it agrees less with the original than its threshold asks."""
    with transaction.atomic():
        locked = lock(deployment)
        version = _decided(locked, by, accepted=True)
        record(locked, "accepted", f"The optimization of {version} was accepted.", by=by)
        _start(locked, {locked.status}, by, "deploy_asked", "Deploy", version)
    renew(deployment)
    return deployment


def reject(deployment: Deployment, *, by: User | None) -> Deployment:
    """Give an optimized version up. Where nothing else is set up, the next version is the same without optimization."""
    with transaction.atomic():
        locked = lock(deployment)
        version = _decided(locked, by, accepted=False)
        Version.objects.filter(pk=version.pk).update(outcome=Outcome.REJECTED, reason="The optimization was rejected.")
        message = f"The optimization of {version} was rejected."
        if locked.target_version_id == version.pk:
            plain = versions.add(locked, versions.without_optimization(locked, version), by=by)
            Deployment.objects.filter(pk=locked.pk).update(target_version=plain)
            message += f" {plain} is the same without it."
        record(locked, "rejected", message, by=by)
        changes.announce("deployment", locked.pk)
    renew(deployment)
    return deployment


def _decided(locked: Deployment, by: User | None, *, accepted: bool) -> Version:
    version = locked.undecided()
    if version is None or locked.status in WORKING:
        verb = "Accept" if accepted else "Reject"
        raise _refused(locked, verb)
    Proof.objects.filter(version=version).update(accepted=accepted, decided_by=by, decided_at=timezone.now())
    version.refresh_from_db()
    return version


def undeploy(deployment: Deployment, *, by: User | None) -> Deployment:
    """Stop serving: new calls are refused at once, running ones may finish, then the engines end. Safe to repeat."""
    with transaction.atomic():
        asked = Deployment.objects.filter(
            pk=deployment.pk, desired=Desired.RUNNING, status__in=[*WORKING, Status.DEPLOYED]
        ).update(desired=Desired.STOPPED, generation=F("generation") + 1, stage="Draining")
        if asked:
            record(deployment, "undeploy_asked", "Undeploy was asked for.", by=by, stage="Draining")
            _changed(deployment)
    renew(deployment)
    if not asked and deployment.status in {Status.READY_TO_DEPLOY}:
        raise _refused(deployment, "Undeploy")
    return deployment


def edit(deployment: Deployment, *, by: User | None, seen: Mapping[str, Any] | None = None, **given: Any) -> Deployment:
    """Change what `configuration.EDITABLE` names; every web process acts on it within a second.

    With `seen`, only if those fields still have the values that whoever changes them looked at.
    """
    with transaction.atomic():
        # As it is now: somebody else may have changed it since it was read.
        row = lock(deployment)
        found = configuration.changes_of(row, given)
        stale = [name for name in found if name in (seen or {}) and configuration.differ(row, name, (seen or {})[name])]
        if stale:
            names = words.listed([configuration.LABELS[name] for name in stale])
            step = "Look at what it is now, then change it again."
            raise Problem("edit_conflict", f"Somebody else has changed the {names} meanwhile.", step, status=409)
        if found:
            Deployment.objects.filter(pk=row.pk).update(**{name: new for name, (_, new) in found.items()})
            record(row, "edited", configuration.sentence(found), by=by, detail={"changed": found})
            changes.announce("deployment", row.pk)
    renew(deployment)
    return deployment


def delete(deployment: Deployment, *, by: User | None) -> None:
    """Delete a deployment, its keys and its history; only when nothing of it runs."""
    with transaction.atomic():
        # Evaluated as one statement: a deploy that comes between the look and the delete is not lost.
        locked = Deployment.objects.select_for_update().filter(pk=deployment.pk).first()
        if locked is None:
            return
        left = locked.replicas.exclude(state=ReplicaState.ENDED)
        if locked.status not in IDLE or left.exists():
            raise Problem(
                "still_running",
                f"{locked.name} can't be deleted while it is {_state(locked)}.",
                "Undeploy it first, and wait until it is Stopped.",
            )
        identifier = locked.pk
        records = list(locked.replicas.values_list("pk", flat=True))
        _changed(locked)
        locked.delete()
        transaction.on_commit(lambda: _remove_records(records), robust=True)
        logger.info("deployment %s (%s) was deleted by %s", deployment.name, identifier, by or "the system")


def curl(deployment: Deployment, key: str, base_url: str, *, stream: bool = False) -> str:
    """One line for a shell that calls the deployment. `key` may be a placeholder such as `$MODELYARD_API_KEY`.

    With `stream` a model that generates text is asked to send its answer word by word.
    """
    sample = sample_of(deployment)
    streams = stream and bool({"messages", "prompt"} & set(sample.body))
    given = {**sample.body, "stream": True} if streams else sample.body
    url = f"{base_url.rstrip('/')}/d/{deployment.pk}{sample.path}"
    quoted_key = (
        f'"Authorization: Bearer {key}"' if key.startswith("$") else shlex.quote(f"Authorization: Bearer {key}")
    )
    flags = "-sSN" if streams else "-sS"
    parts = ["curl", flags] if sample.method == "POST" else ["curl", flags, "-X", sample.method]
    parts += [shlex.quote(url), "-H", quoted_key]
    if given:
        body = json.dumps(given, ensure_ascii=False, separators=(",", ":"))
        parts += ["-H", shlex.quote("Content-Type: application/json"), "-d", shlex.quote(body)]
    return " ".join(parts)


def sample_of(deployment: Deployment) -> SampleRequest:
    """A request that answers on this deployment."""
    runtime, model, options = _serving(deployment)
    with runtimes.asking(deployment.runtime):
        return runtime.sample(model, options, deployment.name)


def routes(deployment: Deployment) -> Sequence[Route]:
    """The engine's paths that callers may use; none where the runtime can't say."""
    try:
        runtime, model, options = _serving(deployment)
        with runtimes.asking(deployment.runtime):
            return runtime.routes(model, options)
    except Problem:
        return ()  # shown on the deployment and in the system checks; nothing can be called


def _serving(deployment: Deployment) -> tuple[Runtime[Any], RuntimeModel, Options]:
    """The runtime, and what it serves or would serve with which options."""
    version = deployment.live_version or deployment.target_version
    runtime = runtimes.get(deployment.runtime)
    if version is None:
        return runtime, runtimes.as_contract(deployment.model), runtimes.options_of(runtime, {})
    model = runtimes.model_for(deployment.model, version.model_revision, version.artifact)
    return runtime, model, runtimes.options_for(runtime, version)


def _start(
    deployment: Deployment,
    allowed: Collection[str],
    by: User | None,
    code: str,
    verb: str,
    version: Version | None = None,
) -> Deployment:
    if version is None:
        renew(deployment)
        version = deployment.target_version
    if version is None:
        raise _refused(deployment, verb)
    _checked_options(deployment.model, deployment.runtime, version.options)
    optimize = versions.needs_optimizing(version)
    with transaction.atomic():
        started = move(
            deployment,
            Status.OPTIMIZING if optimize else Status.DEPLOYING,
            allowed=[Status(status) for status in allowed],
            code=code,
            message=f"{verb} of {version} was asked for.",
            by=by,
            detail={"version": version.number},
            desired=Desired.RUNNING,
            generation=F("generation") + 1,
            target_version=version,
            stage="Waiting for a worker",
        )
        if not started:
            raise _refused(deployment, verb)
        Version.objects.filter(pk=version.pk).update(
            outcome=Outcome.OPTIMIZING if optimize else Outcome.DEPLOYING,
            started_at=timezone.now(),
            ready_at=None,
            ended_at=None,
            reason="",
        )
        _changed(deployment)
    return deployment


def _changed(deployment: Deployment) -> None:
    from apps.deployments.tasks import enqueue

    identifier = deployment.pk
    changes.announce("deployment", identifier)
    transaction.on_commit(lambda: enqueue(identifier), robust=True)


def _checked_options(model: Model, runtime: str, values: Mapping[str, Any]) -> dict[str, Any]:
    options = runtimes.options_of(runtimes.get(runtime), values)
    blocks = [finding for finding in fit.findings(model, runtime, values) if finding.level == Level.BLOCK]
    if blocks:
        raise Problem(
            blocks[0].code,
            " ".join(finding.message for finding in blocks),
            " ".join(finding.fix for finding in blocks if finding.fix),
        )
    return options.model_dump(mode="json", exclude_defaults=True)


def _state(deployment: Deployment) -> str:
    if deployment.status == Status.DEPLOYED and deployment.desired == Desired.STOPPED:
        return "still being undeployed"
    if deployment.status in IDLE:
        return f"{english(Status(deployment.status).label)}, but its engine is still ending"
    return english(Status(deployment.status).label)


def _refused(deployment: Deployment, verb: str) -> Problem:
    renew(deployment)
    rule = {
        "Deploy": "Deploy is for what is Ready to Deploy; Re-trigger for Failed or Stopped, Re-deploy for Deployed.",
        "Re-trigger": "Re-trigger is for what has Failed or is Stopped.",
        "Re-deploy": "Wait until it has settled, or undeploy it first.",
        "Accept": "Nothing of it waits for a decision.",
        "Reject": "Nothing of it waits for a decision.",
        "Undeploy": "It isn't deployed: there is nothing to undeploy.",
    }[verb]
    return Problem("wrong_status", f"{verb} isn't possible: {deployment.name} is {_state(deployment)}.", rule)


def _remove_records(replicas: Iterable[str]) -> None:
    launcher = launchers.default()
    for replica in replicas:
        launcher.remove(replica)


def live_replicas(deployment: Deployment) -> list[Replica]:
    """The replicas that run or are about to, oldest first."""
    return list(deployment.replicas.exclude(state=ReplicaState.ENDED))


def known_replicas(deployment: Deployment, *, ended: int) -> list[Replica]:
    """Every replica that runs or is about to, then so many of those that ended last; newest first."""
    rows = deployment.replicas.select_related("version").order_by("-created_at")
    return [*rows.exclude(state=ReplicaState.ENDED), *rows.filter(state=ReplicaState.ENDED)[:ended]]
