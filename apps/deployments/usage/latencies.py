"""How long calls took, over time: percentiles from the ledger, of all calls or of a sample where there are very many.

The sums by hour know averages only. A record's ID grows with its time, so an even sample of IDs is one of the calls.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil

from django.core.cache import cache

from apps.deployments.usage.models import UsageRecord
from apps.deployments.usage.querysets import LATE, first_id

SAMPLE = 5000  # records looked at
CHUNK = 900  # IDs in one query: older SQLite takes no more
KEPT = 86_400  # seconds that the first ID of an hour is remembered: it doesn't change any more


@dataclass
class Latencies:
    """Milliseconds of the calls that were answered well; of streamed ones also until the first token."""

    duration: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)


@dataclass
class Sampled:
    """Latencies by stretch and in all, and of how many records they are."""

    line: list[Latencies]
    whole: Latencies
    looked_at: int
    every: int


def percentile(values: Sequence[float], share: float = 0.95) -> float | None:
    """The smallest value that so large a share of them doesn't exceed; none of none."""
    if not values:
        return None
    return sorted(values)[ceil(len(values) * share) - 1]


def sampled(starts: Sequence[datetime], step: timedelta) -> Sampled:
    """The latencies of the stretches that begin at `starts`, each as long as `step`."""
    first, last = (
        _first(starts[0] - LATE),
        UsageRecord.objects.order_by("-pk").values_list("pk", flat=True).first() or 0,
    )
    every = max((last - first) // SAMPLE, 1)
    found = Sampled([Latencies() for _ in starts], Latencies(), 0, every)
    places: dict[int, Latencies] = defaultdict(Latencies, enumerate(found.line))
    for at, duration, first_byte, streamed in _records(first, last, every, starts[0], starts[-1] + step):
        found.looked_at += 1
        for each in (places[(at - starts[0]) // step], found.whole):
            each.duration.append(duration)
            if streamed and first_byte is not None:
                each.first_token.append(first_byte)
    return found


def _records(
    first: int, last: int, every: int, start: datetime, end: datetime
) -> Iterator[tuple[datetime, float, float | None, bool]]:
    rows = UsageRecord.objects.filter(at__gte=start, at__lt=end, status__lt=400).order_by()
    columns = ("at", "duration_ms", "first_byte_ms", "streamed")
    if every == 1:
        yield from rows.filter(pk__gte=first).values_list(*columns)
        return
    ids = list(range(last, first, -every))
    for place in range(0, len(ids), CHUNK):
        yield from rows.filter(pk__in=ids[place : place + CHUNK]).values_list(*columns)


def _first(moment: datetime) -> int:
    """The first ID of a time; of whole hours it is asked for once."""
    key = f"usage:first:{moment:%Y%m%d%H%M}"
    known = cache.get(key)
    if known is None:
        known = first_id(UsageRecord.objects.all(), "at", moment)
        cache.set(key, known, KEPT)
    return int(known)
