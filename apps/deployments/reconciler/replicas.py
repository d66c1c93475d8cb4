"""One step of one replica: look at its engine, and do the next thing."""

import logging
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from apps.deployments import transitions
from apps.deployments.gateway import inflight
from apps.deployments.models import Deployment, Replica, Version
from apps.deployments.reconciler import policy
from apps.deployments.reconciler.engines import Engines, key_mark
from apps.deployments.statuses import ReplicaState
from modelyard import changes
from modelyard.launchers import Launcher, Observation, ProcessState
from modelyard.runtimes import Failure

logger = logging.getLogger(__name__)
BROKEN_STEP = "Look at the worker's log; mend or upgrade the runtime's package, or the disk, then re-trigger."
LOST = Failure(
    "engine_lost",
    "The engine was killed together with its owner, so nobody saw how it ended.",
    "Nothing, if the host was restarted or its processes were killed; otherwise look at the system's log.",
)
GONE = frozenset({ProcessState.EXITED, ProcessState.ABSENT})


class ReplicaStep:
    """Moves one replica of the wanted version on. `failure` is set when it can't be brought up."""

    def __init__(self, replica: Replica, engines: Engines, now: datetime) -> None:
        self.replica = replica
        self.engines = engines
        self.deployment: Deployment = engines.deployment
        self.now = now
        self.failure: Failure | None = None

    def run(self) -> None:
        """One step. What the runtime or the launcher refuses becomes `failure`, never an exception."""
        try:
            self._step()
        except Failure as failure:
            self.failure = failure
        except Exception as error:
            logger.exception("a step of %s", self.replica.pk)
            self._count(Failure("runtime_error", f"{type(error).__name__}: {error}", BROKEN_STEP))

    def _count(self, failure: Failure) -> None:
        """What nobody foresaw counts as a death: it is tried again, and fails after the same number of times."""
        try:
            self._again(failure)
        except Failure as final:
            self.failure = final

    def _step(self) -> None:
        if self.replica.state == ReplicaState.WAITING:
            if self.replica.next_launch_at is None or self.replica.next_launch_at <= self.now:
                self._launch()
            return
        seen = self.engines.launcher.observe(self.replica.pk)
        if seen.number < self.replica.launches or seen.state == ProcessState.ABSENT:
            # Recorded but not started: the worker was killed between the two.
            self._in_time("its process did not come up")
            self.engines.start(self.replica)
            return
        if seen.state == ProcessState.EXITED:
            self._died(seen)
            return
        self._remember_memory(seen)
        if self.replica.state == ReplicaState.STARTING:
            self._await_ready()
        else:
            self._watch_health()

    def _launch(self) -> None:
        replica = self.replica
        replica.port = self.engines.pick_port()
        replica.launches, replica.key_mark = replica.launches + 1, key_mark()
        replica.state = ReplicaState.STARTING
        replica.launched_at, replica.ready_at, replica.probed_at = self.now, None, None
        replica.exit_code, replica.probe_failures, replica.next_launch_at = None, 0, None
        replica.save()
        # Written down first: a worker killed here leaves a launch that the next pass carries out.
        self.engines.start(replica)
        self._record("engine_started", f"The engine was started on port {replica.port} (start {replica.launches}).")

    def _await_ready(self) -> None:
        waited = policy.age(self.replica.launched_at, self.now)
        try:
            self.engines.probe(self.replica, policy.START_PROBE_TIMEOUT)
        except Failure as failure:
            if failure.permanent:
                raise
            self._in_time(failure.message)
            return
        self._save(state=ReplicaState.READY, ready_at=timezone.now(), probed_at=timezone.now(), probe_failures=0)
        changes.announce("deployment", self.deployment.pk)
        self._record("engine_ready", f"The engine answered a real request {waited:.0f} s after its start.")

    def _in_time(self, last: str) -> None:
        """Failure if the start has taken longer than it may."""
        limit = self.engines.ready_seconds
        if policy.age(self.replica.launched_at, self.now) > limit:
            raise Failure(
                "start_timeout",
                f"The engine was not ready within {limit:.0f} s. Last answer: {last}",
                "Look at the log's last lines; give it more time (start limit), then re-trigger.",
                permanent=True,
            )

    def _watch_health(self) -> None:
        if self.replica.crashes and policy.age(self.replica.ready_at, self.now) > policy.STABLE:
            self._save(crashes=0)
        if policy.age(self.replica.probed_at, self.now) < self._probe_interval():
            return
        before = self.engines.tokens(self.replica)
        try:
            self.engines.probe(self.replica, policy.HEALTH_PROBE_TIMEOUT)
        except Failure as failure:
            if not self._works(failure, before):
                self._probe_failed(failure)
                return
        if self.replica.state == ReplicaState.UNHEALTHY:
            self._record("engine_recovered", "The engine answers again.")
        self._set_health(ReplicaState.READY, 0)

    def _works(self, failure: Failure, before: float | None) -> bool:
        """Whether it lives although a probe failed: it refused for want of room, or its tokens went on meanwhile."""
        if failure.code != policy.TOO_SLOW or before is None:
            return failure.code == policy.BUSY
        after = self.engines.tokens(self.replica)
        return after is not None and after > before

    def _probe_interval(self) -> float:
        return policy.PASS if self.replica.probe_failures else policy.PROBE_EVERY

    def _probe_failed(self, failure: Failure) -> None:
        failures = self.replica.probe_failures + 1
        if failures >= policy.HUNG_AFTER:
            self.engines.launcher.stop(self.replica.pk, now=True)
            self._record("engine_hung", f"The engine stopped answering and was ended: {failure.message}")
            self._again(Failure("engine_hung", f"The engine stopped answering: {failure.message}", failure.next_step))
            return
        if failures == policy.UNHEALTHY_AFTER:
            self._record("engine_unhealthy", f"The engine doesn't answer: {failure.message}")
        self._set_health(ReplicaState.UNHEALTHY if failures >= policy.UNHEALTHY_AFTER else self.replica.state, failures)

    def _set_health(self, state: str, failures: int) -> None:
        changed = state != self.replica.state
        self._save(state=state, probe_failures=failures, probed_at=timezone.now())
        if changed:
            changes.announce("deployment", self.deployment.pk)

    def _died(self, seen: Observation) -> None:
        if seen.requested:
            # Ended by us while it was still wanted: Modelyard itself was shut down. No crash.
            self._save(state=ReplicaState.WAITING, next_launch_at=self.now, exit_code=seen.exit_code)
            changes.announce("deployment", self.deployment.pk)
            self._record("engine_resumed", "The engine had been stopped with Modelyard and is started again.")
            return
        self.replica.exit_code = seen.exit_code
        if seen.lost:
            self._again(LOST)
            return
        self._again(self.engines.death(self.replica, seen.exit_code))

    def _again(self, failure: Failure) -> None:
        replica = self.replica
        was_ready = replica.ready_at is not None
        replica.restarts += 1
        replica.crashes += 1
        limit = policy.MAX_CRASHES if was_ready else policy.MAX_START_CRASHES
        # What had served may serve again: a peak says nothing about the next start, which fails at once if it can't.
        hopeless = failure.permanent and not was_ready
        if hopeless or replica.crashes >= limit:
            replica.save()
            raise failure if hopeless else self._final(failure, was_ready)
        delay = policy.backoff(replica.crashes)
        replica.state = ReplicaState.WAITING
        replica.next_launch_at = policy.after(self.now, delay)
        replica.save()
        changes.announce("deployment", self.deployment.pk)
        when = f"in {delay:.0f} s" if delay else "now"
        transitions.record(
            self.deployment,
            "engine_died",
            f"{failure.message} It is started again {when} (restart {replica.restarts}).",
            next_step=failure.next_step,
            detail=self._evidence(failure),
        )

    def _final(self, failure: Failure, was_ready: bool) -> Failure:
        code = "crash_loop" if was_ready else failure.code
        message = f"The engine died {self.replica.crashes} times in a row: {failure.message}"
        return Failure(code, message, failure.next_step)

    def _evidence(self, failure: Failure) -> dict[str, object]:
        return {
            "cause": failure.code,
            "exit_code": self.replica.exit_code,
            "replica": self.replica.pk,
            "log": self.engines.log_tail(self.replica, 40),
        }

    def _remember_memory(self, seen: Observation) -> None:
        if not seen.memory:
            return
        peak = max(seen.memory, seen.peak_memory or 0, self.replica.peak_memory or 0)
        self._save(memory=seen.memory, peak_memory=peak)
        # Kept with the version, so that it can be held against the estimate when the engine is long gone.
        Version.objects.filter(Q(peak_memory=None) | Q(peak_memory__lt=peak), pk=self.replica.version_id).update(
            peak_memory=peak
        )

    def _save(self, **fields: object) -> None:
        for name, value in fields.items():
            setattr(self.replica, name, value)
        self.replica.save(update_fields=list(fields))

    def _record(self, code: str, message: str) -> None:
        transitions.record(self.deployment, code, message, detail={"replica": self.replica.pk})


def drain(replica: Replica, launcher: Launcher, now: datetime, *, at_once: bool = False) -> bool:
    """Bring a replica to its end: no new requests, running ones finish, then the engine ends. True once it has."""
    if replica.state != ReplicaState.DRAINING:
        replica.state, replica.draining_at = ReplicaState.DRAINING, now
        replica.save(update_fields=["state", "draining_at"])
        changes.announce("deployment", replica.deployment_id)
    seen = launcher.observe(replica.pk)
    if seen.state == ProcessState.ABSENT and replica.launches:
        launcher.stop(replica.pk, now=True)  # a start that is only just coming up must not outlive this
    if seen.state in GONE:
        replica.state, replica.ended_at, replica.exit_code = ReplicaState.ENDED, timezone.now(), seen.exit_code
        replica.save(update_fields=["state", "ended_at", "exit_code"])
        return True
    if at_once or replica.ready_at is None or _drained(replica, now):
        launcher.stop(replica.pk)
    return False


def _drained(replica: Replica, now: datetime) -> bool:
    waited = policy.age(replica.draining_at, now)
    if waited < policy.DRAIN_AT_LEAST:
        return False
    return waited > policy.DRAIN_AT_MOST or inflight.total(replica.pk) == 0
