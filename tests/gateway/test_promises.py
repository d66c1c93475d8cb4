"""What limits promise, whatever happens: with many processes, clocks that jump, aborts, rotations and deaths."""

import asyncio
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.deployments.gateway.limits import Away, Exceeded, Keeper, Limits, Terms

pytestmark = pytest.mark.system
PROCESSES = 3


@dataclass
class Process:
    """One web process' keeper, and what it has under way: reserved tokens and when they were charged."""

    keeper: Keeper
    running: list[tuple[Terms, int, float]] = field(default_factory=list)


@dataclass
class World:
    """All processes on one Valkey, and what they granted in all."""

    limits: Limits
    subject: str = field(default_factory=lambda: f"key:{uuid.uuid4().hex}")
    processes: list[Process] = field(default_factory=lambda: [Process(Keeper()) for _ in range(PROCESSES)])
    granted: int = 0
    used: int = 0
    beyond: int = 0  # tokens that answers took beyond their reservation: the documented slack
    most_at_once: int = 0
    ghosts: int = 0  # requests of killed processes, whose places are held until they are missed

    async def ask(self, number: int, tokens: int) -> None:
        """A request of a caller; several arrive at once."""
        process = self.processes[number]
        budget = process.keeper.budget(self.subject, "API key", self.limits)
        assert budget
        terms = Terms([budget], tokens=True)
        now = time.monotonic()
        if not terms.admit(tokens, now):
            try:
                await process.keeper.admit(terms, tokens)
            except Exceeded:
                return
        if terms.low:
            process.keeper.refill(terms)
        self.granted += 1
        process.running.append((terms, tokens, now))
        at_once = sum(len(each.running) for each in self.processes) + self.ghosts
        self.most_at_once = max(self.most_at_once, at_once)

    def end(self, number: int, used: int) -> None:
        """An answer is there, or was broken off: it used so many tokens."""
        process = self.processes[number]
        if process.running:
            terms, reserved, charged_at = process.running.pop()
            terms.settle(reserved, used, charged_at)
            process.keeper.release([*terms.budgets])
            self.used += used
            self.beyond += max(used - reserved, 0)

    async def rotate(self, number: int, *, limitless: bool = False) -> None:
        """A rotated key has the same account, and perhaps other limits for a moment: counters stay."""
        other = self.limits._replace(tokens_per_minute=10**6)
        keeper = self.processes[number].keeper
        keeper.budget(self.subject, "API key", other._replace(concurrent_requests=None) if limitless else other)

    def due(self, number: int) -> None:
        """The next report tells of the places again."""
        for budget in self.processes[number].keeper.budgets.values():
            if budget.places:
                budget.places.told_at = 0

    async def later(self, number: int, tokens: int) -> None:
        """A request that comes while Redis is being told."""
        await asyncio.sleep(0)
        await self.ask(number, tokens)

    def kill(self, number: int) -> None:
        """`kill -9`: what it held and owed is lost."""
        process = self.processes[number]
        self.ghosts += len(process.running)
        self.used += sum(reserved for _, reserved, _ in process.running)
        self.processes[number] = Process(Keeper())

    async def close(self) -> None:
        for process in self.processes:
            await process.keeper.close()


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, PROCESSES - 1), st.integers(0, 60), st.integers(1, 12)),
    st.tuples(st.just("end"), st.integers(0, PROCESSES - 1), st.integers(0, 90), st.integers(1, 6)),
    st.tuples(st.just("kill"), st.integers(0, PROCESSES - 1), st.just(0), st.just(1)),
    st.tuples(st.just("report"), st.integers(0, PROCESSES - 1), st.just(0), st.just(1)),
    st.tuples(st.just("jump"), st.integers(0, PROCESSES - 1), st.integers(-400_000, 400_000), st.just(1)),
    st.tuples(st.just("overlap"), st.integers(0, PROCESSES - 1), st.integers(0, 60), st.integers(1, 4)),
    st.tuples(st.just("meanwhile"), st.integers(0, PROCESSES - 1), st.integers(0, 60), st.integers(1, 6)),
    st.tuples(st.just("rotate"), st.integers(0, PROCESSES - 1), st.integers(0, 1), st.just(1)),
)


