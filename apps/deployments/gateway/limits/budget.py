"""What one process knows of the limits of one key or deployment: its leases and its places. No waiting here."""

from dataclasses import dataclass
from typing import NamedTuple

from apps.deployments.gateway.limits.windows import Period

SHARE = 32  # a process leases at most this part of a limit ahead of its use
FRESH = 0.05  # seconds that the headers of a busy budget stand
HEADERS = b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n"
EARLY = 4  # the next lease is asked for when less than this part of the last one is left
NEVER = -(1 << 62)
QUICK = 0.25  # seconds within which a lease that was used up makes the next one larger


class Limits(NamedTuple):
    """Limits of one key or deployment, in the order of the model's fields. None is unlimited; 0 lets nothing pass."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    concurrent_requests: int | None = None


class Exceeded(Exception):
    """A limit doesn't let a request pass. `seconds` until its window ends; None where waiting doesn't help."""

    def __init__(self, limit: int, what: str, period: Period | None, seconds: float | None, whose: str) -> None:
        super().__init__(what)
        self.limit = limit
        self.what = what
        self.period = period
        self.seconds = seconds
        self.whose = whose


@dataclass(slots=True, eq=False)
class Meter:
    """One limit in windows of time. `left` of its lease; below 0 it is what was used and not counted yet.

    Below `low`, the next lease is asked for, so that nobody has to wait for it.
    `room` is what Redis had beyond the leases of this process when it was last asked. `since` and `until` are the
    window as this process knows it, in monotonic seconds.
    """

    name: str
    limit: int
    tokens: bool
    period: Period
    left: int = 0
    window: int = 0
    since: float = 0.0
    until: float = 0.0
    room: int = 0
    lease: int = 1
    low: int = NEVER
    taken_at: float = 0.0

    @property
    def most(self) -> int:
        """The largest lease that is taken ahead of its use, or kept of what was reserved."""
        return max(self.limit // SHARE, 1)

    def wish(self, need: int, now: float) -> int:
        """How much to lease, so that a busy process seldom asks and an idle one holds next to nothing."""
        quick = now - self.taken_at < QUICK
        self.lease = min(self.lease * 2, self.most) if quick else max(self.lease // 2, 1)
        return max(need, self.lease)

    def roll(self, now: float) -> None:
        """Forget a lease whose window is over; what was used beyond one stays to be counted."""
        if now >= self.until and self.left > 0:
            self.left = 0


@dataclass(slots=True, eq=False)
class Places:
    """Requests at once: `used` of those `held` in Redis by this process."""

    name: str
    limit: int
    used: int = 0
    held: int = 0
    told_at: float = 0.0

    @property
    def spare(self) -> int:
        """Places that are kept free for the next requests; none where the limit is small."""
        return self.limit // SHARE

    def keep(self, held: int) -> None:
        """Redis has granted so many; the limit may have been lowered since it was asked."""
        self.held = min(held, max(self.limit, self.used))


class Budget:
    """All limits of one key or deployment. `whose` is what people read; `open` calls were charged and not settled."""

    def __init__(self, subject: str, whose: str, limits: Limits) -> None:
        self.subject = subject
        self.whose = whose
        self.limits = limits
        self.used_at = self.line_at = 0.0
        self.open = 0
        self.line = b""
        kinds = (
            ("rpm", limits.requests_per_minute, False, Period.MINUTE),
            ("tpm", limits.tokens_per_minute, True, Period.MINUTE),
            ("tpd", limits.tokens_per_day, True, Period.DAY),
            ("tpmo", limits.tokens_per_month, True, Period.MONTH),
        )
        self.meters = tuple(
            Meter(f"{subject}:{kind}", limit, tokens, period)
            for kind, limit, tokens, period in kinds
            if limit is not None
        )
        most = limits.concurrent_requests
        self.places = Places(f"{subject}:now", most) if most is not None else None
        self.former: Places | None = None  # of requests under way from when there was such a limit

    @property
    def owes(self) -> bool:
        """Was something used that isn't counted yet?"""
        return any(meter.left < 0 for meter in self.meters)


def headers(budgets: list[Budget], now: float) -> bytes:
    """The `x-ratelimit-…` lines, as OpenAI's clients read them: of the tightest limit of each kind."""
    first = budgets[0]
    meters = [meter for budget in budgets for meter in budget.meters]
    lines = []
    for tokens, unit in ((False, b"requests"), (True, b"tokens")):
        found = [meter for meter in meters if meter.tokens is tokens]
        if found:
            tightest = min(found, key=lambda meter: meter.room + meter.left)
            remaining = max(tightest.room + tightest.left, 0)
            reset = duration(tightest.until - now).encode()
            lines.append(HEADERS % (unit, tightest.limit, unit, remaining, unit, reset))
    first.line, first.line_at = b"".join(lines), now
    return first.line


def duration(seconds: float) -> str:
    """A duration as OpenAI writes it: 6m0s, 12s, 250ms."""
    seconds = max(seconds, 0)
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{whole % 60}s"


class Terms:
    """The limits of one kind of request, taken together: its key's and its deployment's.

    `tokens`: whether such requests use tokens. Without waiting: what isn't held here is asked of Redis by the keeper.
    """

    __slots__ = ("budgets", "low", "meters", "places", "requests", "tokens")

    def __init__(self, budgets: list[Budget], *, tokens: bool) -> None:
        self.budgets = budgets
        self.low = False  # is the next lease to be asked for?
        meters = [meter for budget in budgets for meter in budget.meters]
        self.requests = [meter for meter in meters if not meter.tokens]
        self.tokens = [meter for meter in meters if meter.tokens and tokens]
        self.meters = self.requests + self.tokens
        self.places = [budget.places for budget in budgets if budget.places]

    def admit(self, tokens: int, now: float) -> bool:
        """Take one request and its reserved tokens out of what this process holds; False if it doesn't hold enough."""
        for meter in self.requests:
            if meter.left < 1 or now >= meter.until:
                return False
        for meter in self.tokens:
            if meter.left < tokens or now >= meter.until:
                return False
        for place in self.places:
            if place.used >= place.held:
                return False
        self._charge(tokens, now)
        return True

    def admit_blindly(self, tokens: int, now: float) -> bool:
        """The same while Redis is away: up to the whole of each limit in each process, to be counted later."""
        for meter in self.meters:
            if meter.left - (tokens if meter.tokens else 1) < -meter.limit:
                return False
        if any(place.used >= place.limit for place in self.places):
            return False
        self._charge(tokens, now)
        return True

    def _charge(self, tokens: int, now: float) -> None:
        for meter in self.requests:
            meter.left -= 1
            if meter.left < meter.low:
                self.low = True
        for meter in self.tokens:
            meter.left -= tokens
            if meter.left < meter.low:
                self.low = True
        for place in self.places:
            place.used += 1
        for budget in self.budgets:
            budget.used_at = now
            budget.open += 1

    def settle(self, reserved: int, used: int, charged_at: float) -> None:
        """What a request used in the end, beside what was reserved for it. What is left over counts in its window.

        Once for each that was admitted.
        """
        for budget in self.budgets:
            budget.open -= 1
        difference = reserved - used
        for meter in self.tokens:
            if difference < 0 or charged_at >= meter.since:
                meter.left += difference
