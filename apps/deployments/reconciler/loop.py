"""One pass over one deployment: observe, compare with what is wanted, do the next step, write down what is so."""

from datetime import datetime

from django.utils import timezone

from apps.deployments import transitions
from apps.deployments.models import Deployment, Replica, Version
from apps.deployments.reconciler import lease, policy
from apps.deployments.reconciler.engines import Engines
from apps.deployments.reconciler.replicas import ReplicaStep, drain
from apps.deployments.statuses import WORKING, Desired, Outcome, ReplicaState, Status
from modelyard import launchers
from modelyard.runtimes import Failure


def reconcile(deployment_id: str) -> float | None:
    """One pass. Seconds until the next one is wanted; None when settled, or when somebody else is at it."""
    with lease.hold(deployment_id) as deployment:
        if deployment is None:
            return None
        return Pass(deployment).run()


class Pass:
    """One look at a deployment and the next step for it. Safe to be killed anywhere: the next pass goes on."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.launcher = launchers.default()
        self.now: datetime = timezone.now()
        self.replicas = list(
            deployment.replicas.exclude(state=ReplicaState.ENDED).select_related("version").order_by("created_at")
        )

    def run(self) -> float | None:
        """One pass; seconds until the next one is wanted."""
        if self.deployment.desired == Desired.STOPPED:
            self._stop()
        else:
            self._converge()
        self._forget_old_replicas()
        return self._beat()

    def _stop(self) -> None:
        failed = self.deployment.status == Status.FAILED
        ended = [drain(replica, self.launcher, self.now, at_once=failed) for replica in self.replicas]
        if not all(ended) or self.deployment.status not in {*WORKING, Status.DEPLOYED}:
            return
        target = self.deployment.target_version
        if target and target.outcome == Outcome.DEPLOYING:
            self._close(target, Outcome.CANCELLED, "Undeployed before it was ready.")
        elif self.deployment.live_version:
            Version.objects.filter(pk=self.deployment.live_version.pk).update(ended_at=self.now)
        transitions.move(
            self.deployment,
            Status.STOPPED,
            code="stopped",
            message="All engines have ended; nothing runs.",
            live_version=None,
        )

    def _converge(self) -> None:
        version = self.deployment.target_version
        if version is None or self.deployment.status in {Status.FAILED, Status.READY_TO_DEPLOY, Status.STOPPED}:
            return
        engines = Engines(self.deployment, version, self.launcher)
        mine = [r for r in self.replicas if r.version_id == version.pk and r.state != ReplicaState.DRAINING]
        mine += self._missing(version, {replica.ordinal for replica in mine})
        for replica in mine:
            if not lease.renew(self.deployment):
                return
            step = ReplicaStep(replica, engines, self.now)
            step.run()
            if step.failure:
                self._failed(version, replica, step.failure, engines)
                return
        self._settle(version, mine)

    def _missing(self, version: Version, present: set[int]) -> list[Replica]:
        wanted = set(range(version.replicas_wanted)) - present
        return [
            Replica.objects.create(deployment=self.deployment, version=version, ordinal=ordinal)
            for ordinal in sorted(wanted)
        ]

    def _settle(self, version: Version, mine: list[Replica]) -> None:
        ready = [replica for replica in mine if replica.state == ReplicaState.READY]
        leaving = [replica for replica in self.replicas if replica not in mine]
        if len(ready) == len(mine):
            if self.deployment.status == Status.DEPLOYING:
                self._ready(version)
            for replica in leaving:
                drain(replica, self.launcher, self.now)
            return
        for replica in leaving:
            if replica.state == ReplicaState.DRAINING:
                drain(replica, self.launcher, self.now)
        if not ready and self.deployment.status == Status.DEPLOYED:
            transitions.move(
                self.deployment,
                Status.DEPLOYING,
                code="recovering",
                message="No engine answers at the moment; it is being brought back.",
            )

    def _ready(self, version: Version) -> None:
        took = policy.age(version.started_at, self.now)
        first = version.outcome != Outcome.SUCCEEDED
        previous = self.deployment.live_version
        message = f"{version} is deployed and answers" + (f" ({took:.0f} s)." if first else " again.")
        moved = transitions.move(
            self.deployment, Status.DEPLOYED, code="deployed", message=message, live_version=version
        )
        if moved and first:
            Version.objects.filter(pk=version.pk).update(outcome=Outcome.SUCCEEDED, ready_at=self.now)
            if previous and previous.pk != version.pk:
                Version.objects.filter(pk=previous.pk).update(ended_at=self.now)

    def _failed(self, version: Version, replica: Replica, failure: Failure, engines: Engines) -> None:
        detail: dict[str, object] = {
            "replica": replica.pk,
            "exit_code": replica.exit_code,
            "log": engines.log_tail(replica, 60),
        }
        self._close(version, Outcome.FAILED, failure.message)
        if self._roll_back(version, failure, detail):
            return
        transitions.move(
            self.deployment,
            Status.FAILED,
            code=failure.code,
            message=failure.message,
            next_step=failure.next_step,
            detail=detail,
            desired=Desired.STOPPED,
            live_version=None,
        )
        for each in self.replicas:
            drain(each, self.launcher, self.now, at_once=True)
        drain(replica, self.launcher, self.now, at_once=True)

    def _roll_back(self, version: Version, failure: Failure, detail: dict[str, object]) -> bool:
        live = self.deployment.live_version
        if live is None or live.pk == version.pk:
            return False
        if not any(r.version_id == live.pk and r.state == ReplicaState.READY for r in self.replicas):
            return False
        return transitions.move(
            self.deployment,
            Status.DEPLOYED,
            code="rolled_back",
            message=f"{version} failed ({failure.message}) {live} goes on serving.",
            next_step=failure.next_step,
            detail={**detail, "cause": failure.code},
            target_version=live,
        )

    def _close(self, version: Version, outcome: Outcome, reason: str) -> None:
        Version.objects.filter(pk=version.pk).update(outcome=outcome, reason=reason, ended_at=self.now)

    def _forget_old_replicas(self) -> None:
        ended = self.deployment.replicas.filter(state=ReplicaState.ENDED).order_by("-created_at")
        for replica in ended[policy.KEPT_REPLICAS :]:
            self.launcher.remove(replica.pk)
            replica.delete()

    def _beat(self) -> float | None:
        """Write the heartbeat, and say when to look again."""
        self.deployment.refresh_from_db()
        moving = self.deployment.replicas.exclude(state__in=[ReplicaState.ENDED, ReplicaState.READY])
        states = list(moving.values_list("state", "next_launch_at"))
        stage = self._stage([state for state, _ in states])
        Deployment.objects.filter(pk=self.deployment.pk).update(
            heartbeat_at=timezone.now(), stalled_at=None, stage=stage
        )
        unfinished = bool(states) or self.deployment.status in WORKING
        return policy.PASS if unfinished else None

    def _stage(self, states: list[str]) -> str:
        if self.deployment.desired == Desired.STOPPED:
            return "Draining" if states and self.deployment.status not in {Status.FAILED, Status.STOPPED} else ""
        if ReplicaState.STARTING in states:
            return "Starting the engine"
        if ReplicaState.WAITING in states:
            return "Waiting to start the engine again"
        return "Draining the old version" if ReplicaState.DRAINING in states else ""
