"""The metrics as Prometheus reads them: of every web process, the database's facts, and the engines."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import psutil
from django.conf import settings
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from apps.deployments.gateway.metrics import SECONDS
from apps.deployments.monitoring.engines import Reading
from apps.deployments.monitoring.facts import Facts
from apps.deployments.monitoring.snapshots import Snapshot
from apps.deployments.statuses import ReplicaState, Status
from modelyard import __version__

CALLED = ("deployment", "name", "process")
ANSWERED = ("deployment", "name", "replica", "runtime")
BOUNDS = (*(str(bound) for bound in SECONDS), "+Inf")
PERIODS = {"minute": "per_minute", "day": "per_day", "month": "per_month"}
LIMITED_TOO = "too_many_requests"  # the gateway's code for GATEWAY_MAX_IN_FLIGHT

Labelled = Iterable[tuple[tuple[str, ...], float]]


class Exposition:
    """One scrape. Without facts, names are empty and nothing is said of replicas and gaps."""

    def __init__(
        self, snapshots: Sequence[Snapshot], facts: Facts | None, readings: Sequence[Reading], *, database: bool
    ) -> None:
        self.snapshots = snapshots
        self.alive = [each for each in snapshots if each.alive]
        self.facts = facts
        self.readings = readings
        self.database = database

    def collect(self) -> Iterator[Metric]:
        """All of it, a family at a time."""
        yield gauge("build_info", "The version that answers.", ("version",), [((__version__,), 1)])
        yield from self._calls()
        yield from self._times()
        yield from self._ledger()
        yield from self._parts()
        yield from self._connections()
        yield from self._processes()
        yield from self._deployments()
        yield from Engines(self.readings, self._name).collect()

    # --- calls ---------------------------------------------------------------------------------------------------

    def _name(self, deployment_id: str) -> str:
        served = self.facts.deployments.get(deployment_id) if self.facts else None
        return served.name if served else ""

    def _traffic(self, *, alive: bool = False) -> Iterator[tuple[tuple[str, str, str], Mapping[str, Any]]]:
        """What each process counted for each deployment that is still there, with its labels."""
        for snapshot in self.alive if alive else self.snapshots:
            for deployment, traffic in snapshot.content["traffic"].items():
                if self.facts is None or deployment in self.facts.deployments:
                    yield (deployment, self._name(deployment), snapshot.process), traffic

    def _calls(self) -> Iterator[Metric]:
        yield counter(
            "gateway_requests", "Calls that were answered, by HTTP status.", (*CALLED, "status"),
            ((((*labels, status)), count) for labels, each in self._traffic()
             for status, count in each["statuses"].items()),
        )  # fmt: skip
        yield counter(
            "gateway_errors", "Calls that the gateway answered itself or had to cut, by its code.", (*CALLED, "code"),
            (((*labels, code), count) for labels, each in self._traffic() for code, count in each["errors"].items()),
        )  # fmt: skip
        yield counter(
            "gateway_refused", "Requests without a valid key, by the gateway's code.", ("process", "code"),
            (((snapshot.process, code), count) for snapshot in self.snapshots
             for code, count in snapshot.content["refused"].items()),
        )  # fmt: skip
        yield counter("gateway_limit_hits", "Calls that a limit refused: whose, and which.",
                      (*CALLED, "of", "limit"), self._limited())  # fmt: skip
        for kind in ("prompt", "completion"):
            yield counter(
                f"gateway_{kind}_tokens", f"The {kind} tokens of calls, as the engine told or estimated.", CALLED,
                ((labels, each[f"{kind}_tokens"]) for labels, each in self._traffic()),
            )  # fmt: skip
        yield gauge(
            "gateway_requests_in_flight", "Calls being answered.", CALLED,
            ((labels, each["open"]) for labels, each in self._traffic(alive=True)),
        )  # fmt: skip

    def _limited(self) -> Labelled:
        for labels, each in self._traffic():
            for whose, what, count in each["limited"]:
                yield (*labels, "key" if whose == "API key" else whose, limit_of(what)), count
            if LIMITED_TOO in each["errors"]:
                yield (*labels, "gateway", "max_in_flight"), each["errors"][LIMITED_TOO]

    def _times(self) -> Iterator[Metric]:
        for field, name, what in (
            ("first_byte", "time_to_first_byte", "From a call's head to the first byte of the engine's answer."),
            ("duration", "request_duration", "From a call's head to the end of its answer."),
        ):
            family = HistogramMetricFamily(f"modelyard_gateway_{name}_seconds", what, labels=CALLED)
            for labels, each in self._traffic():
                *counts, total = each[field]
                family.add_metric(labels, list(zip(BOUNDS, accumulate(counts), strict=True)), total)
            yield family

    # --- parts ---------------------------------------------------------------------------------------------------

    def _of_each(self, *path: str, alive: bool = True) -> Labelled:
        """One number of each process."""
        for snapshot in self.alive if alive else self.snapshots:
            found: Any = snapshot.content
            for step in path:
                found = found[step]
            yield (snapshot.process,), found

    def _ledger(self) -> Iterator[Metric]:
        own = ("process",)
        yield gauge("ledger_buffer_rows", "Calls that wait for the database.", own, self._of_each("ledger", "waiting"))
        yield gauge("ledger_buffer_limit_rows", "How many may wait; what comes beyond is dropped.", own,
                    self._of_each("ledger", "most"))  # fmt: skip
        yield counter("ledger_written_rows", "Calls that were written to the ledger.", own,
                      self._of_each("ledger", "written", alive=False))  # fmt: skip
        yield counter("ledger_dropped_rows", "Calls that were dropped because the buffer was full.", own,
                      self._of_each("ledger", "dropped", alive=False))  # fmt: skip
        if self.facts:
            lost = {"full": 0, "killed": 0, **self.facts.lost}
            yield counter("ledger_lost_rows", "Calls that the ledger lacks for good, over all processes ever.",
                          ("reason",), (((reason,), count) for reason, count in lost.items()))  # fmt: skip

    def _parts(self) -> Iterator[Metric]:
        away = [((each.process,), each.redis_away) for each in self.alive]
        yield gauge("redis_away", "1 while the process can't hear Redis.", ("process",),
                    ((labels, float(seconds > 0)) for labels, seconds in away))  # fmt: skip
        yield gauge("redis_away_seconds", "How long it couldn't, up to now.", ("process",), away)
        yield gauge("redis_away_limit_seconds", "How long calls are served without it: MODELYARD_REDIS_AWAY_SECONDS.",
                    (), [((), settings.REDIS_AWAY_SECONDS)])  # fmt: skip
        yield gauge("database_up", "1 if the database answered this scrape.", (), [((), float(self.database))])

    def _connections(self) -> Iterator[Metric]:
        yield gauge("gateway_client_connections", "Open connections of callers, people in the admin included.",
                    ("process",), self._of_each("callers"))  # fmt: skip
        yield gauge(
            "gateway_upstream_connections", "Connections to engines: busy with a call, or kept for the next.",
            ("process", "state"),
            (((*labels, state), count) for state in ("busy", "idle")
             for labels, count in self._of_each("upstream", state)),
        )  # fmt: skip

    def _processes(self) -> Iterator[Metric]:
        rows = [(each.process, row) for each in self.alive if (row := resources(each.content["pid"]))]
        for name, what, family in (
            ("cpu_seconds", "CPU time of the web process.", counter),
            ("resident_memory_bytes", "Its resident memory.", gauge),
            ("open_fds", "Its open file descriptors.", gauge),
            ("threads", "Its threads.", gauge),
            ("start_time_seconds", "When it began, in seconds since the epoch.", gauge),
        ):
            yield family(f"process_{name}", what, ("process",), [((process,), row[name]) for process, row in rows])

    # --- what is deployed ----------------------------------------------------------------------------------------

    def _deployments(self) -> Iterator[Metric]:
        if self.facts is None:
            return
        served = self.facts.deployments.values()
        yield gauge("deployment_status", "1 for the status that the deployment has.", ("deployment", "name", "status"),
                    (((each.id, each.name, each.status), 1) for each in served))  # fmt: skip
        statuses = [each.status for each in served]
        yield gauge("deployments", "Deployments by status.", ("status",),
                    (((status,), statuses.count(status)) for status in Status.values))  # fmt: skip
        states = [(each.deployment_id, self._name(each.deployment_id), each.state) for each in self.facts.engines]
        named = [(each.id, each.name, state) for each in served for state in (ReplicaState.READY, *_unready(states))]
        yield gauge("deployment_replicas", "Replicas by state; those that are ready answer calls.",
                    ("deployment", "name", "state"), ((key, states.count(key)) for key in named))  # fmt: skip
        where = {each.id: each.deployment_id for each in self.facts.engines}
        left_alone = [(replica, each.process) for each in self.alive for replica in each.content["ejected"]]
        ejected = [(where[one], self._name(where[one]), process) for one, process in left_alone if one in where]
        yield gauge(
            "gateway_replicas_ejected", "Replicas that a process leaves alone for a while, because they broke off.",
            CALLED, ((labels, ejected.count(labels)) for labels, _ in self._traffic(alive=True)),
        )  # fmt: skip


def _unready(states: Sequence[tuple[str, str, str]]) -> list[str]:
    return sorted({state for _, _, state in states} - {ReplicaState.READY})


class Engines:
    """The engines' part of it, under canonical names."""

    VALUES = (
        ("running", "requests_running", "Requests that the engine works on.", True),
        ("queue", "requests_waiting", "Requests that wait in the engine.", True),
        ("kv_cache_usage", "kv_cache_usage_ratio", "The part of the KV cache that is used, 0 to 1.", True),
        ("prompt_tokens", "prompt_tokens", "Prompt tokens that the engine read.", False),
        ("tokens", "generation_tokens", "Tokens that the engine made.", False),
    )
    TIMES = (
        ("ttft", "time_to_first_token_seconds", "From a request to its first token, as the engine measures it."),
        ("tpot", "time_per_output_token_seconds", "Between two tokens of an answer."),
        ("queue_seconds", "queue_time_seconds", "That requests waited in the engine."),
    )

    def __init__(self, readings: Sequence[Reading], name: Any) -> None:
        self.rows = [
            ((each.engine.deployment_id, name(each.engine.deployment_id), each.engine.id, each.runtime), each)
            for each in readings
        ]

    def collect(self) -> Iterator[Metric]:
        """What they told; and which of them did."""
        yield gauge("engine_up", "1 if the engine's own metrics could be read.", ANSWERED,
                    ((labels, float(each.up)) for labels, each in self.rows))  # fmt: skip
        for name, shown, what, goes_down in self.VALUES:
            found = [(labels, each.values[name]) for labels, each in self.rows if name in each.values]
            yield (gauge if goes_down else counter)(f"engine_{shown}", what, ANSWERED, found)
        for name, shown, what in self.TIMES:
            family = HistogramMetricFamily(f"modelyard_engine_{shown}", what, labels=ANSWERED)
            for labels, each in self.rows:
                histogram = each.histograms.get(name)
                if histogram:
                    family.add_metric(labels, histogram.lines(), histogram.sum)
            yield family


def counter(name: str, what: str, labels: Sequence[str], rows: Labelled) -> Metric:
    """A family of counters; the format puts `_total` behind its name."""
    family = CounterMetricFamily(f"modelyard_{name}", what, labels=labels)
    for values, count in rows:
        family.add_metric(values, count)
    return family


def gauge(name: str, what: str, labels: Sequence[str], rows: Labelled) -> Metric:
    """A family of gauges."""
    family = GaugeMetricFamily(f"modelyard_{name}", what, labels=labels)
    for values, count in rows:
        family.add_metric(values, count)
    return family


def limit_of(what: str) -> str:
    """The limit's name in the model and the API: `requests a minute` is requests_per_minute."""
    unit, _, period = what.partition(" a ")
    return f"{unit}_{PERIODS[period]}" if period in PERIODS else "concurrent_requests"


def resources(pid: int) -> Mapping[str, float]:
    """What a process uses; nothing if it is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return {
                "cpu_seconds": times.user + times.system,
                "resident_memory_bytes": process.memory_info().rss,
                "open_fds": process.num_fds(),
                "threads": process.num_threads(),
                "start_time_seconds": min(process.create_time(), time.time()),
            }
    except psutil.Error:
        return {}
