"""The runtimes that are installed: found by entry point, loaded once, and never able to stop the site."""

import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pydantic

from apps.deployments.models import Artifact, Version
from apps.deployments.optimization import artifacts
from apps.models import storage
from apps.models.models import Model as ModelRow
from modelyard.problems import Problem
from modelyard.runtimes import CONTRACT_VERSION, Adapter, Failure, Finding, Level, Model, ModelFile, Options, Runtime

GROUP = "modelyard.runtimes"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One registered runtime: the plugin, or why it can't be used."""

    name: str
    distribution: str
    version: str
    runtime: Runtime[Any] | None
    problem: str = ""

    @property
    def title(self) -> str:
        """What people read."""
        return self.runtime.title if self.runtime else self.name


@functools.cache
def registry() -> Mapping[str, Entry]:
    """Every registered runtime by its entry-point name, broken ones with their problem. Read once a process."""
    found = list(entry_points(group=GROUP))
    counts = Counter(point.name for point in found)
    return {point.name: _load(point, counts[point.name]) for point in found}


def _load(point: EntryPoint, registrations: int) -> Entry:
    distribution = point.dist.name if point.dist else "unknown"
    version = point.dist.version if point.dist else ""
    if registrations > 1:
        return Entry(point.name, distribution, version, None, f"{registrations} packages register this name")
    try:
        runtime = point.load()()
    except Exception as error:  # noqa: BLE001 (a plugin may fail in any way; it is shown, and stops nothing)
        return Entry(point.name, distribution, version, None, f"{type(error).__name__}: {error}")
    if not isinstance(runtime, Runtime):
        return Entry(point.name, distribution, version, None, "is no modelyard.runtimes.Runtime")
    if runtime.contract_version != CONTRACT_VERSION:
        problem = f"made for contract version {runtime.contract_version}, this Modelyard has {CONTRACT_VERSION}"
        return Entry(point.name, distribution, version, None, problem)
    return Entry(point.name, distribution, version, runtime)


def get(name: str) -> Runtime[Any]:
    """The runtime of that name; a Problem if it isn't installed or is broken."""
    entry = registry().get(name)
    if entry is None:
        names = ", ".join(sorted(registry())) or "none"
        raise Problem("unknown_runtime", f"There is no runtime {name!r}.", f"Installed runtimes: {names}.", status=400)
    if entry.runtime is None:
        raise Problem(
            "broken_runtime",
            f"The runtime {name} can't be used: {entry.problem}.",
            f"Mend or upgrade the package {entry.distribution}, then restart Modelyard.",
        )
    return entry.runtime


def options_of(runtime: Runtime[Any], values: Mapping[str, Any]) -> Options:
    """The validated options; a Problem that names each field that is wrong."""
    try:
        options: Options = runtime.options.model_validate(dict(values))
    except pydantic.ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in e['loc']) or 'options'}: {e['msg']}" for e in error.errors()]
        known = ", ".join(runtime.options.model_fields)
        raise Problem(
            "invalid_options", f"The options aren't valid: {'; '.join(lines)}.", f"Options: {known}.", status=400
        ) from None
    return options


def as_contract(row: ModelRow, revision: int = 0) -> Model:
    """A revision of an imported model as a runtime sees it; the newest for 0. Of an adapter, its base with it."""
    number = revision or row.revision
    if row.base_model:
        return on_base(
            row.base_model, row.base_revision(number), Adapter(row.pk, row.name, storage.folder(row.pk, number))
        )
    return Model(
        id=row.pk,
        name=row.name,
        path=storage.folder(row.pk, number),
        format=row.format,
        task=row.task,
        architecture=row.architecture,
        parameters=row.parameter_count,
        context_length=row.context_length,
        files=tuple(ModelFile(file.path, file.size, file.sha256) for file in row.all_files.filter(revision=number)),
    )


def on_base(base: ModelRow, revision: int, adapter: Adapter) -> Model:
    """An adapter on a revision of its base, as a runtime sees it."""
    return replace(as_contract(base, revision), adapter=adapter)


def refuses_adapters(runtime: Runtime[Any]) -> Finding:
    """What a runtime that can't serve adapters would say."""
    able = [entry.title for entry in registry().values() if entry.runtime and entry.runtime.adapters]
    fix = f"Choose {' or '.join(able)}, or merge the adapter into its base and import that." if able else ""
    return Finding(Level.BLOCK, "adapters_unsupported", f"{runtime.title} doesn't serve adapters.", fix)


def model_for(row: ModelRow, revision: int, artifact: Artifact | None) -> Model:
    """What a version serves: its revision of the model, or the artifact that a recipe made of that."""
    model = as_contract(row, revision)
    if artifact is None:
        return model
    files = tuple(ModelFile(file["path"], file["size"], file["sha256"]) for file in artifact.files)
    return replace(model, path=artifacts.folder(artifact), files=files)


def options_for(runtime: Runtime[Any], version: Version, *, original: bool = False) -> Options:
    """A version's options, with what its recipe sets over them; a Problem if the plugin doesn't take them any more."""
    over = {} if original else version.recipe_options
    return options_of(runtime, {**version.options, **over})


@contextlib.contextmanager
def asking(name: str) -> Iterator[None]:
    """Around a call of a plugin: whatever it raises becomes a Problem, so that no plugin stops the site."""
    try:
        yield
    except Failure as failure:
        raise Problem(failure.code, failure.message, failure.next_step) from None
    except Exception as error:
        logger.exception("the runtime %s failed", name)
        step = "Mend or upgrade its package; the log of the web process has the details."
        raise Problem("runtime_error", f"The runtime {name} failed: {type(error).__name__}: {error}.", step) from None
