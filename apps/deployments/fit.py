"""Which runtimes can serve a model here, why the others can't, and what memory it will need."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.deployments import runtimes
from apps.deployments.runtimes import Entry
from apps.models.models import Model
from modelyard.launchers.host import this_host
from modelyard.problems import Problem
from modelyard.runtimes import Estimate, Finding, Level, Options, Recipe, Runtime


@dataclass(frozen=True)
class Fit:
    """What one runtime says about one model on this host."""

    entry: Entry
    findings: Sequence[Finding] = ()
    estimate: Estimate | None = None
    recipes: Sequence[Recipe] = ()

    @property
    def blocks(self) -> list[Finding]:
        """Why it can't serve the model; empty if it can."""
        return [finding for finding in self.findings if finding.level == Level.BLOCK]

    @property
    def warnings(self) -> int:
        """How many things have to be minded."""
        return sum(finding.level == Level.WARN for finding in self.findings)

    @property
    def usable(self) -> bool:
        """Whether it can serve the model here."""
        return self.entry.runtime is not None and not self.blocks


def findings(row: Model, name: str, values: Mapping[str, Any]) -> list[Finding]:
    """What a runtime says about serving a model here."""
    runtime = runtimes.get(name)
    options = runtimes.options_of(runtime, values)
    if row.is_adapter and not runtime.adapters:
        return [runtimes.refuses_adapters(runtime)]
    with runtimes.asking(name):
        return list(runtime.check(runtimes.as_contract(row), options, this_host()))


def fits(row: Model, values: Mapping[str, Mapping[str, Any]] | None = None) -> list[Fit]:
    """Every registered runtime on this model, those that can serve it first; `values` has options by runtime."""
    found = [_fit(row, entry, (values or {}).get(name, {})) for name, entry in sorted(runtimes.registry().items())]
    return ranked(found)


def ranked(found: Iterable[Fit]) -> list[Fit]:
    """Those that can serve it first, of these the ones with the fewest warnings."""
    return sorted(found, key=lambda fit: (not fit.usable, fit.warnings, fit.entry.name))


def _fit(row: Model, entry: Entry, values: Mapping[str, Any]) -> Fit:
    if entry.runtime is None:
        step = f"Mend or upgrade the package {entry.distribution}, then restart Modelyard."
        return Fit(entry, [Finding(Level.BLOCK, "broken_runtime", f"It can't be used: {entry.problem}.", step)])
    try:
        options = runtimes.options_of(entry.runtime, values)
        found = findings(row, entry.name, values)
    except Problem as problem:
        return Fit(entry, [Finding(Level.BLOCK, problem.code, problem.message, problem.next_step)])
    if any(finding.code in {"wrong_format", "adapters_unsupported"} for finding in found):
        return Fit(entry, found)
    return Fit(entry, found, estimate(row, entry.name, entry.runtime, options), recipes(row, entry.name, options))


def estimate(row: Model, name: str, runtime: Runtime[Any], options: Options) -> Estimate | None:
    """The memory a runtime will need for a model; None if it can't say."""
    try:
        with runtimes.asking(name):
            return runtime.estimate(runtimes.as_contract(row), options, this_host())
    except Problem:
        return None  # what is wrong with the model is among the findings


def recipes(row: Model, name: str, options: Options) -> Sequence[Recipe]:
    """The optimizations that a runtime offers for a model here; none if it can't say."""
    runtime = runtimes.get(name)
    try:
        with runtimes.asking(name):
            offered = runtime.recipes(runtimes.as_contract(row), options, this_host())
    except Problem:
        return ()
    # An artifact would be one of the base, without the adapter.
    return [recipe for recipe in offered if not (row.is_adapter and recipe.artifact)]


def choose(row: Model) -> str:
    """The runtime that can serve a model here with the fewest warnings; a Problem that says why each can't."""
    found = fits(row)
    if found and found[0].usable:
        return found[0].entry.name
    reasons = [f"{fit.entry.name}: {fit.blocks[0].message} {fit.blocks[0].fix}".strip() for fit in found if fit.blocks]
    raise Problem(
        "no_runtime",
        f"No installed runtime can serve {row.name}. {' · '.join(reasons)}".strip(),
        "Install a runtime plugin for this format, or mend what is named here.",
    )
