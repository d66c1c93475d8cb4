"""What a deployment did over time, for its Metrics tab; the ledger may have any number of records.

Sums come from the sums by hour. Percentiles come from the latest calls of each step, so many at most, and so does
everything about the last hour; what that leaves uncovered is a gap, not a zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from django.db.models import Sum
from django.utils import timezone

from apps.deployments.models import Deployment
from apps.deployments.usage.ledger import LIMITED
from apps.deployments.usage.models import Gap, UsageHour, UsageRecord

SAMPLE = 300  # latest calls of a step that percentiles are taken of
LAST_HOUR = 20_000  # latest calls that the last hour is counted from
RESTARTS = 2000  # events that are counted
DIED = ("engine_died", "engine_hung")


@dataclass(frozen=True)
class Window:
    """A stretch of time up to now, in steps."""

    name: str
    step: timedelta
    steps: int

    def starts(self, now: datetime) -> list[datetime]:
        """The beginning of each step; those of hours begin with an hour."""
        whole = min(self.step, timedelta(hours=1))
        seconds = whole.total_seconds()
        end = datetime.fromtimestamp(ceil(now.timestamp() / seconds) * seconds, now.tzinfo)
        return [end - self.step * (self.steps - place) for place in range(self.steps)]


WINDOWS = {
    "1h": Window("1h", timedelta(minutes=2), 30),
    "24h": Window("24h", timedelta(hours=1), 24),
    "7d": Window("7d", timedelta(hours=6), 28),
    "30d": Window("30d", timedelta(days=1), 30),
}


@dataclass
class Step:
    """One step; None says that it isn't known, or that there was nothing to measure. Times in milliseconds."""

    start: datetime
    requests: int | None = 0
    errors: int | None = 0
    limited: int | None = 0
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    latency_50: float | None = None
    latency_95: float | None = None
    ttft_50: float | None = None
    ttft_95: float | None = None
    restarts: int | None = 0


SUMMED = ("requests", "errors", "limited", "prompt_tokens", "completion_tokens")


@dataclass(frozen=True)
class Timeline:
    """The steps; whether percentiles are those of a sample; since when all is counted; calls that the ledger lacks."""

    window: Window
    steps: Sequence[Step]
    sampled: bool
    covered_from: datetime | None
    lost: int


def timeline(deployment: Deployment, window: Window, now: datetime | None = None) -> Timeline:
    """What was so in a window up to now."""
    now = now or timezone.now()
    steps = [Step(start) for start in window.starts(now)]
    covered: datetime | None = None
    if window.name == "1h":
        sampled, covered = _from_records(deployment, window, steps)
    else:
        _from_sums(deployment, window, steps)
        sampled = _percentiles(deployment, window, steps)
    _count_restarts(deployment, window, steps)
    for step in steps:
        if step.start + window.step <= deployment.added_at:
            _unknown(step)
    lost = Gap.objects.filter(at__gte=steps[0].start).aggregate(lost=Sum("lost"))["lost"] or 0
    return Timeline(window, steps, sampled, covered, lost)


def _from_sums(deployment: Deployment, window: Window, steps: Sequence[Step]) -> None:
    begin, end = steps[0].start, steps[-1].start + window.step
    rows = UsageHour.objects.filter(deployment_id=deployment.pk, start__gte=begin, start__lt=end)
    summed = rows.values("start").annotate(**{f"sum_{name}": Sum(name) for name in SUMMED}).order_by("start")
    for start, *sums in summed.values_list("start", *(f"sum_{name}" for name in SUMMED)):
        step = steps[_place(start, begin, window)]
        for name, more in zip(SUMMED, sums, strict=True):
            setattr(step, name, getattr(step, name) + (more or 0))


def _percentiles(deployment: Deployment, window: Window, steps: Sequence[Step]) -> bool:
    """True if a step had more calls than were looked at."""
    sampled = False
    for step in steps:
        if not step.requests:
            continue
        rows = UsageRecord.objects.filter(
            deployment_id=deployment.pk, at__gte=step.start, at__lt=step.start + window.step
        )
        found = list(rows.order_by("-at").values_list("status", "duration_ms", "first_byte_ms", "streamed")[:SAMPLE])
        sampled = sampled or len(found) == SAMPLE
        _measure(step, found)
    return sampled


def _from_records(deployment: Deployment, window: Window, steps: Sequence[Step]) -> tuple[bool, datetime | None]:
    """Counts the latest calls one by one; the moment from which on that is all of them, if it isn't the whole hour."""
    begin = steps[0].start
    rows = UsageRecord.objects.filter(deployment_id=deployment.pk, at__gte=begin).order_by("-at")
    fields = ("at", "status", "error", "prompt_tokens", "completion_tokens", "duration_ms", "first_byte_ms", "streamed")
    found = list(rows.values_list(*fields)[:LAST_HOUR])
    measured: dict[int, list[tuple[int, float, float | None, bool]]] = {}
    for at, status, error, prompt, completion, duration, first, streamed in found:
        place = min(_place(at, begin, window), len(steps) - 1)
        step = steps[place]
        limited = error in LIMITED
        step.requests = (step.requests or 0) + 1
        step.errors = (step.errors or 0) + (status >= 400 and not limited)
        step.limited = (step.limited or 0) + limited
        step.prompt_tokens = (step.prompt_tokens or 0) + prompt
        step.completion_tokens = (step.completion_tokens or 0) + completion
        measured.setdefault(place, []).append((status, duration, first, streamed))
    for place, calls in measured.items():
        _measure(steps[place], calls)
    covered = found[-1][0] if len(found) == LAST_HOUR else None
    for step in steps:
        if covered and step.start < covered:
            _unknown(step)
    return False, covered


def _measure(step: Step, calls: Iterable[tuple[int, float, float | None, bool]]) -> None:
    good = [(duration, first, streamed) for status, duration, first, streamed in calls if status < 400]
    step.latency_50, step.latency_95 = _two([duration for duration, _, _ in good])
    step.ttft_50, step.ttft_95 = _two([first for _, first, streamed in good if streamed and first is not None])


def _two(values: list[float]) -> tuple[float | None, float | None]:
    """The median and the 95th percentile, as nearest ranks."""
    if not values:
        return None, None
    ordered = sorted(values)
    return ordered[ceil(len(ordered) * 0.5) - 1], ordered[ceil(len(ordered) * 0.95) - 1]


def _count_restarts(deployment: Deployment, window: Window, steps: Sequence[Step]) -> None:
    begin = steps[0].start
    found = deployment.events.filter(code__in=DIED, at__gte=begin).values_list("at", flat=True)[:RESTARTS]
    for at in found:
        step = steps[min(_place(at, begin, window), len(steps) - 1)]
        step.restarts = (step.restarts or 0) + 1


def _unknown(step: Step) -> None:
    for name in (*SUMMED, "latency_50", "latency_95", "ttft_50", "ttft_95"):
        setattr(step, name, None)


def _place(at: datetime, begin: datetime, window: Window) -> int:
    return int((at - begin) / window.step)
