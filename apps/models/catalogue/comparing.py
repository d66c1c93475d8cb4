"""Compares the figures of the catalogue with what the hub says of each repository."""

from collections.abc import Iterator
from dataclasses import dataclass

from apps.models.catalogue.schema import Entry
from apps.models.hub.models import Connection
from apps.models.hub.preflight import Asked, Preflight, look
from modelyard.problems import Problem

CLOSE = 0.05  # of a number of weights, which makers round


@dataclass(frozen=True)
class Difference:
    """What the catalogue says, and what the hub says."""

    entry: str
    what: str
    here: str
    hub: str


def differences(entry: Entry, connection: Connection | None = None) -> Iterator[Difference]:
    """What isn't as the hub says. A figure that the hub doesn't state is left alone."""
    revision = entry.revision.value if entry.revision else ""
    try:
        found = look(Asked(entry.repository, revision, connection, patterns=entry.files))
    except Problem as problem:
        gated = problem.code == "hub_gated"
        if not gated or not (entry.gated and entry.gated.value):
            yield Difference(entry.id, "repository", entry.repository, str(problem))
        return
    yield from _figures(entry, found)
    for block in found.blocks:
        if block.code not in {"disk", "too_large"}:
            yield Difference(entry.id, "files", ", ".join(entry.files) or "ours", str(block))


def _figures(entry: Entry, found: Preflight) -> Iterator[Difference]:
    if entry.licence and found.licence and entry.licence.value.lower() != found.licence.lower():
        yield Difference(entry.id, "licence", entry.licence.value, found.licence)
    if bool(entry.gated and entry.gated.value) != found.gated:
        yield Difference(entry.id, "gated", str(bool(entry.gated and entry.gated.value)), str(found.gated))
    if entry.parameters and found.parameters:
        stated, counted = entry.parameters.value, found.parameters
        if abs(stated - counted) > CLOSE * counted:
            yield Difference(entry.id, "parameters", f"{stated:,}", f"{counted:,}")
