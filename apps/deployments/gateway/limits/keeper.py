"""Keeps the budgets of one process in step with Redis: takes leases, gives back what idles, counts what is owed."""

import asyncio
import logging
import time
import uuid
from collections.abc import Coroutine
from typing import Any

from django.conf import settings

from apps.deployments.gateway.limits.budget import EARLY, NEVER, Budget, Exceeded, Limits, Meter, Places, Terms
from apps.deployments.gateway.limits.store import Away, Store, Taken, Wrong
from apps.deployments.gateway.limits.windows import Calendar

logger = logging.getLogger(__name__)
EVERY = 0.25  # seconds between two reports to Redis
IDLE = 0.25  # seconds after which a lease that nobody draws on goes back
HELD_SECONDS = 5.0  # after which places of a process that was killed are free again
TOLD_EVERY = 1.0  # seconds between two signs of life for places
TOGETHER = 0.02  # seconds for which places of a large limit are gathered before they are given back
FORGOTTEN = 3600.0  # seconds after which a budget that nobody uses is dropped
WAITED_FOR = 60.0  # seconds after which no call that waits for Redis is charged to a budget that was replaced
TRIES = 5
NOTHING = Limits()


class Keeper:
    """All budgets of this process."""

    def __init__(self) -> None:
        self.me = uuid.uuid4().hex
        self.store = Store()
        self.calendar = Calendar()
        self.budgets: dict[str, Budget] = {}
        self.retired: list[Budget] = []
        self.away_since: float | None = None
        self.generation = 0  # counts the budgets that were replaced or dropped
        self._trimming: dict[bool, set[str]] = {False: set(), True: set()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._locks: dict[str, asyncio.Lock] = {}
        self._holding = asyncio.Lock()  # what is told of places must arrive in the order in which it was so

    def budget(self, subject: str, whose: str, limits: Limits) -> Budget | None:
        """The budget of a key's account or of a deployment; None if it has no limits."""
        known = self.budgets.get(subject)
        if known is not None and known.limits == limits:
            return known
        if known is None and limits == NOTHING:
            return None
        fresh = Budget(subject, whose, limits)
        if known is not None:
            self._hand_over(known, fresh)
        self.budgets[subject] = fresh
        return fresh

    def _hand_over(self, old: Budget, new: Budget) -> None:
        """Limits were changed: leases go back, and what is owed stays owed.

        Places are the same ones: calls under way, or waiting, hold them.
        """
        owing = {meter.name: meter for meter in old.meters if meter.left < 0}
        for meter in new.meters:
            if before := owing.get(meter.name):
                meter.left, meter.window, meter.since, meter.until = (
                    before.left,
                    before.window,
                    before.since,
                    before.until,
                )
                before.left = 0
        places = old.places or old.former
        if places and new.places:
            places.limit, places.held = new.places.limit, places.used
            new.places = places
        elif places:
            new.former = places
        self.retired.append(old)
        self.generation += 1

    async def admit(self, terms: Terms, tokens: int) -> None:
        """Take one request and its reserved tokens, asking Redis. Exceeded; Away once Redis was away for too long."""
        lock = self._locks.setdefault(terms.budgets[0].subject, asyncio.Lock())
        async with lock:
            for _ in range(TRIES):
                now = time.monotonic()
                if self.away_since is not None:
                    self._admit_blindly(terms, tokens, now)
                    return
                if terms.admit(tokens, now):
                    return
                try:
                    await self._ask(terms, tokens, now)
                except Away as error:
                    self._went_away(error, now)
                except Wrong as wrong:
                    self.calendar.skew = wrong.now - time.time()
        raise Away("others took every lease; try again")

    def _admit_blindly(self, terms: Terms, tokens: int, now: float) -> None:
        if self.away_since is not None and now - self.away_since > settings.REDIS_AWAY_SECONDS:
            raise Away("Redis is away")
        for meter in terms.meters:
            if now >= meter.until:
                meter.left, meter.since, meter.until = 0, now, now + self.calendar.left(meter.period)
        if not terms.admit_blindly(tokens, now):
            raise self._exceeded(terms, tokens, now)

    @staticmethod
    def _exceeded(terms: Terms, tokens: int, now: float) -> Exceeded:
        for budget in terms.budgets:
            for meter in budget.meters:
                if meter.left - (tokens if meter.tokens else 1) < -meter.limit:
                    return exceeded(budget, meter, tokens, meter.until - now)
        return next(no_place(budget) for budget in terms.budgets if budget.places)

    async def _ask(self, terms: Terms, tokens: int, now: float) -> None:
        """One round trip for the windows that don't suffice, one for the places."""
        lacking: list[tuple[Budget, Meter, int]] = []
        for budget in terms.budgets:
            budget.used_at = now
            budget.line_at = 0.0
            for meter in budget.meters:
                if meter in terms.meters:
                    meter.roll(now)
                    need = (tokens if meter.tokens else 1) - meter.left
                    if need > 0 or now >= meter.until:
                        lacking.append((budget, meter, max(need, 0)))
        if lacking:
            await self._take(lacking, tokens, now)
        for budget in terms.budgets:
            if budget.places and budget.places.used >= budget.places.held:
                await self._hold(budget, budget.places, now)

    def refill(self, terms: Terms) -> None:
        """Ask for the next leases before the last ones are used up, behind the calls."""
        terms.low = False
        wanted = [(each, meter, 0) for each in terms.budgets for meter in each.meters if meter.left < meter.low]
        for _, meter, _ in wanted:
            meter.low = NEVER  # it is asked for
        if wanted and self.away_since is None:
            self._behind(self._refill(wanted))

    async def _refill(self, wanted: list[tuple[Budget, Meter, int]]) -> None:
        now = time.monotonic()
        try:
            await self._take(wanted, 0, now)
        except Away as error:
            self._went_away(error, now)
        except Wrong as wrong:
            self.calendar.skew = wrong.now - time.time()

    def _behind(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, lacking: list[tuple[Budget, Meter, int]], tokens: int, now: float) -> None:
        around = self.calendar.around
        granted, taken = await self.store.take(
            [(m.name, m.limit, need, m.wish(need, now) - max(m.left, 0), around(m.period)) for _, m, need in lacking]
        )
        for (_, meter, _), each in zip(lacking, taken, strict=True):
            self._enter(meter, each, now)
        if not granted:
            for (budget, meter, need), each in zip(lacking, taken, strict=True):
                if each.room < need:
                    raise exceeded(budget, meter, tokens, each.seconds)

    @staticmethod
    def _enter(meter: Meter, taken: Taken, asked_at: float) -> None:
        if taken.window != meter.window:
            meter.window, meter.since = taken.window, asked_at
            meter.left = min(meter.left, 0)
        # Counted from before the question, so that no lease is used in the window after its own.
        meter.until = asked_at + taken.seconds
        meter.room = taken.room - taken.granted
        if taken.granted:
            meter.left += taken.granted
            meter.taken_at = asked_at
        meter.low = meter.lease // EARLY if taken.granted else NEVER

    async def _hold(self, budget: Budget, places: Places, now: float) -> None:
        async with self._holding:
            if places.used < places.held:
                return
            least = places.used + 1
            wanted = (places.name, places.limit, places.used, least, least + places.spare)
            (held,) = await self.store.hold(self.me, HELD_SECONDS, [wanted])
            places.keep(held)
        places.told_at = now
        if places.held <= places.used:
            raise no_place(budget)

    def release(self, budgets: list[Budget]) -> None:
        """A request has ended: its places are free."""
        for budget in budgets:
            places = budget.places
            if places is None:
                continue
            places.used -= 1
            if places.held - places.used > places.spare:
                self._trim(budget.subject, many=places.spare > 0)

    def _trim(self, subject: str, *, many: bool) -> None:
        """Give places back: at once where there are few, for another process may be asked next; else some together."""
        if self.away_since is not None:
            return
        waiting = self._trimming[many]
        if not waiting:
            self._behind(self._give_places_back(waiting, TOGETHER if many else 0))
        waiting.add(subject)

    async def _give_places_back(self, waiting: set[str], seconds: float) -> None:
        await asyncio.sleep(seconds)
        found = [self.budgets[subject].places for subject in waiting if subject in self.budgets]
        waiting.clear()
        try:
            await self._tell([each for each in found if each and each.held - each.used > each.spare], time.monotonic())
        except Away as error:
            self._went_away(error, time.monotonic())

    async def _tell(self, places: list[Places], now: float) -> None:
        if not places:
            return
        async with self._holding:
            for each in places:
                each.held = each.used  # Redis may grant no more than that: who comes meanwhile waits for its answer
            wanted = [(each.name, each.limit, each.used, each.used, each.used + each.spare) for each in places]
            for each, held in zip(places, await self.store.hold(self.me, HELD_SECONDS, wanted), strict=True):
                each.keep(held)
                each.told_at = now

    async def run(self) -> None:
        """Report to Redis for as long as the process lives."""
        while True:
            await asyncio.sleep(EVERY)
            await self.report()

    async def report(self, *, leaving: bool = False) -> None:
        """Count what is owed, give back what idles (everything, on leaving), and keep the places that are used."""
        now = time.monotonic()
        try:
            await self._settle(now, leaving=leaving)
            spare = [each.places for each in self.budgets.values() if each.places and self._due(each.places, now)]
            await self._tell(spare, now)
            if self.away_since is not None:
                await self.store.settle([])
                logger.warning("Redis is back: limits are counted together again")
                self.away_since = None
        except Away as error:
            self._went_away(error, now)
        for subject, each in list(self.budgets.items()):
            if now - each.used_at > FORGOTTEN and not each.open and not each.owes:
                del self.budgets[subject]
                self.generation += 1
                self._locks.pop(subject, None)

    @staticmethod
    def _due(places: Places, now: float) -> bool:
        return places.held > 0 and now - places.told_at >= TOLD_EVERY

    async def _settle(self, now: float, *, leaving: bool) -> None:
        owed: list[tuple[Meter, int]] = []
        for each in (*self.budgets.values(), *self.retired):
            for meter in each.meters:
                meter.roll(now)
                idle = leaving or now - each.used_at > IDLE
                kept = 0 if idle or meter.left < 0 else min(meter.left, meter.most)  # beyond it: reserved and not used
                if meter.left != kept:
                    owed.append((meter, kept - meter.left))
                    meter.left = kept
        if owed:
            await self._count(owed)
        self.retired = [each for each in self.retired if each.open or each.owes or now - each.used_at < WAITED_FOR]

    async def _count(self, owed: list[tuple[Meter, int]]) -> None:
        around = self.calendar.around
        try:
            await self.store.settle([(m.name, m.window, amount, around(m.period)) for m, amount in owed])
        except Away:
            for meter, amount in owed:
                if amount > 0:
                    meter.left -= amount  # what was used is still owed; an idle lease is lost, on the safe side
            raise

    def _went_away(self, error: Exception, now: float) -> None:
        if self.away_since is None:
            self.away_since = now
            logger.warning("limits can't be counted together, Redis is away: %s", error)

    async def close(self) -> None:
        """Give everything back and hang up."""
        for task in list(self._tasks):
            task.cancel()
        await self.report(leaving=True)
        await self.store.close()


def exceeded(budget: Budget, meter: Meter, tokens: int, seconds: float) -> Exceeded:
    """Why a window lets a request that may use so many tokens not pass."""
    what = f"{'tokens' if meter.tokens else 'requests'} a {meter.period.value}"
    waiting_helps = (tokens if meter.tokens else 1) <= meter.limit
    return Exceeded(meter.limit, what, meter.period, max(seconds, 0) if waiting_helps else None, budget.whose)


def no_place(budget: Budget) -> Exceeded:
    """Why no more requests may run at once."""
    limit = budget.places.limit if budget.places else 0
    return Exceeded(limit, "requests at once", None, 1.0 if limit else None, budget.whose)
