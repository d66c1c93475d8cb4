"""Does an adapter fit its base? Compared by the shapes in the headers of both; nothing is loaded."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from apps.models import storage
from apps.models.adapters import bases
from apps.models.adapters.reading import Adapter, Pair, is_adapter, read
from apps.models.formats import Facts, safetensors
from apps.models.models import Model
from apps.models.rules import Blocked

NO_BASE, UNFIT = "MYI041", "MYI042"
MENDED_BY_BASE = frozenset({NO_BASE, UNFIT})
"""Another base may mend these: what is imported is kept."""
TAIL = re.compile(r"(?:^|\.)([a-z_]+\.\d+\..+)$")
"""A module's name from its layer on: what stands before it differs between versions of a library."""
Shape = tuple[int, ...]


def take(folder: Path, paths: list[str], facts: Facts, base: Model | None) -> Model | None:
    """The base of the adapter in a folder, after checking that they fit; None if these files are a whole model."""
    if not is_adapter(paths):
        if base is not None:
            said = f"It is no adapter, but a model of its own: it needs no base such as {base.name}."
            raise Blocked("MYI040", said, "Import it again without choosing a base model.")
        return None
    adapter, pairs = read(folder)
    facts.passed("MYI040", f"A {adapter.method} adapter of rank {adapter.rank} with {len(pairs)} pairs of matrices.")
    found = _base(adapter, base)
    said = adapter.base or "no model by name"
    facts.passed(NO_BASE, f"It was made for {said}; its base here is {found.name}.")
    _compare(pairs, _weights(found), found)
    facts.passed(UNFIT, f"Every module that it changes is in {found.name}, and has its size.")
    if base is not None and adapter.base and bases.named(adapter.base) != base:
        facts.warn(UNFIT, f"It was made for {adapter.base}, and {base.name} was chosen.", "Compare some answers first.")
    _facts(facts, adapter, found)
    return found


def _facts(facts: Facts, adapter: Adapter, base: Model) -> None:
    """What it has from its base."""
    facts.adapter = adapter.told()
    facts.task, facts.architecture = base.task, base.architecture
    facts.context_length = base.context_length


def _base(adapter: Adapter, chosen: Model | None) -> Model:
    found = chosen or bases.named(adapter.base)
    if found is None:
        said = f"It was made for {adapter.base}, which isn't here." if adapter.base else "It names no base model."
        step = f"Import {adapter.base or 'its base'} first, or choose its base among the models here; then retry."
        raise Blocked(NO_BASE, said, step)
    if reason := bases.unfit(found):
        raise Blocked(NO_BASE, reason, "Wait until it is Ready, or choose another base model; then retry.")
    return found


def _weights(base: Model) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for path in storage.folder(base.pk, base.revision).rglob("*.safetensors"):
        shapes |= safetensors.shapes(path)
    return shapes


def _compare(pairs: Mapping[str, Pair], weights: Mapping[str, Shape], base: Model) -> None:
    step = f"Choose the model that it was made for as its base, or train it on {base.name} again."
    by_tail = _tails(weights)
    found = {pair.module: _names(pair.module, weights, by_tail) for pair in pairs.values()}
    missing = [module for module, names in found.items() if not names]
    if missing:
        names = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise Blocked(UNFIT, f"{base.name} has no {names}, which the adapter changes.", step)
    for pair in pairs.values():
        shapes = [weights.get(f"{name}.weight") for name in found[pair.module]]
        if not any(shape is None or _fits(pair, shape) for shape in shapes):
            wanted, there = f"{pair.outputs} × {pair.inputs}", " × ".join(map(str, shapes[0] or ()))
            said = f"The adapter's {pair.module} is for {wanted} numbers, and {base.name} has {there}."
            raise Blocked(UNFIT, said, step)


def _fits(pair: Pair, shape: Shape) -> bool:
    """Linear weights are outputs × inputs (turned round in GPT-2's kind of layer), embeddings words × size."""
    wanted = (pair.inputs, pair.outputs) if pair.embedding else (pair.outputs, pair.inputs)
    return len(shape) != 2 or sorted(shape) == sorted(wanted)


def _names(module: str, weights: Mapping[str, Shape], by_tail: Mapping[str, list[str]]) -> list[str]:
    """What the base may call the module; nothing if it has none. Quantized ones have other tensors than `weight`.

    Layers of a language model and of its vision tower may be told apart only by what stands before the tail.
    """
    if any(f"{module}.{kind}" in weights for kind in ("weight", "qweight", "weight_packed")):
        return [module]
    tail = TAIL.search(module)
    return by_tail.get(tail[1], []) if tail else []


def _tails(weights: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for module in dict.fromkeys(name.rpartition(".")[0] for name in weights):
        if tail := TAIL.search(module):
            found.setdefault(tail[1], []).append(module)
    return found
