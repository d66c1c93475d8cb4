"""What people see in the terminal: short lines, and colours only where a terminal shows them."""

import sys
import time

import click


class Stop(Exception):
    """What can't go on, in one line: what happened and what to do."""


def step(text: str, started: float | None = None) -> None:
    """Something is done; with the seconds since `started` (monotonic)."""
    took = f" ({time.monotonic() - started:.1f} s)" if started is not None else ""
    click.echo(click.style("✓ ", fg="green") + text + click.style(took, dim=True))
    sys.stdout.flush()


def note(text: str) -> None:
    """Something to know."""
    click.echo(click.style("· ", dim=True) + text)
    sys.stdout.flush()


def warn(text: str) -> None:
    """Something that went wrong and is being dealt with."""
    click.echo(click.style("! ", fg="yellow") + text, err=True)


def fail(text: str) -> None:
    """The one line that says why it can't go on."""
    click.echo(click.style("✗ ", fg="red") + text, err=True)


def plain(text: str) -> None:
    """A line as it is, to be copied."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
