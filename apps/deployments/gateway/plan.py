"""What a head led to, kept for the next request of its connection."""

import time
from typing import TYPE_CHECKING

from apps.deployments.gateway.keys import Key
from apps.deployments.gateway.paths import Table

if TYPE_CHECKING:
    from apps.deployments.gateway.app import Gateway


class Plan:
    """What a head led to: for the next request with the same one, as long as key and deployment are as they were."""

    __slots__ = ("client", "key", "path", "table", "target")

    def __init__(self, key: Key, table: Table, path: str, target: bytes, client: str) -> None:
        self.key = key
        self.table = table
        self.path = path
        self.target = target
        self.client = client

    def holds(self, gateway: "Gateway", now: float) -> bool:
        """Is all of it still so?"""
        key = self.key
        known = gateway.keys.cache.peek(key.id, now)
        if known is None or known.value is not key or (key.expires_at is not None and key.expires_at <= time.time()):
            return False
        table = gateway.tables.peek(key.deployment_id, now)
        return table is not None and table.value is self.table