async def live(world: World, steps: list[tuple[str, int, int, int]]) -> None:
    """Do all of it, then let what is left come to its end."""
    for what, number, amount, times in steps:
        keeper = world.processes[number].keeper
        if what == "ask":
            await asyncio.gather(*(world.ask(number, amount) for _ in range(times)))
        elif what == "end":
            for _ in range(times):
                world.end(number, amount)
            await asyncio.sleep(0)
        elif what == "kill":
            world.kill(number)
        elif what == "report":
            await keeper.report()
        elif what == "jump":
            keeper.calendar.skew += amount  # as good as a wrong clock: windows are made of it
        elif what == "overlap":
            # Some wait for Redis when the limits change, others come after that.
            asks = [world.ask(number, amount) for _ in range(2 * times)]
            await asyncio.gather(*asks[:times], world.rotate(number), *asks[times:])
        elif what == "meanwhile":
            world.due(number)
            await asyncio.gather(keeper.report(), *(world.later(number, amount) for _ in range(times)))
        else:
            await world.rotate(number, limitless=bool(amount))
    await world.close()


def test_what_a_call_used_is_counted_where_its_limits_were_changed_meanwhile() -> None:
    async def change() -> None:
        world = World(Limits(tokens_per_day=1000))
        await world.ask(0, 100)
        await world.rotate(0)
        for process in world.processes:
            await process.keeper.report()
        world.end(0, 900)
        await world.processes[0].keeper.report()
        granted = world.granted
        await world.ask(1, 200)
        assert world.granted == granted
        await world.ask(1, 100)
        assert world.granted == granted + 1
        assert not any(budget.open for budget in world.processes[0].keeper.retired)
        await world.close()

    run(change())


def test_a_place_is_not_used_before_redis_has_granted_it() -> None:
    async def tell() -> None:
        world = World(Limits(concurrent_requests=64))
        for number in (0, 1):
            for _ in range(32):
                await world.ask(number, 0)
        for number in (0, 1):
            world.due(number)
            await world.processes[number].keeper.report()
            await world.ask(1, 0)
        assert world.granted == 64
        for _ in range(3):
            for number in (0, 1):
                world.due(number)
                await asyncio.gather(world.processes[number].keeper.report(), *(world.later(number, 0) for _ in "ab"))
        assert world.most_at_once == 64
        await world.close()

    run(tell())


def test_what_was_reserved_and_not_used_goes_back_from_a_busy_process_too() -> None:
    async def trickle() -> None:
        world = World(Limits(tokens_per_day=500_000))
        keeper = world.processes[0].keeper
        for _ in range(100):
            await world.ask(0, 4500)
        for _ in range(100):
            world.end(0, 300)
        await world.ask(0, 1)
        await keeper.report()
        assert (world.granted, world.used) == (101, 30_000)
        for _ in range(90):
            await world.ask(1, 4500)
        assert world.granted == 191
        await world.close()

    run(trickle())


def test_what_was_used_while_redis_was_away_is_counted_whatever_became_of_the_limits() -> None:
    async def away() -> None:
        world = World(Limits(tokens_per_day=1000))
        keeper = world.processes[0].keeper
        keeper.away_since = time.monotonic()
        await world.ask(0, 900)
        await world.rotate(0)
        await world.ask(0, 200)
        assert world.granted == 1
        world.end(0, 950)
        for budget in (*keeper.budgets.values(), *keeper.retired):
            budget.used_at = -(10**6)  # ages ago
        keeper.store.settle, settle = refuse, keeper.store.settle
        await keeper.report()
        keeper.store.settle = settle
        await keeper.report()
        assert keeper.away_since is None
        await world.ask(1, 51)
        assert world.granted == 1
        await world.ask(1, 50)
        assert world.granted == 2
        await world.close()

    run(away())


async def refuse(*_: object) -> None:
    raise Away("as if Redis were away")


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(limit=st.integers(0, 400), steps=st.lists(STEPS, min_size=5, max_size=60))
def test_requests_granted_never_exceed_the_limit(limit: int, steps: list[tuple[str, int, int, int]]) -> None:
    """A month's window and requests have one mechanism: `requests` are counted in tokens of one each here."""
    world = World(Limits(tokens_per_month=limit))
    ones = [(w, n, 1, t) if w in {"ask", "end", "overlap"} else (w, n, a, t) for w, n, a, t in steps]
    run(live(world, ones))
    assert world.granted <= limit


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(limit=st.integers(0, 3000), steps=st.lists(STEPS, min_size=5, max_size=60))
def test_tokens_used_exceed_the_limit_by_no_more_than_answers_took_beyond_their_reservation(
    limit: int, steps: list[tuple[str, int, int, int]]
) -> None:
    world = World(Limits(tokens_per_day=limit))
    run(live(world, steps))
    assert world.used <= limit + world.beyond


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(limit=st.integers(0, 100), steps=st.lists(STEPS, min_size=5, max_size=60))
def test_no_more_run_at_once_than_may(limit: int, steps: list[tuple[str, int, int, int]]) -> None:
    world = World(Limits(concurrent_requests=limit))
    run(live(world, steps))
    assert world.most_at_once <= limit
