"""A catalogue's file as entries, with each mistake's file and line. A mistake never costs more than its own entry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from apps.models.catalogue.schema import VERSION, Entry

MAX_FILE = 2 * 2**20  # bytes
MAX_MISTAKES = 50  # of one file


@dataclass(frozen=True)
class Mistake:
    """Something in a file that can't be used; lines count from 1, 0 is the file as a whole."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class Loader(yaml.SafeLoader):
    """YAML without references: a few lines of them can stand for more than a memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As ever, but for `*name`."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="references (*name) aren't read", problem_mark=mark)
        return super().compose_node(parent, index)


class Unreadable(Exception):
    """A file that can't be used at all."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def read(path: Path) -> tuple[list[Entry], list[Mistake]]:
    """The entries of a file that can be used, and what is wrong with the rest."""
    try:
        nodes, values = _models(path)
    except Unreadable as error:
        return [], [Mistake(path, error.line, error.message)]
    entries: dict[str, Entry] = {}
    mistakes: list[Mistake] = []
    for node, value in zip(nodes, values, strict=True):
        try:
            entry = Entry.model_validate(value)
        except ValidationError as error:
            mistakes += [Mistake(path, _line(node, one["loc"]), _words(value, one)) for one in error.errors()]
            continue
        if entry.id in entries:
            mistakes.append(Mistake(path, _line(node, ("id",)), f"{entry.id} stands in this file twice"))
            continue
        entries[entry.id] = entry
    return list(entries.values()), mistakes[:MAX_MISTAKES]


def _models(path: Path) -> tuple[list[yaml.Node], list[Any]]:
    """The list of models: as YAML's nodes, which know their lines, and as values."""
    root, value = _document(path)
    if not isinstance(value, dict) or not isinstance(root, yaml.MappingNode):
        raise Unreadable(1, "it has no `version:` and `models:` at the top")
    if value.get("version") != VERSION:
        said = value.get("version", "none")
        raise Unreadable(_line(root, ("version",)), f"its version is {said!s:.20}, this Modelyard reads {VERSION}")
    unknown = sorted(str(name) for name in value if name not in {"version", "models"})
    if unknown:
        raise Unreadable(_line(root, (unknown[0],)), f"{unknown[0]:.50} isn't known here")
    node = _child(root, "models")
    if not isinstance(node, yaml.SequenceNode):
        raise Unreadable(_line(root, ("models",)), "`models:` must be a list")
    return node.value, value["models"]


def _document(path: Path) -> tuple[yaml.Node | None, Any]:
    try:
        if path.stat().st_size > MAX_FILE:
            raise Unreadable(0, f"it is larger than {MAX_FILE // 2**20} MiB")
        loader = Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        return node, loader.construct_document(node) if node else None
    except OSError as error:
        raise Unreadable(0, f"it can't be read ({error.strerror})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise Unreadable(mark.line + 1 if mark else 0, f"it isn't YAML ({error.problem})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(0, f"it isn't YAML ({str(error)[:100]})") from None


def _child(node: yaml.Node, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        found: yaml.Node = node.value[key]
        return found
    return None


def _line(node: yaml.Node, where: tuple[str | int, ...]) -> int:
    """The line of what `where` leads to, or of the nearest thing around it."""
    for key in where:
        found = _child(node, key)
        if found is None:
            break
        node = found
    return int(node.start_mark.line) + 1


def _words(value: Any, error: Any) -> str:
    """A mistake in words: of which entry, at which field, what."""
    name = value.get("id", "an entry without id") if isinstance(value, dict) else "an entry"
    field = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name!s:.100}: {field + ': ' if field else ''}{message[:1].lower()}{message[1:]}"
