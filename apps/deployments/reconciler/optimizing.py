"""One step of Optimizing: make the artifact, measure the original and the optimized model, compare."""

import contextlib
import logging
import re
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from apps.deployments import runtimes, transitions
from apps.deployments.models import Artifact, Deployment, Proof, Replica, Version
from apps.deployments.optimization import artifacts, report, samples
from apps.deployments.optimization.agreement import Unreadable, compare
from apps.deployments.optimization.trial import Client, Trial, advance
from apps.deployments.reconciler import lease, policy
from apps.deployments.reconciler.engines import Engines, key_mark
from apps.deployments.reconciler.replicas import BROKEN_STEP
from apps.deployments.statuses import ReplicaState, Role
from modelyard import changes
from modelyard.language import english
from modelyard.launchers import Launch, Launcher, Observation, ProcessState
from modelyard.launchers.host import this_host
from modelyard.problems import Problem
from modelyard.runtimes import PROGRESS, Failure, Model, OptimizeContext, Recipe, SampleRequest

logger = logging.getLogger(__name__)
STARTS = 3  # of one process, when nobody saw how it ended
HELD = 1.0  # seconds between two renewals of the lease
READY_POLL = 0.1
SLICE = 5.0  # seconds of measuring in one pass
PROGRESS_LINE = re.compile(rf"^{PROGRESS} (\d{{1,3}}) (.{{1,100}})$")


