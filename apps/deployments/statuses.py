"""The states of deployments, versions and replicas, and which may follow which."""

from django.db import models


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

    READY_TO_DEPLOY = "ready_to_deploy", "Ready to Deploy"
    OPTIMIZING = "optimizing", "Optimizing"
    DEPLOYING = "deploying", "Deploying"
    DEPLOYED = "deployed", "Deployed"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


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

    RUNNING = "running", "Running"
    STOPPED = "stopped", "Stopped"


class Outcome(models.TextChoices):
    """How the deployment of a version ended."""

    PENDING = "pending", "Not deployed yet"
    OPTIMIZING = "optimizing", "Optimizing"
    UNDECIDED = "undecided", "Waits for accept or reject"
    REJECTED = "rejected", "Rejected"
    DEPLOYING = "deploying", "Deploying"
    SUCCEEDED = "succeeded", "Success"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


UNFINISHED = frozenset({Outcome.OPTIMIZING, Outcome.DEPLOYING})
"""Outcomes of a version that something is being done for."""


class Role(models.TextChoices):
    """What a process of a deployment is for."""

    SERVING = "serving", "Serves"
    OPTIMIZING = "optimizing", "Runs the recipe"
    ORIGINAL = "original", "Proof: the original"
    OPTIMIZED = "optimized", "Proof: optimized"


class ReplicaState(models.TextChoices):
    """What one engine is doing.

    WAITING -> STARTING -> READY <-> UNHEALTHY; any of these -> WAITING (died, to be launched again);
    any -> DRAINING (finishing what it has) -> ENDED. Ended ones are kept for their logs, the newest few.
    """

    WAITING = "waiting", "Waiting to start"

    STARTING = "starting", "Starting"
    READY = "ready", "Ready"
    UNHEALTHY = "unhealthy", "Not answering"
    DRAINING = "draining", "Draining"
    ENDED = "ended", "Ended"
