"""What is wrong with the gateway, in words that say what to do: for `/readyz`, the admin and `modelyard doctor`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import Error as DatabaseError
from django.db.models import Sum
from django.utils import timezone

from apps.deployments.monitoring import snapshots
from apps.deployments.monitoring.snapshots import Snapshot
from apps.deployments.usage.models import Gap

LATELY = timedelta(hours=24)
FULL = 0.8  # of the ledger's buffer


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong: what in a few words, how much, and what to do."""

    name: str
    title: str
    message: str
    mend: str


def troubles() -> list[Trouble]:
    """What is wrong in the web processes of this data directory, or was lately."""
    alive = [each for each in snapshots.read(settings.RUN_DIR) if each.alive]
    return [*_redis(alive), *_buffers(alive), *_gaps()]


def _redis(alive: Sequence[Snapshot]) -> Iterator[Trouble]:
    away = max((each.redis_away for each in alive), default=0.0)
    if away:
        message = f"The gateway hasn't heard it for {away:.0f} s. {without_redis(away)}"
        yield Trouble("redis", "Redis is away.", message, "Start it again, or check MODELYARD_REDIS_URL.")


def without_redis(away: float) -> str:
    """What becomes of calls once Redis was away for so many seconds: the operator's choice."""
    most = settings.REDIS_AWAY_SECONDS
    if away >= most:
        return f"Calls are refused with 503: they are served for {most} s without it (MODELYARD_REDIS_AWAY_SECONDS)."
    left = f"Calls are answered for another {most - away:.0f} s (MODELYARD_REDIS_AWAY_SECONDS is {most}), then refused"
    return (
        f"{left} with 503. Until then each web process counts limits by itself, so several together may let more pass."
    )


def _buffers(alive: Sequence[Snapshot]) -> Iterator[Trouble]:
    for each in alive:
        ledger = each.content["ledger"]
        waiting, most, dropped = ledger["waiting"], ledger["most"], ledger["untold"]
        if waiting <= most * FULL:
            continue
        message = f"In web process {each.process} {waiting:,} calls wait for the database, of at most {most:,}."
        lost = f" {dropped:,} were dropped already." if dropped else " What comes beyond is dropped."
        mend = "See whether the database answers, and fast enough; MODELYARD_USAGE_BUFFER lets more wait."
        yield Trouble("buffer", "The usage ledger can't keep up.", message + lost, mend)


def _gaps() -> Iterator[Trouble]:
    recent = Gap.objects.filter(at__gte=timezone.now() - LATELY).order_by()
    try:
        lost = dict(recent.values_list("reason").annotate(Sum("lost")))
    except DatabaseError:
        return
    reasons = []
    mends = []
    if lost.get("killed"):
        reasons.append(f"{lost['killed']:,} because a web process was killed")
        mends.append("See in its log and the kernel's why it was killed; memory is the usual reason.")
    if lost.get("full"):
        reasons.append(f"{lost['full']:,} because too many waited for the database")
        mends.append("See whether the database was away or slow; MODELYARD_USAGE_BUFFER lets more wait.")
    if reasons:
        message = f"Lost in the last 24 hours: {' and '.join(reasons)}. Sums of usage are that much too low."
        yield Trouble("gaps", "Calls are missing in the usage ledger.", message, " ".join(mends))
