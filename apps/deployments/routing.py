"""What the gateway needs to know of one deployment, read from the database in one go and then kept in memory."""

from dataclasses import dataclass

from django.conf import settings

from apps.deployments import operations
from apps.deployments.models import Deployment
from apps.deployments.reconciler.engines import engine_secret
from apps.deployments.statuses import Desired, ReplicaState, Role


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
class Route:
    """Where calls of a deployment go. `accepting` is what people want; `backends` is what there is."""

    deployment_id: str
    name: str
    status: str
    accepting: bool
    paths: tuple[PathRule, ...]
    backends: tuple[Backend, ...]
    timeout_seconds: float
    max_body_bytes: int
    max_in_flight: int


def route(deployment_id: str) -> Route | None:
    """The route of a deployment as the database has it now; None if there is no such deployment."""
    deployment = (
        Deployment.objects.select_related("model", "target_version", "live_version").filter(pk=deployment_id).first()
    )
    if deployment is None:
        return None
    return Route(
        deployment_id=deployment.pk,
        name=deployment.name,
        status=deployment.status,
        accepting=deployment.desired == Desired.RUNNING,
        paths=_paths(deployment),
        backends=_backends(deployment),
        timeout_seconds=settings.GATEWAY_TIMEOUT,
        max_body_bytes=settings.MAX_REQUEST_BYTES,
        max_in_flight=settings.GATEWAY_MAX_IN_FLIGHT,
    )


def _paths(deployment: Deployment) -> tuple[PathRule, ...]:
    return tuple(PathRule(route.method, route.path) for route in operations.routes(deployment))


def _backends(deployment: Deployment) -> tuple[Backend, ...]:
    ready = deployment.replicas.filter(role=Role.SERVING, state=ReplicaState.READY, version=deployment.live_version)
    return tuple(
        Backend(replica.pk, replica.host, replica.port, engine_secret(replica.pk, replica.launches))
        for replica in ready
    )
