"""What runtimes say of a model that isn't here yet: from its list of files and its small configuration files."""

import tempfile
from pathlib import Path
from typing import Any

from apps.deployments import runtimes
from apps.deployments.fit import Fit, ranked
from apps.deployments.runtimes import Entry
from apps.models.adapters import bases
from apps.models.hub.preflight import Preflight, folder_of
from apps.models.hub.serving import Answer
from modelyard.launchers.host import this_host
from modelyard.problems import Problem
from modelyard.runtimes import Adapter, Estimate, Finding, Level, Model, ModelFile, Runtime


def answers(found: Preflight) -> list[Answer]:
    """Every runtime on what would be downloaded."""
    with tempfile.TemporaryDirectory() as folder:
        folder_of(found, Path(folder))
        model = _adapter(found, Path(folder)) if found.adapter else Model(
            id="prospect", name=found.repository, path=Path(folder), format=_format(found), task=found.task,
            architecture=found.architecture, parameters=found.parameters, context_length=found.context_length,
            files=tuple(ModelFile(file.path, file.size, file.sha256) for file in found.taken),
        )  # fmt: skip
        if model is None:
            return []  # its base isn't here: nobody can say
        fits = [_fit(entry, model) for _, entry in sorted(runtimes.registry().items())]
    return [_answer(fit) for fit in ranked(fits)]


def _adapter(found: Preflight, folder: Path) -> Model | None:
    """The adapter on the model here that it names."""
    base = bases.named(found.adapter.base) if found.adapter else None
    return runtimes.on_base(base, 0, Adapter("prospect", found.repository, folder)) if base else None


def _format(found: Preflight) -> str:
    names = [file.path for file in found.taken]
    order = ("onnx", "safetensors", "gguf")  # as the import decides
    return next((form for form in order if any(name.endswith(f".{form}") for name in names)), "")


def _fit(entry: Entry, model: Model) -> Fit:
    if entry.runtime is None:
        return Fit(entry, [Finding(Level.BLOCK, "broken_runtime", f"It can't be used: {entry.problem}.", "")])
    if model.adapter and not entry.runtime.adapters:
        return Fit(entry, [runtimes.refuses_adapters(entry.runtime)])
    try:
        options = runtimes.options_of(entry.runtime, {})
        with runtimes.asking(entry.name):
            found = list(entry.runtime.check(model, options, this_host()))
    except Problem as problem:
        return Fit(entry, [Finding(Level.BLOCK, problem.code, problem.message, problem.next_step)])
    return Fit(entry, found, _estimate(entry.name, entry.runtime, model))


def _estimate(name: str, runtime: Runtime[Any], model: Model) -> Estimate | None:
    try:
        with runtimes.asking(name):
            return runtime.estimate(model, runtimes.options_of(runtime, {}), this_host())
    except Problem:
        return None


def _answer(fit: Fit) -> Answer:
    said = tuple(" ".join(f"{each.message} {each.fix}".split()) for each in fit.findings if each.level != Level.INFO)
    memory = fit.estimate.likely if fit.estimate else None
    return Answer(fit.entry.name, fit.usable, said, memory, fit.estimate.device if fit.estimate else "")
