"""How a sentence-transformers folder says that a text becomes a vector: pooling, normalisation, length."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .exits import Exit, StartFailure

log = logging.getLogger(__name__)

POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
INPUT_TYPES = {
    "query": ("query", "search_query"),
    "search_query": ("query", "search_query"),
    "document": ("document", "passage", "search_document"),
    "passage": ("document", "passage", "search_document"),
    "search_document": ("document", "passage", "search_document"),
}
"""What other services call the kinds of text, and the prompts' names that fit."""

DEFAULT_LENGTH = 512
UNLIMITED = 1_000_000
"""Above it, transformers' model_max_length means that nobody set one."""


@dataclass(frozen=True)
class Recipe:
    """From token vectors to a sentence's vector. No poolings: the graph's own sentence output is used as it is."""

    poolings: tuple[str, ...]
    normalize: bool


@dataclass(frozen=True)
class Prompts:
    """What the model wants before a text, by name, such as `query`; `default` is used where nobody asks for one."""

    by_name: Mapping[str, str] = field(default_factory=dict)
    default: str = ""

    def find(self, name: str | None, input_type: str | None) -> str | None:
        """The prompt that a request asks for, "" for none; None where the model has none of that name."""
        if name is not None:
            return self.by_name.get(name)
        if input_type is not None:
            known = INPUT_TYPES.get(input_type, (input_type,))
            return next((self.by_name[each] for each in known if each in self.by_name), self.default)
        return self.default


class Folder:
    """The configuration files of a model, looked for beside the graph and in the model's folder."""

    def __init__(self, root: Path, graph: Path) -> None:
        self._places = (root, graph.parent)

    def read(self, name: str) -> Any:
        """A JSON file's content, None where there is none."""
        for place in self._places:
            path = place / name
            if path.is_file():
                return _parsed(path)
        return None

    def read_object(self, name: str) -> dict[str, Any]:
        """A JSON object, empty where there is none."""
        found = self.read(name)
        return found if isinstance(found, dict) else {}

    def find(self, name: str) -> Path | None:
        """A file's path, None where there is none."""
        return next((place / name for place in self._places if (place / name).is_file()), None)


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise StartFailure(Exit.POOLING_UNSUPPORTED, f"{path.name} is not valid JSON: {error}") from error


def recipe(folder: Folder, pooling: str, normalize: str, *, pooled_output: bool) -> Recipe:
    """The recipe by the model's own files, unless an option says otherwise."""
    modules = _modules(folder)
    if pooled_output:
        poolings: tuple[str, ...] = ()
        by_model = False
    else:
        _refuse_unknown(modules)
        poolings = _poolings(folder, modules) if pooling == "auto" else (pooling,)
        by_model = _normalizes(modules)
    return Recipe(poolings, by_model if normalize == "auto" else normalize == "yes")


def _modules(folder: Folder) -> list[dict[str, Any]]:
    found = folder.read("modules.json")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _kind(module: dict[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _refuse_unknown(modules: Sequence[dict[str, Any]]) -> None:
    odd = [_kind(module) for module in modules if _kind(module) not in ("Transformer", "Pooling", "Normalize")]
    if odd:
        raise StartFailure(
            Exit.POOLING_UNSUPPORTED,
            f"modules.json has the step {', '.join(odd)}, which is not part of the graph; "
            "export the model to ONNX with a sentence_embedding output",
        )


def _poolings(folder: Folder, modules: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    place = next((str(module.get("path", "")) for module in modules if _kind(module) == "Pooling"), "1_Pooling")
    config = folder.read_object(f"{place}/config.json") if ".." not in place else {}
    if not config:
        log.info("no pooling configuration: using the mean of all tokens")
        return ("mean",)
    return _checked(_named(config) or [kind for flag, kind in FLAGS.items() if config.get(flag) is True])


def _named(config: dict[str, Any]) -> list[str]:
    """Newer sentence-transformers name the mode instead of setting flags."""
    named = config.get("pooling_mode")
    return [named] if isinstance(named, str) else [str(kind) for kind in named or []]


def _checked(poolings: Sequence[str]) -> tuple[str, ...]:
    odd = [kind for kind in poolings if kind not in POOLINGS]
    if odd or not poolings:
        what = ", ".join(odd) or "none"
        raise StartFailure(Exit.POOLING_UNSUPPORTED, f"pooling {what} isn't supported; it can be {', '.join(POOLINGS)}")
    return tuple(poolings)


def _normalizes(modules: Sequence[dict[str, Any]]) -> bool:
    if modules:
        return any(_kind(module) == "Normalize" for module in modules)
    log.info("no modules.json: normalising embeddings to length 1")
    return True


def max_length(folder: Folder, option: int, tokenizer_length: int | None) -> int:
    """Tokens of the longest text: by option, else as the model was trained, never beyond its positions."""
    positions = _whole(folder.read_object("config.json").get("max_position_embeddings"))
    wanted = (
        option
        or _whole(folder.read_object("sentence_bert_config.json").get("max_seq_length"))
        or tokenizer_length
        or _whole(folder.read_object("tokenizer_config.json").get("model_max_length"))
        or positions
        or DEFAULT_LENGTH
    )
    if positions and wanted > positions:
        log.warning("max_length %d is beyond the model's %d positions: using %d", wanted, positions, positions)
    return min(wanted, positions) if positions else wanted


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < UNLIMITED else 0


def prompts(folder: Folder) -> Prompts:
    """The model's prompts; raises StartFailure where its pooling has to leave them out."""
    config = folder.read_object("config_sentence_transformers.json")
    given = config.get("prompts")
    by_name = {str(name): str(text) for name, text in given.items()} if isinstance(given, dict) else {}
    default = by_name.get(str(config.get("default_prompt_name")), "")
    pooling = folder.read_object("1_Pooling/config.json")
    if any(by_name.values()) and pooling.get("include_prompt") is False:
        raise StartFailure(
            Exit.POOLING_UNSUPPORTED,
            "the model's pooling leaves its prompts out (include_prompt), which isn't supported; "
            "export the model to ONNX with a sentence_embedding output",
        )
    return Prompts(by_name, default)
