"""Celery's scheduler, on hosts whose clock may be set back."""

from datetime import timedelta
from typing import Any

from celery.beat import PersistentScheduler

LONG_AGO = timedelta(days=1)  # longer than anything's interval


class Scheduler(PersistentScheduler):
    """Celery's own, but what was last run in the future is due at once: the clock was set back since.

    Celery would wait until the clock has caught up, and keeps that moment over restarts.
    """

    def tick(self, *args: Any, **more: Any) -> float:
        """Run what is due; seconds until the next time."""
        entries = self.schedule.values()
        ahead = [entry for entry in entries if entry.last_run_at and entry.last_run_at > entry.default_now()]
        for entry in ahead:
            entry.last_run_at = entry.default_now() - LONG_AGO
        if ahead:
            self._heap = None  # its moments are the old clock's
        return float(super().tick(*args, **more))
