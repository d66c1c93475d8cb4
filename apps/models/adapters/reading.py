"""What a PEFT adapter says of itself: adapter_config.json, and the shapes of its matrices."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apps.models.formats import safetensors
from apps.models.rules import Blocked, printable

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
RULE = "MYI040"
METHODS = ("LORA",)
MAX_CONFIG = 2**20  # bytes
MAX_MODULES = 200
KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.weight)?$")
AGAIN = "Save the adapter again (save_pretrained of peft), and import it."


@dataclass(frozen=True)
class Adapter:
    """Its method, rank and scale, the modules that it changes, and the name of the model that it was made for."""

    method: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    base: str
    task: str

    def told(self) -> dict[str, Any]:
        """As it is kept with the model."""
        return asdict(self)


@dataclass(frozen=True)
class Pair:
    """The two matrices that change one module: the rank between them, and the module's inputs and outputs."""

    module: str
    rank: int
    inputs: int
    outputs: int
    embedding: bool


def is_adapter(paths: list[str]) -> bool:
    """Are these the files of an adapter, and not of a whole model?"""
    top = [path for path in paths if path.endswith(".safetensors") and "/" not in path]
    return CONFIG in paths and top in ([], [WEIGHTS])


def parse(content: bytes) -> Adapter:
    """The configuration. Blocked if it isn't one, or is of a method that nothing here serves."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Blocked(RULE, f"{CONFIG} isn't valid JSON ({str(error)[:100]}).", AGAIN) from None
    if not isinstance(found, dict) or not isinstance(found.get("peft_type"), str):
        raise Blocked(RULE, f"{CONFIG} doesn't say what kind of adapter this is (peft_type).", AGAIN)
    method = printable(found["peft_type"][:40])
    if method not in METHODS:
        step = f"Only {', '.join(METHODS)} adapters are served. Merge it into its base, and import that."
        raise Blocked(RULE, f"It is a {method} adapter, which no runtime here serves.", step)
    rank, alpha = found.get("r"), found.get("lora_alpha")
    if type(rank) is not int or not 0 < rank <= 2**16:
        raise Blocked(RULE, f"{CONFIG} has no usable rank (r).", AGAIN)
    return Adapter(
        method, rank, _finite(alpha, rank), _modules(found),
        _text(found, "base_model_name_or_path", 300), _text(found, "task_type", 40),
    )  # fmt: skip


def read(folder: Path) -> tuple[Adapter, Mapping[str, Pair]]:
    """The adapter in a folder, and the pairs of its matrices by module. Blocked where they contradict each other."""
    path = folder / CONFIG
    if path.stat().st_size > MAX_CONFIG:
        raise Blocked(RULE, f"{CONFIG} is larger than {MAX_CONFIG // 2**20} MiB.", AGAIN)
    adapter = parse(path.read_bytes())
    if not (folder / WEIGHTS).is_file():
        raise Blocked(RULE, f"The adapter has no {WEIGHTS}.", "Save it with safe_serialization=True, and import it.")
    pairs = _pairs(safetensors.shapes(folder / WEIGHTS))
    _ranks(pairs, json.loads(path.read_bytes()), adapter)
    return adapter, pairs


def _finite(told: Any, otherwise: int) -> float:
    """A number that a database keeps."""
    number = isinstance(told, int | float) and abs(told) < 2**53  # which neither infinity is nor NaN
    return float(told if number else otherwise)


def _modules(found: Mapping[str, Any]) -> tuple[str, ...]:
    """A list of names, or one expression for all."""
    told = found.get("target_modules")
    names = [told] if isinstance(told, str) else told if isinstance(told, list) else []
    return tuple(sorted(printable(str(name)[:200]) for name in names[:MAX_MODULES]))


def _text(found: Mapping[str, Any], name: str, longest: int) -> str:
    told = found.get(name)
    return printable(told[:longest]) if isinstance(told, str) else ""


def _pairs(shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Pair]:
    sides: dict[str, dict[str, tuple[int, ...]]] = {}
    embeddings = set()
    for name, shape in shapes.items():
        if match := KEY.match(name):
            sides.setdefault(match["module"], {})[match["side"]] = shape
            if match["embedding"]:
                embeddings.add(match["module"])
    if not sides:
        raise Blocked(RULE, f"{WEIGHTS} has no LoRA matrices in it.", AGAIN)
    return {module: _pair(module, found, module in embeddings) for module, found in sides.items()}


def _pair(module: str, found: Mapping[str, tuple[int, ...]], embedding: bool) -> Pair:
    a, b = found.get("A", ()), found.get("B", ())
    if len(a) < 2 or len(b) < 2 or a[0] != b[1]:
        raise Blocked(RULE, f"The matrices A {list(a)} and B {list(b)} of {module[:100]} don't fit each other.", AGAIN)
    return Pair(module, a[0], a[1], b[0], embedding)


def _ranks(pairs: Mapping[str, Pair], said: Mapping[str, Any], adapter: Adapter) -> None:
    """Every rank is one that the configuration names."""
    patterns = said.get("rank_pattern")
    values = patterns.values() if isinstance(patterns, dict) else ()
    named = {adapter.rank, *(value for value in values if type(value) is int)}
    wrong = next((pair for pair in pairs.values() if pair.rank not in named), None)
    if wrong:
        said_ranks = ", ".join(str(each) for each in sorted(named, key=str))
        raise Blocked(RULE, f"{wrong.module[:100]} has rank {wrong.rank}, and {CONFIG} says {said_ranks}.", AGAIN)
