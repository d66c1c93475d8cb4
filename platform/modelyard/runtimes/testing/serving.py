"""What a running engine does."""

import ipaddress
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from modelyard.launchers.host import this_host
from modelyard.runtimes import Usage, with_text
from modelyard.runtimes.testing.engine import SERVED_NAME, Engine
from modelyard.runtimes.testing.hooks import Hooks

IDLE = 0.5  # of one core
IDLE_WITHIN = 20.0  # seconds after a caller went away


class Serving(Hooks):
    """Facts about one engine that is started once for all of them."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
        """A ready engine, and what the model's folder was like before it started."""
        model = cls.model()
        before = listing(model.path)
        with Engine(cls.runtime, model, cls.options, tmp_path_factory.mktemp("engine")) as engine:
            yield engine.start().ready()
        assert listing(model.path) == before, "the engine changed the model's folder"

    def test_the_sample_answers(self, engine: Engine) -> None:
        """What Copy cURL shows works."""
        sample = self.runtime.sample(engine.context.model, engine.context.options, SERVED_NAME)
        answer = engine.ask(sample.path, dict(sample.body), method=sample.method)
        assert answer.status_code == 200, answer.text[:500]
        answer.json()

    def test_the_tokens_of_an_answer_are_counted(self, engine: Engine) -> None:
        """Limits and the ledger live from this; a protocol without tokens has none."""
        sample = self.runtime.sample(engine.context.model, engine.context.options, SERVED_NAME)
        usage = self.runtime.usage(sample.path, engine.ask(sample.path, dict(sample.body)).json())
        if sample.path.startswith("/v1/"):
            assert isinstance(usage, Usage)
            assert usage.prompt_tokens > 0

    def test_samples_answer_and_are_the_same_each_time(self, engine: Engine) -> None:
        """An optimization is judged by them."""
        context = engine.context
        first, again = (
            self.runtime.samples(context.model, context.options, SERVED_NAME, ["a small cat", "a large ship"])
            for _ in range(2)
        )
        assert [sample.body for sample in first] == [sample.body for sample in again]
        assert len(first) == 2
        for sample in first:
            assert engine.ask(sample.path, dict(sample.body)).status_code == 200

    def test_every_route_is_there(self, engine: Engine) -> None:
        """Nothing is promised that the engine doesn't have. (An empty body may be refused, not unknown.)"""
        for method, path in self.places(engine):
            answer = engine.ask(path, {}, method=method)
            assert answer.status_code not in {404, 405, 501}, f"{method} {path}: {answer.status_code}"

    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}], ids=["none", "wrong"])
    def test_every_route_refuses_who_has_not_the_secret(self, engine: Engine, headers: Mapping[str, str]) -> None:
        """Another user of the host reaches the port too, past keys and limits."""
        with httpx.Client(base_url=engine.context.base_url, timeout=60, trust_env=False) as client:
            for method, path in self.places(engine):
                content = "{}" if method == "POST" else None
                status = client.request(method, path, content=content, headers=dict(headers)).status_code
                assert status in {401, 403}, f"{method} {path} answered {status} without the secret"

    def test_listens_on_loopback_only(self, engine: Engine) -> None:
        """No port of an engine is open to the network."""
        addresses = [
            connection.laddr
            for process in engine.left()
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert engine.context.port in {address.port for address in addresses}
        open_to_all = [address for address in addresses if not ipaddress.ip_address(address.ip).is_loopback]
        assert not open_to_all

    def test_a_bad_request_gets_an_answer_and_hurts_nobody(self, engine: Engine) -> None:
        """The engine says what is wrong instead of breaking."""
        sample = self.runtime.sample(engine.context.model, engine.context.options, SERVED_NAME)
        answer = engine.client.post(sample.path, content=b'{"broken', headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500
        self.test_the_sample_answers(engine)

    def test_streams(self, engine: Engine) -> None:
        """Chunk after chunk, at the end the usage and the mark of the end."""
        path, body = self.streamed(engine)
        events: list[str] = []
        with engine.client.stream("POST", path, json=body) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            events += [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
        assert len(events) >= 3
        assert events[-1] == "[DONE]"
        counted = [self.runtime.usage(path, json.loads(event)) for event in events[:-1]]
        usage = [found for found in counted if found and found.completion_tokens]
        assert usage
        assert usage[-1].prompt_tokens > 0

    def test_a_caller_that_goes_away_frees_the_engine(self, engine: Engine) -> None:
        """It stops working on an answer that nobody reads, and the next caller is served."""
        path, body = self.streamed(engine)
        body = {**with_text(body, self.long_text), "max_tokens": 400, "stream": True}
        with engine.client.stream("POST", path, json=body) as answer:
            next(line for line in answer.iter_lines() if line.startswith("data: "))
        assert engine.wait(lambda: busy(engine) < IDLE, IDLE_WITHIN), "it still works for a caller that went away"
        self.test_the_sample_answers(engine)

    def test_two_engines_do_not_collide(self, engine: Engine, tmp_path: Path) -> None:
        """Ports, sockets and caches are each one's own."""
        with Engine(self.runtime, self.model(), self.options, tmp_path) as other:
            other.start().ready()
            assert engine.answers()

    def test_needs_no_more_memory_than_its_highest_estimate(self, engine: Engine) -> None:
        """Whoever plans with the estimate isn't surprised."""
        estimate = self.runtime.estimate(engine.context.model, engine.context.options, this_host())
        assert engine.answers()
        assert not engine.ended
        figures = (estimate.low, estimate.likely, estimate.high, engine.peak)
        low, likely, high, peak = (f"{figure / 1e6:.0f}" for figure in figures)
        print(f"{self.runtime.title}: estimated {low}-{likely}-{high} MB, peak {peak} MB")  # noqa: T201 (pytest -rP)
        assert 0 < engine.peak <= estimate.high

    def places(self, engine: Engine) -> Iterator[tuple[str, str]]:
        """Method and path of each route, with this model's name filled in."""
        for route in self.runtime.routes(engine.context.model, engine.context.options):
            path = re.sub(r"\{(model|name|model_name)\}", SERVED_NAME, route.path)
            yield route.method, re.sub(r"\{\w+\}", "1", path)

    def streamed(self, engine: Engine) -> tuple[str, dict[str, Any]]:
        """A request for a stream; skips the test for engines that don't generate text."""
        sample = self.runtime.sample(engine.context.model, engine.context.options, SERVED_NAME)
        if not {"messages", "prompt"} & set(sample.body):
            pytest.skip(f"{sample.path} has no stream")
        body = {**sample.body, "stream": True, "stream_options": {"include_usage": True}}
        return sample.path, {**body, "max_tokens": 16} if "max_tokens" in body else body


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything in a folder."""
    found = {path: path.stat() for path in folder.rglob("*")}
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def busy(engine: Engine, seconds: float = 0.5) -> float:
    """Cores that the engine's processes use."""
    before = cpu(engine)
    time.sleep(seconds)
    return (cpu(engine) - before) / seconds


def cpu(engine: Engine) -> float:
    """Processor seconds of all its processes so far."""
    total = 0.0
    for process in engine.left():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total
