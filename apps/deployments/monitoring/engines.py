"""The engines' own metrics under one set of names, read from each healthy replica's `/metrics`.

What a runtime's metrics are called it declares itself (`Runtime.metrics`). One that hangs costs a scrape a second.
"""

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from apps.deployments import runtimes
from apps.deployments.monitoring.facts import Engine, Facts

logger = logging.getLogger(__name__)
PATIENCE = 1.0  # seconds that an engine has for its answer
FRESH = 5.0  # seconds for which engines aren't asked again
LARGEST = 8 * 1024 * 1024  # bytes of one engine's metrics
PATH = "/metrics"
SUMMED = frozenset({"ttft", "tpot", "queue_seconds"})
"""Canonical names of histograms."""
INFINITE = "+Inf"


@dataclass
class Histogram:
    """Counts up to each bound, their sum and number, over all of an engine's label sets."""

    buckets: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    sum: float = 0.0
    count: float = 0.0

    def lines(self) -> list[tuple[str, float]]:
        """The bounds in order, the last one infinite."""
        return sorted({**self.buckets, INFINITE: self.count}.items(), key=lambda pair: float(pair[0]))


@dataclass(frozen=True)
class Reading:
    """What one engine told. `up` is False for one that didn't, or told nothing that can be read."""

    engine: Engine
    runtime: str
    up: bool
    values: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Histogram] = field(default_factory=dict)


class Told:
    """What an engine told, under the canonical names, over all of its label sets."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self.values: dict[str, float] = {}
        self.histograms: dict[str, Histogram] = defaultdict(Histogram)

    def add(self, sample: Sample) -> None:
        """One line of it."""
        if not math.isfinite(sample.value):
            return
        name = self._names.get(sample.name)
        if name is not None and name not in SUMMED and "quantile" not in sample.labels:
            self._add_value(name, sample.value)
            return
        stem, _, part = sample.name.rpartition("_")
        name = self._names.get(stem)
        if name in SUMMED:
            self._add_part(self.histograms[name], part, sample)
        elif name is not None and part == "sum":
            self._add_value(name, sample.value)  # of a histogram of tokens: what they come to

    def _add_value(self, name: str, value: float) -> None:
        known = self.values.get(name, 0.0)
        # Shares aren't added up: the fullest cache is the one that holds requests up.
        self.values[name] = max(known, value) if name == "kv_cache_usage" else known + value

    @staticmethod
    def _add_part(histogram: Histogram, part: str, sample: Sample) -> None:
        if part == "bucket" and "le" in sample.labels:
            histogram.buckets[_bound(sample.labels["le"])] += sample.value
        elif part == "sum":
            histogram.sum += sample.value
        elif part == "count":
            histogram.count += sample.value


def parse(text: str, names: Mapping[str, str]) -> Told:
    """What a text in Prometheus' format tells under these names. ValueError for what isn't in that format."""
    told = Told(names)
    lines = [line for line in text.splitlines() if line.startswith(tuple(names))]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            told.add(sample)
    return told


def _bound(text: str) -> str:
    return INFINITE if math.isinf(float(text)) else str(float(text))


class Asker:
    """Reads engines for scrapes: all at once, and not again for a few seconds."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None
        self._readings: Sequence[Reading] = ()
        self._read_at = -math.inf
        self._lock = asyncio.Lock()

    async def read(self, facts: Facts) -> Sequence[Reading]:
        """What healthy replicas tell whose runtime says what its metrics are called."""
        async with self._lock:
            if time.monotonic() - self._read_at > FRESH:
                self._readings = await self._read(facts)
                self._read_at = time.monotonic()
            return self._readings

    async def _read(self, facts: Facts) -> Sequence[Reading]:
        asked = []
        for engine in facts.engines:
            runtime = facts.deployments[engine.deployment_id].runtime
            names = names_of(runtime) if engine.live else {}
            if names:
                asked.append(self._ask(engine, runtime, names))
        if asked and self._client is None:
            self._client = await asyncio.to_thread(httpx.AsyncClient, trust_env=False, timeout=PATIENCE)
        return await asyncio.gather(*asked)

    async def _ask(self, engine: Engine, runtime: str, names: Mapping[str, str]) -> Reading:
        try:
            async with asyncio.timeout(PATIENCE):
                text = await self._fetch(engine)
            told = await asyncio.to_thread(parse, text, names)
        except Exception as error:  # noqa: BLE001 (an engine may send anything; it must not take the others along)
            logger.info("the metrics of %s can't be read: %s", engine.id, str(error) or type(error).__name__)
            return Reading(engine, runtime, up=False)
        return Reading(engine, runtime, up=True, values=told.values, histograms=told.histograms)

    async def _fetch(self, engine: Engine) -> str:
        if self._client is None:
            raise OSError("closed")
        headers = {"authorization": f"Bearer {engine.secret}", "accept": "text/plain;version=0.0.4"}
        parts: list[bytes] = []
        size = 0
        async with self._client.stream("GET", engine.url + PATH, headers=headers) as answer:
            if answer.status_code != httpx.codes.OK:
                raise OSError(f"it answers {answer.status_code}")
            async for part in answer.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > LARGEST:
                    raise OSError(f"they are larger than {LARGEST} bytes")
        return b"".join(parts).decode("utf-8", "replace")

    async def close(self) -> None:
        """Hang up."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def names_of(runtime: str) -> Mapping[str, str]:
    """What the runtime's engine calls the canonical metrics; nothing for one that isn't there or doesn't say."""
    entry = runtimes.registry().get(runtime)
    return entry.runtime.metrics if entry and entry.runtime else {}
