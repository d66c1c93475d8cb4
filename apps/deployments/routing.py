"""What the gateway needs to know of one deployment, read from the database in one go and then kept in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings

from apps.apikeys.models import LIMITS
from apps.deployments import operations, runtimes
from apps.deployments.gateway.limits.budget import Limits
from apps.deployments.models import Deployment
from apps.deployments.reconciler.engines import engine_secret
from apps.deployments.statuses import Desired, ReplicaState, Role
from modelyard.runtimes import Runtime, Usage


@dataclass(frozen=True)
class PathRule:
    """A method and path that callers may use; `{name}` stands for one segment."""

    method: str
    path: str


@dataclass(frozen=True)
class Backend:
    """One healthy engine and its secret."""

    replica_id: str
    host: str
    port: int
    secret: str


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect to an engine, for its first byte, between two, and for a whole call (0: any)."""

    connect: float
    first_byte: float
    idle: float
    total: float


UsageOf = Callable[[str, Mapping[str, Any]], Usage | None]


@dataclass(frozen=True)
class Route:
    """Where calls of a deployment go. `accepting` is what people want; `backends` is what there is.

    `usage_of` is the runtime's own way of telling tokens, where it has one.
    """

    deployment_id: str
    subject: str
    name: str
    status: str
    accepting: bool
    paths: tuple[PathRule, ...]
    backends: tuple[Backend, ...]
    timeouts: Timeouts
    limits: Limits
    captures: bool
    version: int
    model_id: str
    model_name: str
    context_length: int | None
    usage_of: UsageOf | None
    max_body_bytes: int
    max_in_flight: int
    ledger: tuple[str, int, str, str] = field(init=False)  # what each of its calls has in common in the ledger

    def __post_init__(self) -> None:
        object.__setattr__(self, "ledger", (self.name, self.version, self.model_id, self.model_name))


def route(deployment_id: str) -> Route | None:
    """The route of a deployment as the database has it now; None if there is no such deployment."""
    deployment = (
        Deployment.objects.select_related("model", "target_version", "live_version").filter(pk=deployment_id).first()
    )
    if deployment is None:
        return None
    return Route(
        deployment_id=deployment.pk,
        subject=f"deployment:{deployment.pk}",
        name=deployment.name,
        status=deployment.status,
        accepting=deployment.desired == Desired.RUNNING,
        paths=_paths(deployment),
        backends=_backends(deployment),
        timeouts=_timeouts(deployment),
        limits=Limits(*(getattr(deployment, name) for name in LIMITS)),
        captures=deployment.captures,
        version=deployment.live_version.number if deployment.live_version else 0,
        model_id=deployment.model_id,
        model_name=deployment.model.name,
        context_length=deployment.model.context_length,
        usage_of=_usage_of(deployment.runtime),
        max_body_bytes=settings.MAX_REQUEST_BYTES,
        max_in_flight=settings.GATEWAY_MAX_IN_FLIGHT,
    )


def _timeouts(deployment: Deployment) -> Timeouts:
    own = {
        "connect": deployment.connect_timeout,
        "first_byte": deployment.first_byte_timeout,
        "idle": deployment.idle_timeout,
        "total": deployment.total_timeout,
    }
    return replace(usual_timeouts(), **{name: seconds for name, seconds in own.items() if seconds is not None})


def usual_timeouts() -> Timeouts:
    """What applies where a deployment doesn't say otherwise."""
    return Timeouts(
        connect=settings.GATEWAY_CONNECT_TIMEOUT,
        first_byte=settings.GATEWAY_TIMEOUT,
        idle=settings.GATEWAY_TIMEOUT,
        total=settings.GATEWAY_TOTAL_TIMEOUT,
    )


def _usage_of(name: str) -> UsageOf | None:
    entry = runtimes.registry().get(name)
    runtime = entry.runtime if entry else None
    return runtime.usage if runtime and type(runtime).usage is not Runtime.usage else None


def _paths(deployment: Deployment) -> tuple[PathRule, ...]:
    return tuple(PathRule(route.method, route.path) for route in operations.routes(deployment))


def _backends(deployment: Deployment) -> tuple[Backend, ...]:
    ready = deployment.replicas.filter(role=Role.SERVING, state=ReplicaState.READY, version=deployment.live_version)
    return tuple(Backend(replica.pk, replica.host, replica.port, engine_secret(replica)) for replica in ready)
