"""One pass over one deployment: observe, compare with what is wanted, do the next step, write down what is so."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.deployments import transitions
from apps.deployments.models import Deployment, Proof, Replica, Version
from apps.deployments.reconciler import lease, policy
from apps.deployments.reconciler.engines import Engines
from apps.deployments.reconciler.optimizing import OptimizationStep, clean_up
from apps.deployments.reconciler.replicas import ReplicaStep, drain
from apps.deployments.statuses import UNFINISHED, WORKING, Desired, Outcome, ReplicaState, Role, Status
from modelyard import launchers
from modelyard.launchers import ProcessState
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
        target, live = self.deployment.target_version, self.deployment.live_version
        with transaction.atomic():
            if not self._move(Status.STOPPED, "stopped", "All engines have ended; nothing runs.", live_version=None):
                return
            if target and target.outcome in UNFINISHED:
                self._close(target, Outcome.CANCELLED, "Undeployed before it was ready.")
            if live:
                Version.objects.filter(pk=live.pk).update(ended_at=self.now)
        if target and target.recipe:
            clean_up(target)

    def _move(self, to: Status, code: str, message: str, **more: Any) -> bool:
        """A change of status that holds only if nobody has asked for anything since this pass looked."""
        return transitions.move(
            self.deployment, to, seen_generation=self.deployment.generation, code=code, message=message, **more
        )

    def _converge(self) -> None:
        version = self.deployment.target_version
        if version is None or self.deployment.status in {Status.FAILED, Status.READY_TO_DEPLOY, Status.STOPPED}:
            return
        if self.deployment.status == Status.OPTIMIZING:
            self._optimize(version)
            return
        engines = Engines(self.deployment, version, self.launcher)
        mine = [
            r
            for r in self.replicas
            if r.version_id == version.pk and r.role == Role.SERVING and r.state != ReplicaState.DRAINING
        ]
        if not mine and self._waits_for_old_engines():
            return
        mine += self._missing(version, {replica.ordinal for replica in mine})
        for replica in mine:
            if not lease.renew(self.deployment):
                return
            step = ReplicaStep(replica, engines, self.now)
            step.run()
            if step.failure and not self._spared(replica, step.failure, mine):
                self._failed(version, replica, step.failure, engines)
                return
        if self._keep_serving(version):
            self._settle(version, mine)

    def _waits_for_old_engines(self) -> bool:
        """Where nothing serves, an engine that still ends has to be gone: the next one needs its memory."""
        if self.deployment.live_version is not None:
            return False
        old = [replica for replica in self.replicas if replica.state == ReplicaState.DRAINING]
        for replica in old:
            drain(replica, self.launcher, self.now, at_once=True)
        return bool(old)

    def _optimize(self, version: Version) -> None:
        """The artifact and its proof; what serves meanwhile goes on serving."""
        if not lease.renew(self.deployment):
            return
        step = OptimizationStep(self.deployment, version, self.launcher, self.now)
        step.run()
        if not self._keep_serving(version):
            return
        if step.failure:
            self._failed(version, step.replica, step.failure, Engines(self.deployment, version, self.launcher))
            clean_up(version)
        elif step.proof:
            self._decide(version, step.proof)

    def _decide(self, version: Version, proof: Proof) -> None:
        score = f"{proof.agreement:.4f} against {version.threshold:.4f}"
        live = self.deployment.live_version
        with transaction.atomic():
            if proof.holds:
                message = f"The optimized model agrees with the original: {score}."
                if self._move(Status.DEPLOYING, "proof_passed", message):
                    Version.objects.filter(pk=version.pk).update(outcome=Outcome.DEPLOYING)
                return
            message = (
                f"The optimized model agrees too little with the original: {score}. {version} waits for a decision."
            )
            step = "Look at the report, then accept or reject the optimization."
            more: dict[str, Any] = {"desired": Desired.STOPPED} if live is None else {"target_version": live}
            to = Status.READY_TO_DEPLOY if live is None else Status.DEPLOYED
            if self._move(to, "proof_undecided", message, next_step=step, **more):
                Version.objects.filter(pk=version.pk).update(outcome=Outcome.UNDECIDED, reason=message)

    def _spared(self, replica: Replica, failure: Failure, mine: list[Replica]) -> bool:
        """One bad engine doesn't take down the others that serve: it is ended, and tried again much later."""
        live = self.deployment.live_version
        others = [each for each in mine if each.pk != replica.pk and each.state == ReplicaState.READY]
        if not others or live is None or live.pk != replica.version_id:
            return False
        self.launcher.stop(replica.pk, now=True)
        replica.state, replica.crashes = ReplicaState.WAITING, 0
        replica.next_launch_at = policy.after(self.now, policy.SPARED)
        replica.save(update_fields=["state", "crashes", "next_launch_at"])
        transitions.record(
            self.deployment,
            "engine_given_up",
            f"One of {len(mine)} engines can't be brought up ({failure.message}) The others go on serving; "
            f"it is tried again in {policy.SPARED / 60:.0f} minutes.",
            next_step=failure.next_step,
            detail={"cause": failure.code, "replica": replica.pk},
        )
        return True

    def _keep_serving(self, target: Version) -> bool:
        """While the next version comes up, the one that serves is watched and brought back as ever.

        False when the lease was lost: this pass does nothing more.
        """
        live = self.deployment.live_version
        if live is None or live.pk == target.pk:
            return True
        engines = Engines(self.deployment, live, self.launcher)
        for replica in self.replicas:
            if replica.version_id == live.pk and replica.state != ReplicaState.DRAINING:
                if not lease.renew(self.deployment):
                    return False
                step = ReplicaStep(replica, engines, self.now)
                step.run()
                if step.failure:
                    drain(replica, self.launcher, self.now)
        return True

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
        live = self.deployment.live_version
        for replica in leaving:
            if replica.state == ReplicaState.DRAINING or live is None or replica.version_id != live.pk:
                drain(replica, self.launcher, self.now)
        if not ready and self.deployment.status == Status.DEPLOYED:
            self._recover()

    def _recover(self) -> None:
        self._move(Status.DEPLOYING, "recovering", "No engine answers at the moment; it is being brought back.")

    def _ready(self, version: Version) -> None:
        took = policy.age(version.started_at, self.now)
        first = version.outcome != Outcome.SUCCEEDED
        previous = self.deployment.live_version
        message = f"{version} is deployed and answers" + (f" ({took:.0f} s)." if first else " again.")
        with transaction.atomic():
            if self._move(Status.DEPLOYED, "deployed", message, live_version=version) and first:
                Version.objects.filter(pk=version.pk).update(outcome=Outcome.SUCCEEDED, ready_at=self.now)
                if previous and previous.pk != version.pk:
                    Version.objects.filter(pk=previous.pk).update(ended_at=self.now)

    def _failed(self, version: Version, replica: Replica | None, failure: Failure, engines: Engines) -> None:
        detail: dict[str, object] = {}
        if replica:
            log = engines.log_tail(replica, 60)
            detail = {"replica": replica.pk, "exit_code": replica.exit_code, "log": log}
        with transaction.atomic():
            if self._roll_back(version, failure, detail):
                self._close(version, Outcome.FAILED, failure.message)
                return
            failed = self._move(
                Status.FAILED,
                failure.code,
                failure.message,
                next_step=failure.next_step,
                detail=detail,
                desired=Desired.STOPPED,
                live_version=None,
            )
            if not failed:
                return  # somebody has asked for something else meanwhile: the next pass sees to that
            # A version that had succeeded stays a success that ended: the reason says how.
            again = version.outcome == Outcome.SUCCEEDED
            self._close(version, Outcome.SUCCEEDED if again else Outcome.FAILED, failure.message)
        for each in {each.pk: each for each in [*self.replicas, *([replica] if replica else [])]}.values():
            drain(each, self.launcher, self.now, at_once=True)

    def _roll_back(self, version: Version, failure: Failure, detail: dict[str, object]) -> bool:
        live = self.deployment.live_version
        if live is None or live.pk == version.pk:
            return False
        left = [r for r in self.replicas if r.version_id == live.pk and r.state != ReplicaState.DRAINING]
        if not left:
            return False
        ready = [r for r in left if r.state == ReplicaState.READY]
        serves = any(self.launcher.observe(r.pk).state == ProcessState.RUNNING for r in ready)
        back = self._move(
            Status.DEPLOYED,
            "rolled_back",
            f"{version} failed ({failure.message}) {live} {'goes on serving' if serves else 'is being brought back'}.",
            next_step=failure.next_step,
            detail={**detail, "cause": failure.code},
            target_version=live,
        )
        if back and not serves:
            self._recover()  # in the same transaction: nobody sees it Deployed meanwhile
        return back

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
        if self.deployment.status == Status.OPTIMIZING and self.deployment.desired == Desired.RUNNING:
            return self.deployment.stage
        if self.deployment.desired == Desired.STOPPED:
            return "Draining" if states and self.deployment.status not in {Status.FAILED, Status.STOPPED} else ""
        if ReplicaState.STARTING in states:
            return "Starting the engine"
        if ReplicaState.WAITING in states:
            return "Waiting to start the engine again"
        if ReplicaState.DRAINING not in states:
            return ""
        return "Draining the old version" if self.deployment.live_version_id else "Waiting for the old engine to end"
