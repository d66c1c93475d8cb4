"""What people see in the terminal: short lines, and colours only where a terminal shows them."""

import contextlib
import sys
import time

import click


class Stop(Exception):
    """What can't go on, in one line: what happened and what to do."""


def step(text: str, started: float | None = None) -> None:
    """Something is done; with the seconds since `started` (monotonic)."""
    took = f" ({time.monotonic() - started:.1f} s)" if started is not None else ""
    _say(click.style("✓ ", fg="green") + text + click.style(took, dim=True))


def note(text: str) -> None:
    """Something to know."""
    _say(click.style("· ", dim=True) + text)


def warn(text: str) -> None:
    """Something that went wrong and is being dealt with."""
    _say(click.style("! ", fg="yellow") + text, err=True)


def fail(text: str) -> None:
    """The one line that says why it can't go on."""
    _say(click.style("✗ ", fg="red") + text, err=True)


def plain(text: str) -> None:
    """A line as it is, to be copied."""
    _say(text)


def log(name: str, text: str) -> None:
    """A line of a process' log, for `--verbose`."""
    _say(f"{name:9} {text}", err=True)


def _say(text: str, *, err: bool = False) -> None:
    stream = sys.stderr if err else sys.stdout
    encoding = stream.encoding or "ascii"
    # A terminal that was closed, or a pipe nobody reads, must not end what is being served.
    with contextlib.suppress(OSError, ValueError):
        click.echo(text.encode(encoding, "replace").decode(encoding), err=err)
        stream.flush()