class OptimizationStep:
    """Moves a version's optimization on. Sets `proof` at its end; `failure` and its `replica` when it can't go on."""

    def __init__(self, deployment: Deployment, version: Version, launcher: Launcher, now: datetime) -> None:
        self.deployment = deployment
        self.version = version
        self.launcher = launcher
        self.now = now
        self.replica: Replica | None = None
        self.failure: Failure | None = None
        self.proof: Proof | None = None
        self.held_at = float("-inf")

    def run(self) -> None:
        """One step. What goes wrong becomes `failure`, but for a database that is away: the next pass goes on."""
        try:
            self._step()
        except Failure as failure:
            self.failure = failure
        except lease.Lost:
            return
        except (OperationalError, InterfaceError):
            raise
        except Problem as problem:
            self.failure = Failure(problem.code, problem.message, problem.next_step, permanent=True)
        except (OSError, Unreadable) as error:
            self.failure = Failure(
                "optimization_failed",
                f"The optimization failed: {error}. The model is as it was.",
                "Look at the worker's log and the disk, then re-trigger.",
            )
        except Exception as error:
            logger.exception("a step of the optimization of %s", self.deployment.pk)
            self.failure = Failure("runtime_error", f"{type(error).__name__}: {error}", BROKEN_STEP)

    def _step(self) -> None:
        recipe = self._recipe()
        artifact = self.version.artifact
        if recipe.artifact and (artifact is None or not artifacts.intact(artifact)) and not self._make(recipe):
            return
        if self._proved_before():
            return
        original = self._measure(Role.ORIGINAL)
        if original is None:
            return
        optimized = self._measure(Role.OPTIMIZED)
        if optimized is not None:
            self._compare(recipe, original, optimized)

    def _recipe(self) -> Recipe:
        engines = self._engines(Role.ORIGINAL)
        offered = engines.runtime.recipes(engines.model, engines.options, this_host())
        found = next((recipe for recipe in offered if recipe.name == self.version.recipe), None)
        if found is None:
            names = ", ".join(recipe.name for recipe in offered) or "none"
            raise Failure(
                "no_such_recipe",
                f"{self.deployment.runtime} doesn't offer the optimization {self.version.recipe!r} for this model.",
                f"It offers: {names}. Re-deploy with one of these, or without.",
                permanent=True,
            )
        return found

    def _engines(self, role: str) -> Engines:
        return Engines(self.deployment, self.version, self.launcher, original=role != Role.OPTIMIZED)

    # --- the artifact -------------------------------------------------------------------------------------------------

    def _make(self, recipe: Recipe) -> bool:
        """True once there is an artifact."""
        engines = self._engines(Role.OPTIMIZING)
        entry = runtimes.registry()[self.deployment.runtime]
        wanted = artifacts.key(engines.model, entry.name, f"{entry.distribution} {entry.version}", recipe)
        replica = self._existing(Role.OPTIMIZING)
        if replica is None and (found := artifacts.find(wanted)):
            self._use(found, f"The artifact of an earlier run of {recipe.title} is used again: {found.pk}.")
            return True
        replica = replica or self._new(Role.OPTIMIZING)
        seen = self._running(replica, engines, recipe)
        if seen is None:
            self._show_progress(replica)
            return False
        output = artifacts.output(replica)
        made = artifacts.adopt(
            output, wanted, self._hold_on,
            model_id=engines.model.id, runtime=self.deployment.runtime, recipe=recipe.name,
        )  # fmt: skip
        self._end(replica, seen)
        took = policy.age(replica.launched_at, timezone.now())
        self._use(made, f"{recipe.title} took {took:.0f} s and made {made.size / 2**20:.1f} MiB: {made.pk}.")
        return True

    def _use(self, artifact: Artifact, message: str) -> None:
        self.version.artifact = artifact
        self.version.save(update_fields=["artifact"])
        self._record("artifact_ready", message)

    def _running(self, replica: Replica, engines: Engines, recipe: Recipe) -> Observation | None:
        """Keep the recipe's process going; what was seen at its good end, None until then."""
        self.replica = replica
        seen = self.launcher.observe(replica.pk)
        if seen.state == ProcessState.ABSENT or seen.number < replica.launches or not replica.launches:
            if not replica.launches:
                self._launched(replica, "optimizing", f"{recipe.title} was started.")
            context = OptimizeContext(
                engines.model, recipe, artifacts.fresh_output(replica, engines.model), self.launcher.workdir(replica.pk)
            )
            command = engines.runtime.optimize(context)
            argv, env = list(command.argv), dict(command.env)
            self.launcher.start(Launch(replica.pk, replica.launches, argv, env, command.stop_seconds))
            return None
        self._remember(replica, seen)
        if seen.state != ProcessState.EXITED:
            self._in_time(replica)
            return None
        if seen.exit_code == 0 and not seen.lost and not seen.requested:
            return seen
        replica.exit_code = seen.exit_code
        if (seen.lost or seen.requested) and replica.launches < STARTS:
            self._launched(replica, "optimizing", "It is started again: nobody saw how it ended.")
            return None
        raise self._explained(engines.death(replica, seen.exit_code))

    def _explained(self, failure: Failure) -> Failure:
        message = f"{failure.message} The model is as it was."
        return Failure(failure.code, message, failure.next_step, permanent=failure.permanent)

    def _in_time(self, replica: Replica) -> None:
        if policy.age(replica.launched_at, self.now) > policy.RECIPE_AT_MOST:
            raise Failure(
                "optimization_timeout",
                f"The recipe did not end within {policy.RECIPE_AT_MOST / 3600:.0f} hours. The model is as it was.",
                "Look at the log's last lines; try a smaller model or another recipe.",
                permanent=True,
            )

    def _show_progress(self, replica: Replica) -> None:
        found = [PROGRESS_LINE.match(line) for line in self.launcher.log_tail(replica.pk, 30)]
        newest = next((match for match in reversed(found) if match), None)
        stage = "Optimizing"
        if newest:
            percent, what = min(int(newest[1]), 100), newest[2].strip()
            stage = f"Optimizing: {what} ({percent} %)"
            if stage != self.deployment.stage:
                self._record("optimizing_progress", what, progress=percent)
        self._stage(stage)

    # --- the two sides of the proof -----------------------------------------------------------------------------------

    def _measure(self, role: Role) -> Trial | None:
        """One side: start its engine, measure a slice; the trial once it is complete and the engine has ended."""
        path = trial_path(self.version, role)
        replica = self._existing(role)
        if replica is None:
            finished = Trial.of(path, self._last_launch(role))
            if finished.done:
                return finished
            replica = self._new(role)
        self.replica = replica
        engines = self._engines(role)
        trial = Trial.of(path, launch_of(replica))
        if not trial.done:
            self._go_on(replica, engines, trial, path)
            return None
        seen = self.launcher.observe(replica.pk)
        if seen.state == ProcessState.RUNNING:
            self.launcher.stop(replica.pk)
            return None
        self._end(replica, seen)
        return trial

    def _go_on(self, replica: Replica, engines: Engines, trial: Trial, path: Path) -> None:
        seen = self.launcher.observe(replica.pk)
        label = english(Role(replica.role).label)
        if not replica.launches:
            replica.port = engines.pick_port()
            self._launched(replica, "proof_started", f"{label}: an engine was started on port {replica.port}.")
            engines.start(replica)
            return
        if seen.state == ProcessState.ABSENT or seen.number < replica.launches:
            engines.start(replica)
            return
        if seen.state == ProcessState.EXITED:
            self._died(replica, engines, seen)
            return
        self._remember(replica, seen)
        until = time.monotonic() + SLICE
        if trial.load_seconds is None and not self._loaded(replica, engines, trial, until):
            self._stage(f"{label}: loading")
            return
        context = engines.context(replica)
        requests = self._requests()
        advance(trial, Client(context.base_url, context.secret), requests, until, self._hold_on,
                strict=replica.role == Role.ORIGINAL)  # fmt: skip
        self._remember(replica, self.launcher.observe(replica.pk))
        trial.peak_memory = replica.peak_memory or 0
        trial.keep(path)
        self._stage(f"{label}: {len(trial.latencies)} of {len(requests)} samples")

    def _loaded(self, replica: Replica, engines: Engines, trial: Trial, until: float) -> bool:
        waited = policy.age(replica.launched_at, timezone.now())
        if waited > engines.ready_seconds:
            raise Failure(
                "start_timeout",
                f"The engine for the proof was not ready within {engines.ready_seconds:.0f} s.",
                "Look at the log's last lines; give it more time (start limit), then re-trigger.",
                permanent=True,
            )
        while time.monotonic() < until:
            try:
                engines.probe(replica, policy.START_PROBE_TIMEOUT)
            except Failure as failure:
                if failure.permanent:
                    raise
                time.sleep(READY_POLL)
                if self.launcher.observe(replica.pk).state != ProcessState.RUNNING:
                    return False
                continue
            # Observed anew: what was seen before may be of a moment at which the engine hadn't been started yet.
            since = self.launcher.observe(replica.pk).started_at or replica.launched_at
            trial.load_seconds = policy.age(since, timezone.now())
            return True
        return False

    def _died(self, replica: Replica, engines: Engines, seen: Observation) -> None:
        replica.exit_code = seen.exit_code
        unseen = seen.lost or seen.requested
        failure = engines.death(replica, seen.exit_code)
        if replica.launches >= STARTS or (failure.permanent and not unseen):
            raise self._explained(failure)
        replica.port = engines.pick_port()
        why = "Nobody saw how it ended." if unseen else failure.message
        self._launched(replica, "proof_started", f"The engine of the proof is started again: {why}")
        engines.start(replica)

    def _requests(self) -> Sequence[SampleRequest]:
        # Both sides answer the same requests: those that suit the original.
        engines = self._engines(Role.ORIGINAL)
        own = samples.parse(self.version.samples)
        return samples.requests(engines.runtime, engines.model, engines.options, self.deployment.name, own)

    def _hold_on(self) -> None:
        """Renew the lease, once a second at most. Lost if it was, or if something else is asked for meanwhile."""
        if time.monotonic() - self.held_at < HELD:
            return
        wanted = Deployment.objects.filter(pk=self.deployment.pk, generation=self.deployment.generation)
        if not lease.renew(self.deployment, lease.LONGEST) or not wanted.exists():
            raise lease.Lost
        self.held_at = time.monotonic()

    # --- the verdict --------------------------------------------------------------------------------------------------

    def _proved_before(self) -> bool:
        """A proof of the same thing, made earlier or for an earlier version, holds for this one too."""
        self.proof = Proof.objects.filter(version=self.version).first()
        if self.proof:
            return True
        same = self.deployment.versions.exclude(pk=self.version.pk).filter(
            recipe=self.version.recipe, artifact=self.version.artifact, samples=self.version.samples,
            proof__isnull=False,
        )  # fmt: skip
        for earlier in same.select_related("proof"):
            mine = (self.version.options, self.version.recipe_options)
            if (earlier.options, earlier.recipe_options) == mine and earlier.proof.accepted is not False:
                passed = earlier.proof.agreement >= self.version.threshold
                kept = {**earlier.proof.report, "threshold": self.version.threshold, "passed": passed}
                self._prove(kept, earlier.proof)
                return True
        return False

    def _compare(self, recipe: Recipe, original: Trial, optimized: Trial) -> None:
        before = [answer for answer in original.outcomes() if answer is not None]
        made = report.build(
            report.side(original, _size(self._engines(Role.ORIGINAL).model)),
            report.side(optimized, _size(self._engines(Role.OPTIMIZED).model)),
            compare(before, optimized.outcomes()),
            self._requests(),
            threshold=self.version.threshold,
            own_samples=bool(self.version.samples),
            recipe=recipe.name,
            host=this_host(),
        )
        self._prove(made, None)
        clean_up(self.version)

    def _prove(self, made: dict[str, object], earlier: Proof | None) -> None:
        decided = earlier is not None and earlier.accepted is not None
        values = {
            "agreement": made["agreement"],
            "passed": made["passed"],
            "report": made,
            "accepted": earlier.accepted if earlier else None,
            "decided_by": earlier.decided_by if decided and earlier else None,
            "decided_at": earlier.decided_at if decided and earlier else None,
        }
        self.proof, _ = Proof.objects.update_or_create(version=self.version, defaults=values)

    # --- the processes ------------------------------------------------------------------------------------------------

    def _existing(self, role: str) -> Replica | None:
        live = self.version.replicas.filter(role=role).exclude(state=ReplicaState.ENDED)
        return live.order_by("created_at").first()

    def _last_launch(self, role: str) -> str:
        last = self.version.replicas.filter(role=role).order_by("-created_at").first()
        return launch_of(last) if last else ""

    def _new(self, role: Role) -> Replica:
        return Replica.objects.create(deployment=self.deployment, version=self.version, role=role)

    def _launched(self, replica: Replica, code: str, message: str) -> None:
        """Written down before the start: a worker killed between leaves a launch that the next pass carries out."""
        replica.launches, replica.key_mark = replica.launches + 1, key_mark()
        replica.state, replica.launched_at = ReplicaState.STARTING, timezone.now()
        replica.save()
        self._record(code, message, replica=replica.pk)

    def _end(self, replica: Replica, seen: Observation) -> None:
        replica.state, replica.ended_at, replica.exit_code = ReplicaState.ENDED, timezone.now(), seen.exit_code
        replica.save(update_fields=["state", "ended_at", "exit_code"])

    def _remember(self, replica: Replica, seen: Observation) -> None:
        most = max(seen.peak_memory or 0, seen.memory or 0, replica.peak_memory or 0)
        replica.memory, replica.peak_memory = seen.memory, most or None
        replica.save(update_fields=["memory", "peak_memory"])

    def _stage(self, stage: str) -> None:
        if stage != self.deployment.stage:
            self.deployment.stage = stage[:100]
            Deployment.objects.filter(pk=self.deployment.pk).update(stage=stage[:100])
            changes.announce("deployment", self.deployment.pk)

    def _record(self, code: str, message: str, *, progress: int | None = None, replica: str = "") -> None:
        detail: dict[str, object] = {"replica": replica} if replica else {}
        transitions.record(self.deployment, code, message, progress=progress, detail=detail)


def _size(model: Model) -> int:
    return sum(file.size for file in model.files)


def launch_of(replica: Replica) -> str:
    """Which start of which engine measurements belong to."""
    return f"{replica.pk}:{replica.launches}"


def trial_path(version: Version, role: str) -> Path:
    """Where a side's measurements are kept until they are compared."""
    return Path(settings.ARTIFACTS_DIR) / f"trial_{version.pk}_{role}.json"


def clean_up(version: Version) -> None:
    """Remove what only an unfinished optimization needs: unfinished artifacts and measurements."""
    for role in (Role.ORIGINAL, Role.OPTIMIZED):
        trial_path(version, role).unlink(missing_ok=True)
    for replica in version.replicas.filter(role=Role.OPTIMIZING):
        with contextlib.suppress(OSError):
            artifacts.discard(artifacts.output(replica))
