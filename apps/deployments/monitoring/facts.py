"""What the database knows of deployments, replicas and the ledger's gaps; the last known while it is away."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db import close_old_connections
from django.db.models import Sum

from apps.deployments.models import Deployment, Replica
from apps.deployments.reconciler.engines import engine_secret
from apps.deployments.statuses import ReplicaState, Role
from apps.deployments.usage.models import Gap

logger = logging.getLogger(__name__)
PATIENCE = 1.0  # seconds that a scrape waits for it


@dataclass(frozen=True)
class Served:
    """One deployment."""

    id: str
    name: str
    status: str
    runtime: str


@dataclass(frozen=True)
class Engine:
    """One replica that takes calls, or shall."""

    id: str
    deployment_id: str
    state: str
    live: bool
    url: str
    secret: str


@dataclass(frozen=True)
class Facts:
    """One reading of the database."""

    deployments: Mapping[str, Served] = field(default_factory=dict)
    engines: tuple[Engine, ...] = ()
    lost: Mapping[str, int] = field(default_factory=dict)


def load() -> Facts:
    """Read them."""
    rows = Deployment.objects.values_list("pk", "name", "status", "runtime", "live_version_id")
    found = {row[0]: row for row in rows}
    served = {pk: Served(pk, name, status, runtime) for pk, name, status, runtime, _ in found.values()}
    replicas = Replica.objects.filter(role=Role.SERVING).exclude(state=ReplicaState.ENDED)
    engines = tuple(_engine(each, found[each.deployment_id][4]) for each in replicas if each.deployment_id in found)
    lost = Gap.objects.order_by().values_list("reason").annotate(Sum("lost"))
    return Facts(served, engines, dict(lost))


def _engine(replica: Replica, live_version_id: int | None) -> Engine:
    live = replica.state == ReplicaState.READY and replica.version_id == live_version_id
    url = f"http://{replica.host}:{replica.port}"
    return Engine(replica.pk, replica.deployment_id, replica.state, live, url, engine_secret(replica))


class Source:
    """Reads the facts for scrapes; one that takes too long holds no scrape up, and no second one is begun meanwhile."""

    def __init__(self) -> None:
        self.facts: Facts | None = None
        self.answers = False
        self._task: asyncio.Task[Facts] | None = None

    async def read(self) -> Facts | None:
        """The facts as they are or were; None if nothing was ever known."""
        if self._task is None:
            self._task = asyncio.create_task(asyncio.to_thread(_load))
        task = self._task
        await asyncio.wait({task}, timeout=PATIENCE)
        if task.done() and self._task is task:
            self._task = None
            self._take(task)
        elif not task.done():
            self.answers = False
        return self.facts

    def _take(self, task: asyncio.Task[Facts]) -> None:
        error = task.exception()
        self.answers = error is None
        if error is None:
            self.facts = task.result()
        else:
            logger.warning("the metrics are without the database: %s", error)


def _load() -> Facts:
    try:
        return load()
    finally:
        close_old_connections()
