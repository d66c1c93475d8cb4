"""The reconciler's numbers, in seconds unless they say otherwise, and the rules that use them alone."""

from datetime import datetime, timedelta

PASS = 1.0  # between passes while something is moving
PROBE_EVERY = 15.0  # between health probes of a ready engine
START_PROBE_TIMEOUT = 5.0
HEALTH_PROBE_TIMEOUT = 10.0
METRICS_TIMEOUT = 3.0
BUSY, TOO_SLOW = "busy", "too_slow"  # what plugins call a probe that was refused for want of room, or timed out
UNHEALTHY_AFTER = 3  # failed probes in a row: out of the routes
HUNG_AFTER = 6  # failed probes in a row: ended and started again
STABLE = 600.0  # a run of this length forgets earlier crashes
DRAIN_AT_LEAST = 2.0  # web processes learn of a draining replica within 1 s
DRAIN_AT_MOST = 120.0  # requests that still run then are cut
MAX_CRASHES = 5  # deaths in a row of an engine that had been ready: a crash loop
MAX_START_CRASHES = 3  # deaths in a row of one that never was
RECIPE_AT_MOST = 6 * 3600.0  # a recipe that runs longer hangs
SPARED = 300.0  # before an engine that can't be brought up beside healthy ones is tried again
KEPT_REPLICAS = 5  # ended ones kept for their logs, per deployment


def backoff(crashes: int) -> float:
    """Seconds before the next start after so many deaths in a row: at once after the first, then 10, 20, 40 … 300."""
    return 0.0 if crashes <= 1 else float(min(10 * 2 ** (crashes - 2), 300))


def age(then: datetime | None, now: datetime) -> float:
    """Seconds since then; endless if it never was."""
    return (now - then).total_seconds() if then else float("inf")


def after(now: datetime, seconds: float) -> datetime:
    """The moment so many seconds from now."""
    return now + timedelta(seconds=seconds)
