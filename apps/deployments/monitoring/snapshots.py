"""What every web process of this data directory has counted, in files that all of them read.

Web processes may share a port, and one that finishes its last calls listens no more: no scrape could reach each.
So each has a place, the lowest number that is free, and writes there what it counted; whoever is asked tells it of all.
"""

import asyncio
import fcntl
import itertools
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apps.deployments.gateway.app import Gateway
    from apps.deployments.gateway.metrics import Traffic

logger = logging.getLogger(__name__)
FORM = 1  # of the content: another version's is left out while an upgrade goes on
EVERY = 1.0  # seconds between two looks at whether there is something to write
KEPT = 300.0  # seconds for which what an ended process counted is told: every scraper has seen it then
HICCUP = 1.0  # seconds without Redis that are no news


@dataclass(frozen=True)
class Snapshot:
    """What one web process counted. `process` is the number of its place; an ended one's gauges say nothing."""

    process: str
    alive: bool
    content: Mapping[str, Any]

    @property
    def redis_away(self) -> float:
        """Seconds since Redis was heard last; 0 while it is."""
        since = self.content["redis_away_since"]
        return max(time.time() - since, 0.0) if since else 0.0


class Place:
    """Where this process writes: a number that nobody else has for as long as it lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number, self._lock = next(taken for number in itertools.count() if (taken := _take(folder, number)))
        self._path = _file(folder, self.number)
        self._written = ""

    @property
    def process(self) -> str:
        """Its label in the metrics."""
        return str(self.number)

    def write(self, content: Mapping[str, Any]) -> None:
        """Keep what was counted, if anything changed."""
        text = json.dumps(content, separators=(",", ":"))
        if text == self._written:
            return
        fresh = self._path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._path)
        self._written = text

    def close(self) -> None:
        """The number is free again; what was counted stays for a while."""
        os.close(self._lock)


def _file(folder: Path, number: int) -> Path:
    return folder / f"web-{number}.json"


def _take(folder: Path, number: int) -> tuple[int, int] | None:
    lock = os.open(folder / f"web-{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return number, lock


def read(folder: Path) -> list[Snapshot]:
    """What all processes wrote last, in the order of their numbers; what ended long ago is thrown away."""
    numbers = sorted(int(path.stem[4:]) for path in folder.glob("web-*.json") if path.stem[4:].isdigit())
    found = [_read(folder, number) for number in numbers]
    return [each for each in found if each is not None]


def _read(folder: Path, number: int) -> Snapshot | None:
    path = _file(folder, number)
    taken = _take(folder, number)
    try:
        if taken and time.time() - path.stat().st_mtime > KEPT:
            path.unlink()
            return None
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    finally:
        if taken:
            os.close(taken[1])
    if content.get("form") != FORM:
        return None
    return Snapshot(str(number), taken is None, content)


# --- of this process ----------------------------------------------------------------------------------------------


async def publish(gateway: "Gateway", place: Place) -> None:
    """Write what the process counted about once a second, for as long as it lives."""
    while True:
        await write(gateway, place)
        await asyncio.sleep(EVERY)


async def write(gateway: "Gateway", place: Place) -> Snapshot:
    """Write what the process has counted by now; what that is."""
    content = counted(gateway)
    try:
        await asyncio.to_thread(place.write, content)
    except OSError as error:
        logger.warning("what was counted can't be kept for the metrics: %s", error)
    return Snapshot(place.process, True, content)


def counted(gateway: "Gateway") -> dict[str, Any]:
    """All that one process counts. Times are moments, not ages, so that nothing changes while nothing happens."""
    now = time.monotonic()
    feed, pool, recorder = gateway.feed, gateway.pool, gateway.recorder
    away = now >= feed.heard_until and now - feed.away_since > HICCUP
    return {
        "form": FORM,
        "pid": os.getpid(),
        "traffic": {each.deployment_id: _traffic(each) for each in gateway.metrics.traffic.values()},
        "refused": dict(gateway.metrics.refused),
        "ledger": {
            "waiting": recorder.depth,
            "most": recorder.full,
            "written": recorder.tally.written,
            "dropped": recorder.dropped,
            "untold": recorder.missing,
        },
        "redis_away_since": round(gateway.epoch + feed.away_since) if away else None,
        "callers": len(gateway.doors),
        "upstream": {"idle": sum(map(len, pool.idle.values())), "busy": sum(pool.in_flight.values())},
        "ejected": sorted(replica for replica, until in pool.ejected.items() if until > now),
    }


def _traffic(traffic: "Traffic") -> dict[str, Any]:
    return {
        "open": traffic.open,
        "statuses": {str(status): count for status, count in traffic.statuses.items()},
        "errors": dict(traffic.errors),
        "limited": [[whose, what, count] for (whose, what), count in traffic.limited.items()],
        "first_byte": [*traffic.first_byte, traffic.first_byte_sum],
        "duration": [*traffic.duration, traffic.duration_sum],
        "prompt_tokens": traffic.prompt_tokens,
        "completion_tokens": traffic.completion_tokens,
    }
