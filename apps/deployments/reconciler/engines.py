"""One engine through its runtime and its launcher: start it, ask it, end it."""

import hashlib
import hmac
import re
from functools import cached_property
from typing import Any

import httpx
from django.conf import settings

from apps.deployments import runtimes
from apps.deployments.masking import masked
from apps.deployments.models import Deployment, Replica, Version
from apps.deployments.reconciler import policy
from apps.deployments.statuses import ReplicaState
from modelyard.launchers import Launch, Launcher, NoFreePort
from modelyard.launchers.base import TAIL_LINES
from modelyard.problems import Problem
from modelyard.runtimes import Failure, LaunchContext, Model, Options, Runtime

HOST = "127.0.0.1"
SECRETS_KEPT = 200  # launches whose secrets are looked for in the log
START = re.compile(r"--- start \d{1,9}, ")
"""How the lines of a launch begin in a log."""


def engine_secret(replica: Replica) -> str:
    """The secret between the gateway and the newest launch of one engine: derived, so that it is stored nowhere.

    Of the installation's secret key as it was at the launch, while that is a fallback: engines outlive a change of it.
    """
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    key = next((key for key in keys if key_mark(key) == replica.key_mark), settings.SECRET_KEY)
    return _secret(key, replica.pk, replica.launches)


def key_mark(key: str | None = None) -> str:
    """Tells secret keys apart, and says nothing of them; of today's if none is named."""
    return hashlib.sha256(b"modelyard.engine.1:" + (key or settings.SECRET_KEY).encode()).hexdigest()[:8]


def secrets_of(replica: Replica) -> list[str]:
    """The secrets of a replica's newest launches, which its log may still hold."""
    newest = replica.launches
    return [
        _secret(key, replica.pk, number)
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        for number in range(max(newest - SECRETS_KEPT, 0), newest + 1)
    ]


def _secret(key: str, replica_id: str, launch: int) -> str:
    return hmac.new(key.encode(), f"engine:{replica_id}:{launch}".encode(), hashlib.sha256).hexdigest()


class Engines:
    """The engines of a version, as its runtime drives them; with `original`, without its optimization."""

    def __init__(self, deployment: Deployment, version: Version, launcher: Launcher, *, original: bool = False) -> None:
        self.original = original
        self.deployment = deployment
        self.version = version
        self.launcher = launcher

    @cached_property
    def runtime(self) -> Runtime[Any]:
        """The plugin. Failure (permanent) if it isn't there any more."""
        try:
            return runtimes.get(self.deployment.runtime)
        except Problem as problem:
            raise Failure(problem.code, problem.message, problem.next_step, permanent=True) from None

    @cached_property
    def options(self) -> Options:
        """The version's options. Failure (permanent) if an upgraded plugin doesn't take them any more."""
        try:
            return runtimes.options_for(self.runtime, self.version, original=self.original)
        except Problem as problem:
            raise Failure(problem.code, problem.message, problem.next_step, permanent=True) from None

    @property
    def model(self) -> Model:
        """The model as imported, or what the version's recipe made of it."""
        artifact = None if self.original else self.version.artifact
        return runtimes.model_for(self.deployment.model, self.version.model_revision, artifact)

    @property
    def ready_seconds(self) -> float:
        """How long a start may take."""
        return float(self.version.ready_seconds or self.runtime.ready_seconds)

    def context(self, replica: Replica) -> LaunchContext[Any]:
        """What the runtime is told about the replica's current launch."""
        return LaunchContext(
            model=self.model,
            options=self.options,
            host=HOST,
            port=replica.port,
            secret=engine_secret(replica),
            workdir=self.launcher.workdir(replica.pk),
            served_name=self.deployment.name,
        )

    def pick_port(self) -> int:
        """A free port that no other replica was given. Failure if there is none."""
        live = Replica.objects.exclude(state=ReplicaState.ENDED)
        try:
            return self.launcher.pick_port(frozenset(live.values_list("port", flat=True)))
        except NoFreePort as error:
            raise Failure(
                "no_free_port",
                f"No free port for the engine: {error}",
                "End what uses these ports, or set MODELYARD_ENGINE_PORTS to a wider range and restart Modelyard.",
                permanent=True,
            ) from None

    def start(self, replica: Replica) -> None:
        """Start the replica's recorded launch; does nothing if it runs already."""
        command = self.runtime.command(self.context(replica))
        self.launcher.start(
            Launch(replica.pk, replica.launches, list(command.argv), dict(command.env), command.stop_seconds)
        )

    def probe(self, replica: Replica, timeout_seconds: float) -> None:
        """A real inference; Failure if it didn't work."""
        self.runtime.probe(self.context(replica), timeout_seconds)

    def tokens(self, replica: Replica) -> float | None:
        """Tokens it says it has generated (read, where it generates none); None where it doesn't tell."""
        from apps.deployments.monitoring.engines import parse

        try:
            names = self.runtime.metrics
            # Prompts may be counted as they come: that they go on proves nothing where there is more to count.
            wanted = "tokens" if "tokens" in names.values() else "prompt_tokens"
            if wanted not in names.values():
                return None
            context = self.context(replica)
            headers = {"authorization": f"Bearer {context.secret}"}
            url, seconds = f"{context.base_url}/metrics", policy.METRICS_TIMEOUT
            text = httpx.get(url, headers=headers, timeout=seconds, trust_env=False).text
            return parse(text, names).values.get(wanted)
        except Exception:  # noqa: BLE001 (an engine may send anything; the probe says what is wrong)
            return None

    def death(self, replica: Replica, exit_code: int | None) -> Failure:
        """Why the engine ended, in the runtime's words: what an earlier launch died of says nothing about this one."""
        return self.runtime.failure(-9 if exit_code is None else exit_code, _newest_launch(self.log_tail(replica)))

    def log_tail(self, replica: Replica, lines: int = TAIL_LINES) -> list[str]:
        """The last lines the engine printed, without secrets: they go into messages and events."""
        text = "\n".join(self.launcher.log_tail(replica.pk, lines))
        return masked(text, secrets_of(replica)).split("\n") if text else []


def _newest_launch(lines: list[str]) -> list[str]:
    starts = [index for index, line in enumerate(lines) if START.match(line)]
    return lines[starts[-1] :] if starts else lines
