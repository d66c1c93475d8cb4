"""What will run, word for word: the runtime's own command with placeholders for what only a start knows."""

import json
import secrets
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apps.deployments import runtimes
from modelyard.problems import Problem
from modelyard.runtimes import Command, LaunchContext, Model, Options, Runtime

HOST = "127.0.0.1"
PORT, SECRET, WORKDIR, AT_START = "<port>", "<secret>", "<workdir>", "<set at start>"


@dataclass(frozen=True)
class Preview:
    """A command line, what is added to its environment, and the files that are written for it."""

    argv: Sequence[str]
    env: Mapping[str, str]
    files: Sequence[str]
    stop_seconds: float

    @property
    def line(self) -> str:
        """As a shell would take it."""
        return shlex.join(self.argv)


def preview(name: str, plug: Runtime[Any], model: Model, options: Options, served_name: str) -> Preview:
    """Asks the runtime as a start does. A Problem where it can't say."""
    context = LaunchContext(model, options, HOST, _unused(options), "", Path(), served_name)
    first, second = (_asked(name, plug, context) for _ in range(2))
    argv = [_same(*pair) for pair in zip(first.argv, second.argv, strict=False)]
    env = {key: _same(value, second.env.get(key, "")) for key, value in sorted(first.env.items())}
    return Preview(argv, env, first.files, first.stop_seconds)


def _asked(name: str, plug: Runtime[Any], context: LaunchContext[Any]) -> Preview:
    with tempfile.TemporaryDirectory(prefix="my-preview-") as folder:
        launch = replace(context, secret=secrets.token_hex(32), workdir=Path(folder))
        with runtimes.asking(name):
            command: Command = plug.command(launch)
        files = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())
        known = {launch.secret: SECRET, folder: WORKDIR, str(launch.port): PORT}
    argv = [_masked(word, known) for word in command.argv]
    env = {key: _masked(value, known) for key, value in command.env.items()}
    return Preview(argv, env, files, command.stop_seconds)


def _masked(text: str, known: Mapping[str, str]) -> str:
    for value, placeholder in known.items():
        text = text.replace(value, placeholder)
    return text


def _same(first: str, second: str) -> str:
    """What differs from one start to the next, as what is made from the secret does, isn't shown."""
    return first if first == second else AT_START


def _unused(options: Options) -> int:
    """A port that isn't among the options, so that it can be told apart."""
    said = json.dumps(options.model_dump(mode="json"))
    found = next((port for port in range(64_901, 65_000) if str(port) not in said), None)
    if found is None:
        raise Problem("no_preview", "The command can't be shown.", "Use fewer numbers in the options.")
    return found
