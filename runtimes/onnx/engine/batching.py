"""Dynamic batching: a bounded queue of requests and the threads that run what waits, together where that helps."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .refusals import Refusal


class Item(Protocol):
    """One piece of a request that runs alone or beside others of the same group."""

    @property
    def group(self) -> Hashable:
        """Only items of one group run together."""

    @property
    def weight(self) -> int:
        """How much of a batch it fills: 1 for a row or a short text."""

    @property
    def length(self) -> int:
        """Its length before padding, 0 where nothing is padded."""


type Work = Callable[[Sequence[Any]], Sequence[Any]]
"""Runs a batch of items and returns one result for each."""


class Job:
    """One request: its items, shortest first, and the future that gets all results in the order they were given."""

    def __init__(self, work: Work, items: Sequence[Item], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[list[Any]] = loop.create_future()
        self.waiting = deque(sorted(enumerate(items), key=lambda pair: pair[1].length))
        self.weight = sum(item.weight for item in items)
        self.results: list[Any] = [None] * len(items)
        self.left = len(items)
        self.ended = False
        self.queued_at = time.monotonic()

    def settle(self, error: Exception | None = None) -> None:
        """Hands the outcome to the event loop, once."""
        self.ended = True
        self.loop.call_soon_threadsafe(self._resolve, error)

    def _resolve(self, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(self.results)
        else:
            self.future.set_exception(error)


@dataclass(frozen=True)
class Limits:
    """How much waits and how much runs together."""

    workers: int
    max_batch: int
    max_delay_seconds: float
    max_queue: int


type Piece = tuple[Job, int, Any]


class Batcher:
    """The queue and its worker threads.

    Requests take turns: one with many items gives way to the next after each batch. A worker takes its share of what
    waits, so that no worker idles while another runs a large batch.
    """

    def __init__(self, limits: Limits, observe: Callable[[int, float], None]) -> None:
        self.limits = limits
        self._observe = observe
        self._jobs: deque[Job] = deque()
        self._idle = 0
        self._running = 0
        self._changed = threading.Condition()

    def start(self) -> None:
        """Starts the worker threads; they end with the process."""
        for number in range(self.limits.workers):
            threading.Thread(target=self._work, name=f"inference-{number}", daemon=True).start()

    @property
    def depth(self) -> int:
        """Requests that wait, in whole or in part."""
        return len(self._jobs)

    @property
    def running(self) -> int:
        """Workers that run an inference."""
        return self._running

    def submit(self, job: Job) -> None:
        """Queues a request, or refuses it where the queue is full."""
        with self._changed:
            if len(self._jobs) >= self.limits.max_queue:
                raise Refusal(
                    429, "queue_full", f"{self.limits.max_queue} requests are waiting. Try again in a second."
                )
            self._jobs.append(job)
            self._changed.notify(min(len(job.waiting), self.limits.workers))

    def cancel(self, job: Job) -> None:
        """Drops what of a request hasn't started."""
        with self._changed:
            self._drop(job)
        job.future.cancel()

    def _drop(self, job: Job) -> None:
        job.ended = True
        job.waiting.clear()
        job.weight = 0
        with contextlib.suppress(ValueError):
            self._jobs.remove(job)

    def _work(self) -> None:
        while True:
            with self._changed:
                batch = self._next()
            self._run(batch)
            with self._changed:
                self._running -= 1

    def _next(self) -> list[Piece]:
        self._idle += 1
        while not self._ready():
            self._changed.wait(self._patience())
        batch = self._take()
        self._idle -= 1
        self._running += 1
        return batch

    def _ready(self) -> bool:
        if not self._jobs:
            return False
        return self._patience() is None or self._waiting_weight() >= self.limits.max_batch

    def _patience(self) -> float | None:
        """How much longer to wait for company, None when that time is over."""
        if not self._jobs or self.limits.max_delay_seconds <= 0:
            return None
        left = self._jobs[0].queued_at + self.limits.max_delay_seconds - time.monotonic()
        return left if left > 0 else None

    def _waiting_weight(self) -> int:
        return sum(job.weight for job in self._jobs)

    def _take(self) -> list[Piece]:
        share = 1
        if self.limits.max_batch > 1:
            share = min(self.limits.max_batch, -(-self._waiting_weight() // self._idle))
        batch: list[Piece] = []
        for job in list(self._jobs):
            if share <= 0:
                break
            taken = self._take_from(job, batch, share)
            share -= taken
            if taken:
                self._jobs.remove(job)
            if taken and job.waiting:
                self._jobs.append(job)
        return batch

    @staticmethod
    def _take_from(job: Job, batch: list[Piece], room: int) -> int:
        """Moves the items that suit the batch; the first always does."""
        taken = 0
        while job.waiting:
            index, item = job.waiting[0]
            if batch and not (taken + item.weight <= room and suits(batch[0][2], item)):
                break
            job.waiting.popleft()
            batch.append((job, index, item))
            taken += item.weight
        job.weight -= taken
        return taken

    def _run(self, batch: list[Piece]) -> None:
        work = batch[0][0].work
        started = time.perf_counter()
        try:
            results = work([item for _, _, item in batch])
        except Exception as error:  # noqa: BLE001 (handed to the request that it belongs to)
            self._alone(batch, error)
            return
        self._observe(len(batch), time.perf_counter() - started)
        for (job, index, _), result in zip(batch, results, strict=True):
            self._deliver(job, index, result)

    def _alone(self, batch: list[Piece], error: Exception) -> None:
        """After a failure every item runs by itself, so that a bad one fails its own request only."""
        if len(batch) > 1:
            for piece in batch:
                self._run([piece])
            return
        job = batch[0][0]
        with self._changed:
            already = job.ended
            self._drop(job)
        if not already:
            job.settle(error)

    def _deliver(self, job: Job, index: int, result: Any) -> None:
        with self._changed:
            job.results[index] = result
            job.left -= 1
            finished = job.left == 0 and not job.ended
        if finished:
            job.settle()


def suits(first: Item, other: Item) -> bool:
    """Whether two items may share a batch: the same group, and lengths so close that little is padding."""
    return first.group == other.group and abs(first.length - other.length) <= 8 + first.length // 4
