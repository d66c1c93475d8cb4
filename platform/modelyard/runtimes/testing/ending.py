"""How an engine ends: asked, killed, or unable to begin."""

import socket
import time
from pathlib import Path

import pytest

from modelyard.launchers.host import this_host
from modelyard.runtimes import Failure, Level
from modelyard.runtimes.testing.engine import Engine
from modelyard.runtimes.testing.explained import assert_explained, assert_finding
from modelyard.runtimes.testing.hooks import Hooks


class Ending(Hooks):
    """Facts about the end of an engine."""

    def test_ends_when_it_is_asked_to(self, tmp_path: Path) -> None:
        """By itself, with all that it started, before it would be killed."""
        with Engine(self.runtime, self.model(), self.options, tmp_path) as engine:
            engine.start().ready()
            seen = engine.stop()
            assert seen.requested
            assert seen.exit_code != -9, "it had to be killed"

    def test_ends_while_it_starts(self, tmp_path: Path) -> None:
        """An undeploy doesn't wait for a model to load."""
        with Engine(self.runtime, self.model(), self.options, tmp_path) as engine:
            engine.start()
            engine.wait(lambda: engine.observation.pid is not None, 10)
            time.sleep(0.3)  # into its imports
            engine.stop()

    def test_leaves_nothing_when_it_is_killed(self, tmp_path: Path) -> None:
        """Workers of an engine whose main process was killed would keep its memory and its port."""
        with Engine(self.runtime, self.model(), self.options, tmp_path) as engine:
            engine.start().ready()
            seen = engine.kill()
            assert not seen.requested
            assert_explained(engine.death())

    def test_a_taken_port_is_explained_and_not_for_ever(self, tmp_path: Path) -> None:
        """The next start gets another port."""
        with socket.create_server(("127.0.0.1", 0)) as thief:
            port = thief.getsockname()[1]
            with Engine(self.runtime, self.model(), self.options, tmp_path, port=port) as engine:
                engine.start().gone(self.runtime.ready_seconds)
                failure = engine.death()
        assert_explained(failure)
        assert not failure.permanent, f"{failure.code} is said to be permanent"
        assert "port" in f"{failure.code} {failure.message}", f"no word about the port: {failure.message}"

    def test_a_broken_model_is_explained_and_permanent(self, tmp_path: Path) -> None:
        """Before the start, by the engine's death or by the probe: and not tried again and again."""
        model = self.broken_model(tmp_path)
        found = [f for f in self.runtime.check(model, self.validated(), this_host()) if f.level == Level.BLOCK]
        for finding in found:
            assert_finding(finding)
        if found:
            return
        with Engine(self.runtime, model, self.options, tmp_path / "engines") as engine:
            failure = self.refusal(engine.start())
        assert_explained(failure)
        assert failure.permanent, f"{failure.code} is said to be worth another try: {failure.message}"

    def refusal(self, engine: Engine) -> Failure:
        """Why the engine can't serve its model: in its death, or in what the probe says for good."""
        deadline = time.monotonic() + self.runtime.ready_seconds
        while time.monotonic() < deadline:
            if engine.ended:
                return engine.death()
            try:
                self.runtime.probe(engine.context, 60)
            except Failure as failure:
                if failure.permanent:
                    return failure
            else:
                pytest.fail("the broken model answers")
            time.sleep(0.05)
        pytest.fail(f"no word about the broken model. Its log: {engine.said()}")
