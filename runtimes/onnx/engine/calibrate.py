"""Measures at start how this model runs on this machine: the first real inferences, and whether batches pay."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .classes import ClassModel
from .infer import TensorModel
from .refusals import Refusal
from .texts import TextItem, TextModel

log = logging.getLogger(__name__)

TRIAL_BATCH = 8
WORTHWHILE = 1.15
"""A batch has to give at least this many times the throughput, or latency would be paid for nothing."""

SLOW_SECONDS = 0.5
"""One inference this slow keeps a core busy by itself; trying batches would only delay the start."""

SMALL_MODEL_BYTES = 300 << 20
TRIAL_TOKENS = 32


@dataclass(frozen=True)
class Threads:
    """Inferences at a time, and threads of each."""

    workers: int
    intra_op: int


def choose_threads(weight_bytes: int, workers: int, intra_op: int) -> Threads:
    """Small models run one inference a core; large ones share cores, since each inference needs much memory."""
    cores = available_cores()
    if not workers and not intra_op:
        intra_op = 1 if weight_bytes <= SMALL_MODEL_BYTES else min(cores, 4)
    workers = workers or max(1, cores // intra_op)
    return Threads(workers, intra_op or max(1, cores // workers))


def available_cores() -> int:
    """Cores that this process may use, by its affinity and by its control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, min(cores, round(quota))) if quota else cores


def _quota() -> float | None:
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def batch_of_texts(model: TextModel | ClassModel, wanted: int) -> int:
    """Warms the text side up and says how many short texts run together."""
    limit = (model.tokenizer.truncation or {}).get("max_length") or TRIAL_TOKENS
    tokens, vocabulary = min(TRIAL_TOKENS, limit), model.tokenizer.get_vocab_size()
    items = [TextItem([place % vocabulary for place in range(start, start + tokens)]) for start in (5, 99)]
    seconds = _seconds(model.run, items[:1])
    return wanted or _worthwhile(model.run, items, seconds)


def batch_of_tensors(model: TensorModel, wanted: int) -> int:
    """Warms the infer side up, proves whether rows are independent, and says how many run together."""
    items = [model.example(0), model.example(1)]
    try:
        seconds = _seconds(model.run, items[:1])
        model.stacks = wanted != 1 and model.may_stack and seconds < SLOW_SECONDS and _agree(model.run, items)
    except Refusal as refusal:
        log.info("made-up inputs don't suit this model, so requests run one by one (%s)", refusal.message)
        return 1
    if not model.stacks:
        return 1
    return wanted or _worthwhile(model.run, items, seconds)


def _seconds(run: Callable[[Sequence[Any]], Sequence[Any]], items: Sequence[Any], times: int = 3) -> float:
    run(items)  # the first one also allocates
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        run(items)
        taken.append(time.perf_counter() - started)
        if taken[-1] > SLOW_SECONDS:
            break
    return min(taken)


def _agree(run: Callable[[Sequence[Any]], Sequence[Any]], items: Sequence[Any]) -> bool:
    """Whether two requests run together answer as they do alone."""
    try:
        together = run(items)
    except (Refusal, ValueError):
        return False
    alone = [run([item])[0] for item in items]
    return all(_close(one, other) for one, other in zip(together, alone, strict=True))


def _close(one: Any, other: Any) -> bool:
    pairs = zip(one, other, strict=True) if isinstance(one, list) else [(one, other)]
    return all(_same(first, second) for first, second in pairs)


def _same(first: Any, second: Any) -> bool:
    if first.dtype.kind == "f":
        return bool(np.allclose(first, second, rtol=1e-3, atol=1e-4, equal_nan=True))
    return bool(np.array_equal(first, second))


def _worthwhile(run: Callable[[Sequence[Any]], Sequence[Any]], items: Sequence[Any], alone: float) -> int:
    if alone > SLOW_SECONDS:
        return 1
    if not _agree(run, items):
        log.info("answers depend on what else is in the batch, so requests run one by one")
        return 1
    together = _seconds(run, [items[place % 2] for place in range(TRIAL_BATCH)], 2) / TRIAL_BATCH
    gain = alone / together
    chosen = TRIAL_BATCH if gain >= WORTHWHILE else 1
    log.info("one alone takes %.1f ms, in a batch %.1f ms: up to %d together", alone * 1e3, together * 1e3, chosen)
    return chosen
