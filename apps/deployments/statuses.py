"""The states of deployments, versions and replicas, and which may follow which."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Status(models.TextChoices):
    """What a deployment is doing, in the words people see.

    (create) -> READY_TO_DEPLOY
    READY_TO_DEPLOY -> OPTIMIZING, DEPLOYING
    OPTIMIZING -> READY_TO_DEPLOY, DEPLOYING, DEPLOYED, FAILED, STOPPED
    DEPLOYING -> DEPLOYED, FAILED, STOPPED
    DEPLOYED -> OPTIMIZING, DEPLOYING, FAILED, STOPPED
    FAILED -> OPTIMIZING, DEPLOYING, STOPPED
    STOPPED -> OPTIMIZING, DEPLOYING
    """

    READY_TO_DEPLOY = "ready_to_deploy", _("Ready to Deploy")
    OPTIMIZING = "optimizing", _("Optimizing")
    DEPLOYING = "deploying", _("Deploying")
    DEPLOYED = "deployed", _("Deployed")
    FAILED = "failed", _("Failed")
    STOPPED = "stopped", _("Stopped")


WORKING = frozenset({Status.OPTIMIZING, Status.DEPLOYING})
"""Statuses that need a heartbeat: something is being done."""

RETRIGGERABLE = frozenset({Status.FAILED, Status.STOPPED})
"""Statuses from which a person may re-trigger."""

IDLE = frozenset({Status.READY_TO_DEPLOY, Status.FAILED, Status.STOPPED})
"""Statuses in which no engine runs, so that a deployment may be deleted."""

FOLLOWS: dict[Status, frozenset[Status]] = {
    Status.READY_TO_DEPLOY: frozenset({Status.OPTIMIZING, Status.DEPLOYING}),
    Status.OPTIMIZING: frozenset(
        {Status.READY_TO_DEPLOY, Status.DEPLOYING, Status.DEPLOYED, Status.FAILED, Status.STOPPED}
    ),
    Status.DEPLOYING: frozenset({Status.DEPLOYED, Status.FAILED, Status.STOPPED}),
    Status.DEPLOYED: frozenset({Status.OPTIMIZING, Status.DEPLOYING, Status.FAILED, Status.STOPPED}),
    Status.FAILED: frozenset({Status.OPTIMIZING, Status.DEPLOYING, Status.STOPPED}),
    Status.STOPPED: frozenset({Status.OPTIMIZING, Status.DEPLOYING}),
}


class Desired(models.TextChoices):
    """What people want of a deployment."""

    RUNNING = "running", _("Running")
    STOPPED = "stopped", _("Stopped")


class Outcome(models.TextChoices):
    """How the deployment of a version ended."""

    PENDING = "pending", _("Not deployed yet")
    OPTIMIZING = "optimizing", _("Optimizing")
    UNDECIDED = "undecided", _("Waits for accept or reject")
    REJECTED = "rejected", _("Rejected")
    DEPLOYING = "deploying", _("Deploying")
    SUCCEEDED = "succeeded", _("Success")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


UNFINISHED = frozenset({Outcome.OPTIMIZING, Outcome.DEPLOYING})
"""Outcomes of a version that something is being done for."""


class Role(models.TextChoices):
    """What a process of a deployment is for."""

    SERVING = "serving", _("Serves")
    OPTIMIZING = "optimizing", _("Runs the recipe")
    ORIGINAL = "original", _("Proof: the original")
    OPTIMIZED = "optimized", _("Proof: optimized")


class ReplicaState(models.TextChoices):
    """What one engine is doing.

    WAITING -> STARTING -> READY <-> UNHEALTHY; any of these -> WAITING (died, to be launched again);
    any -> DRAINING (finishing what it has) -> ENDED. Ended ones are kept for their logs, the newest few.
    """

    WAITING = "waiting", _("Waiting to start")

    STARTING = "starting", _("Starting")
    READY = "ready", _("Ready")
    UNHEALTHY = "unhealthy", _("Not answering")
    DRAINING = "draining", _("Draining")
    ENDED = "ended", _("Ended")
