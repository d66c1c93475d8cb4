"""The suite finds what it promises to find: each small wrong runtime here fails at its own test."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from modelyard_echo import EchoOptions, EchoRuntime

from modelyard.runtimes import Command, Estimate, Failure, Finding, Host, LaunchContext, Level, Model, Options, Route
from modelyard.runtimes.testing import Engine, RuntimeConformance, describe
from modelyard.runtimes.testing.serving import listing
from tests.runtimes.demo_model import demo_model_folder

SHELL = "python=$1; shift; "  # the rest of the engine's arguments stay in "$@"


def wrapped(command: Command, script: str) -> Command:
    """The same engine, started by a shell that does something else too."""
    return replace(command, argv=["/bin/sh", "-c", SHELL + script, "sh", *command.argv])


class Leaky(EchoRuntime):
    """Shows the secret to every user of the host."""

    def command(self, context: LaunchContext[EchoOptions]) -> Command:
        command = super().command(context)
        return replace(command, argv=[*command.argv, context.secret])


class Unexplained(EchoRuntime):
    """Blocks without a way out, and shows people a stack trace."""

    def check(self, model: Model, options: EchoOptions, host: Host) -> Sequence[Finding]:
        return [Finding(Level.BLOCK, "format", "No.")]

    def failure(self, exit_code: int, log_tail: Sequence[str]) -> Failure:
        return Failure("died", "\n".join(log_tail) or "It died.", "")


class Vague(EchoRuntime):
    """Estimates by a formula that gives something else."""

    def estimate(self, model: Model, options: EchoOptions, host: Host) -> Estimate:
        return replace(super().estimate(model, options, host), likely=30_000_000)


class Small(EchoRuntime):
    """Says that it needs less than it takes."""

    def estimate(self, model: Model, options: EchoOptions, host: Host) -> Estimate:
        return Estimate(1_000_000, 1_000_000, 1_000_000, ())


class Silent(EchoRuntime):
    """Takes no notice of being told that a model is bad, and tries for ever."""

    def failure(self, exit_code: int, log_tail: Sequence[str]) -> Failure:
        found = super().failure(exit_code, log_tail)
        return Failure(found.code, found.message, found.next_step)


class Wide(EchoRuntime):
    """Promises a path that its engine doesn't have."""

    def routes(self, model: Model, options: EchoOptions) -> Sequence[Route]:
        return [*super().routes(model, options), Route("PUT", "/v1/nothing")]


class Deaf(EchoRuntime):
    """Doesn't end when it is asked to."""

    def command(self, context: LaunchContext[EchoOptions]) -> Command:
        command = replace(super().command(context), stop_seconds=1)
        return wrapped(command, 'trap "" TERM; exec "$python" "$@"')


class Untidy(EchoRuntime):
    """Writes into the model's folder."""

    def command(self, context: LaunchContext[EchoOptions]) -> Command:
        return wrapped(super().command(context), f'touch "{context.model.path}/cache"; exec "$python" "$@"')


class Bare(EchoRuntime):
    """Options that nobody can understand."""

    class Options(Options):
        speed: int

    options = Options  # type: ignore[assignment]


def suite(runtime: EchoRuntime, folder: Path) -> RuntimeConformance:
    """The suite for one of these, on a copy of the model."""
    model = folder / "model"
    shutil.copytree(demo_model_folder(), model)

    class Suite(RuntimeConformance):
        @classmethod
        def model(cls) -> Model:
            return describe(model, format="onnx")

        @classmethod
        def broken_model(cls, folder: Path) -> Model:
            broken = shutil.copytree(model, folder / "broken-model")
            (broken / "broken").touch()
            return replace(cls.model(), path=broken)

    Suite.runtime = runtime
    return Suite()


FAILING = [
    (Leaky, "the_command_is_an_argument_list_without_the_secret", "the secret is in the arguments"),
    (Unexplained, "nothing_blocks_the_model", "doesn't say what would help"),
    (Vague, "the_estimate_shows_its_formula", "30000000"),
    (Silent, "a_broken_model_is_explained_and_permanent", "worth another try"),
    (Deaf, "ends_when_it_is_asked_to", "had to be killed"),
    (Bare, "options_explain_themselves", "no default"),
]


@pytest.mark.parametrize(("runtime", "test", "words"), FAILING, ids=[case[0].__name__ for case in FAILING])
def test_a_wrong_runtime_fails_at_its_fault(runtime: type[EchoRuntime], test: str, words: str, tmp_path: Path) -> None:
    fact = getattr(suite(runtime(), tmp_path), f"test_{test}")
    needs_place = "tmp_path" in fact.__code__.co_varnames[: fact.__code__.co_argcount]
    with pytest.raises(AssertionError, match=words):
        fact(tmp_path) if needs_place else fact()


@pytest.mark.parametrize(
    ("runtime", "test", "words"),
    [
        (Wide, "every_route_is_there", "PUT /v1/nothing"),
        (Small, "needs_no_more_memory_than_its_highest_estimate", "peak"),
    ],
    ids=["Wide", "Small"],
)
def test_a_wrong_engine_fails_at_its_fault(runtime: type[EchoRuntime], test: str, words: str, tmp_path: Path) -> None:
    checked = suite(runtime(), tmp_path)
    with (
        Engine(checked.runtime, checked.model(), {}, tmp_path / "engine") as engine,
        pytest.raises(AssertionError, match=words),
    ):
        getattr(checked, f"test_{test}")(engine.start().ready())


def test_an_engine_that_writes_into_the_model_is_found(tmp_path: Path) -> None:
    folder = suite(Untidy(), tmp_path).model().path
    before = listing(folder)
    with Engine(Untidy(), describe(folder, format="onnx"), {}, tmp_path / "engine") as engine:
        engine.start().ready()
    assert listing(folder) != before


def test_unexplained_deaths_are_found(tmp_path: Path) -> None:
    checked = suite(Unexplained(), tmp_path)
    with pytest.raises(AssertionError, match="several lines"):
        checked.test_every_death_is_explained(1, ["Traceback (most recent call last):", "ValueError"])
    with pytest.raises(AssertionError, match="what to do next"):
        checked.test_every_death_is_explained(1, [])
