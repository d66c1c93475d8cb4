"""What a runtime says of itself, before anything is started."""

import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import pydantic
import pytest

from modelyard.launchers.host import this_host
from modelyard.runtimes import CONTRACT_VERSION, Failure, Level
from modelyard.runtimes.testing.engine import SERVED_NAME, Engine
from modelyard.runtimes.testing.explained import assert_explained, assert_finding
from modelyard.runtimes.testing.hooks import Hooks

METRICS = {"ttft", "tpot", "queue_seconds", "queue", "running", "prompt_tokens", "tokens", "kv_cache_usage"}
STEPS = {"parameters", "hardware"}
EXIT_CODES = (0, 1, 2, 3, 77, 127, 137, 139, -4, -6, -9, -11, -15)
LOGS: tuple[list[str], ...] = (
    [],
    ["", "   ", "\x1b[31mred\x1b[0m \x00\x07"],
    ["Traceback (most recent call last):", '  File "engine.py", line 1, in <module>', "ValueError: unforeseen"],
    ["x" * 20_000],
)


class Declared(Hooks):
    """Facts about the class and its answers."""

    def test_is_registered_under_the_entry_point_group(self) -> None:
        """The platform finds it by entry point; its name there is what the database stores."""
        found = [point.value for point in entry_points(group="modelyard.runtimes")]
        here = type(self.runtime)
        assert any(value.rpartition(":")[2] == here.__name__ for value in found), (
            f"{here} is not among {found}: is it installed (pip install -e .)?"
        )

    def test_is_made_for_this_contract(self) -> None:
        """A plugin for another version is shown as incompatible and never called."""
        assert self.runtime.contract_version == CONTRACT_VERSION
        assert self.runtime.title.strip()
        assert self.runtime.ready_seconds > 0

    def test_metrics_have_names_that_the_platform_knows(self) -> None:
        """Engines' metrics are told under these names only; what is misspelt would be told nowhere."""
        assert set(self.runtime.metrics.values()) <= METRICS

    def test_options_explain_themselves(self) -> None:
        """The form, the API and the reference page are made from the options' fields."""
        for name, field in self.runtime.options.model_fields.items():
            assert not field.is_required(), f"{name} has no default"
            assert field.title, f"{name} has no title"
            assert field.description, f"{name} has no description"

    def test_options_are_asked_for_at_a_step_that_there_is(self) -> None:
        """`step` and `advanced` say where the deploy wizard asks for an option; what is misspelt would be ignored."""
        for name, described in self.runtime.options.model_json_schema().get("properties", {}).items():
            assert described.get("step", "parameters") in STEPS, f"{name} is asked for at no known step"
            assert isinstance(described.get("advanced", False), bool), f"{name} is advanced or isn't: true or false"
        idle = set(self.runtime.idle_options(self.model()))
        assert idle <= set(self.runtime.options.model_fields), f"{idle} aren't all options"

    def test_options_survive_storage(self) -> None:
        """They are stored as JSON and read again."""
        options = self.runtime.options.model_validate(dict(self.options))
        stored = json.loads(json.dumps(options.model_dump(mode="json")))
        assert self.runtime.options.model_validate(stored) == options

    def test_unknown_options_are_refused(self) -> None:
        """A misspelt option is told to the person who wrote it."""
        with pytest.raises(pydantic.ValidationError):
            self.runtime.options.model_validate({"no_such_option_xyz": 1})

    def test_nothing_blocks_the_model(self) -> None:
        """The model that these tests serve is one that it can serve here."""
        findings = self.runtime.check(self.model(), self.validated(), this_host())
        for finding in findings:
            assert_finding(finding)
        assert not [finding for finding in findings if finding.level == Level.BLOCK]

    def test_another_format_is_blocked_with_a_reason(self, tmp_path: Path) -> None:
        """What it can't serve is said before a deployment, with what would help."""
        findings = self.runtime.check(self.foreign_model(tmp_path), self.validated(), this_host())
        assert [finding for finding in findings if finding.level == Level.BLOCK]
        for finding in findings:
            assert_finding(finding)

    def test_the_estimate_shows_its_formula(self) -> None:
        """Low, likely and high are in order, and the parts make up the likely figure."""
        estimate = self.runtime.estimate(self.model(), self.validated(), this_host())
        assert 0 < estimate.low <= estimate.likely <= estimate.high
        assert all(part.name and part.formula for part in estimate.parts)
        assert sum(part.bytes for part in estimate.parts) == pytest.approx(estimate.likely, rel=0.01)

    def test_the_command_is_an_argument_list_without_the_secret(self, tmp_path: Path) -> None:
        """Arguments are readable by every user of the host, so the secret goes into the environment or a file."""
        with Engine(self.runtime, self.model(), self.options, tmp_path) as engine:
            command = self.runtime.command(engine.context)
            assert not isinstance(command.argv, str)
            assert all(isinstance(argument, str) for argument in command.argv)
            assert engine.context.secret not in " ".join(command.argv), "the secret is in the arguments"
            assert all(isinstance(value, str) for value in command.env.values())
            assert 0 < command.stop_seconds <= 300

    def test_the_sample_is_for_a_route(self) -> None:
        """Copy cURL and the test console send it through the gateway, which lets routes pass only."""
        options = self.validated()
        sample = self.runtime.sample(self.model(), options, SERVED_NAME)
        routes = [(route.method, route.path) for route in self.runtime.routes(self.model(), options)]
        patterns = [(method, re.sub(r"\{\w+\}", "[^/]+", path)) for method, path in routes]
        assert any(method == sample.method and re.fullmatch(path, sample.path) for method, path in patterns), (
            f"{sample.method} {sample.path} is none of {routes}"
        )
        json.dumps(sample.body)

    @pytest.mark.parametrize("log", LOGS, ids=["silent", "blank", "traceback", "long"])
    @pytest.mark.parametrize("exit_code", EXIT_CODES)
    def test_every_death_is_explained(self, exit_code: int, log: list[str]) -> None:
        """Also one that nobody has seen before."""
        assert_explained(self.runtime.failure(exit_code, log))

    def test_an_engine_that_does_not_listen_yet_may_still_come(self, tmp_path: Path) -> None:
        """The probe of an engine that still loads fails, and says that it may work later."""
        with Engine(self.runtime, self.model(), self.options, tmp_path) as engine:
            with pytest.raises(Failure) as caught:
                self.runtime.probe(engine.context, 5)
            assert_explained(caught.value)
            assert not caught.value.permanent
