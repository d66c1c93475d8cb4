"""When and from where keys were last used: remembered while requests pass, written in batches behind their backs."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.db.models import Q

from apps.apikeys.models import ApiKey

logger = logging.getLogger(__name__)
EVERY = 5.0  # seconds between two batches
KEPT = 100_000  # keys remembered at most while the database is away


class LastUsed:
    """The moments (epoch seconds) at which keys were used since the last batch, and the addresses."""

    def __init__(self) -> None:
        self.moments: dict[str, tuple[float, str]] = {}

    def note(self, key_id: str, moment: float, client: str) -> None:
        """A key was used."""
        if key_id in self.moments or len(self.moments) < KEPT:
            self.moments[key_id] = (moment, client)

    async def run(self, pool: ThreadPoolExecutor) -> None:
        """Write a batch every few seconds, for as long as the process lives."""
        while True:
            await asyncio.sleep(EVERY)
            await self.flush(pool)

    async def flush(self, pool: ThreadPoolExecutor) -> None:
        """Write what was noted; keep it for later if the database is away."""
        moments, self.moments = self.moments, {}
        if not moments:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(pool, _write, moments)
        except DatabaseError as error:
            logger.warning("last use of %d keys not written: %s", len(moments), error)
            self.moments = {**moments, **self.moments}


def _write(moments: dict[str, tuple[float, str]]) -> None:
    """Those columns only, and only forwards: a revocation that came meanwhile stays."""
    try:
        for key_id, (moment, client) in moments.items():
            at = datetime.fromtimestamp(moment, UTC)
            earlier = Q(last_used_at=None) | Q(last_used_at__lt=at)
            ApiKey.objects.filter(earlier, pk=key_id).update(last_used_at=at, last_used_from=client)
    finally:
        close_old_connections()
