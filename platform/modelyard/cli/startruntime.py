"""`modelyard startruntime`: a runtime plugin that works, to be changed into one's own."""

import keyword
import re
from importlib.metadata import entry_points
from pathlib import Path
from string import Template

from modelyard.cli import output
from modelyard.cli.output import Stop

TEMPLATE = Path(__file__).with_name("template")
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 40  # characters; the database keeps the name


def run(name: str, directory: Path) -> None:
    """Make the distribution. Stop, with the reason, where it can't be made; nothing half made is left."""
    name = name.replace("-", "_")
    _check(name)
    folder = directory / f"modelyard-{name.replace('_', '-')}"
    if folder.exists():
        raise Stop(f"{folder} is there already: choose another name or --directory.")
    if not directory.is_dir():
        raise Stop(f"{directory} isn't a folder: make it first, or choose another --directory.")
    words = _words(name)
    for source in sorted(TEMPLATE.rglob("*.txt")):
        target = folder / _place(source.relative_to(TEMPLATE), words["package"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(source.read_text()).substitute(words))
    output.plain(f"Made {folder}: a runtime that serves word vectors, and its tests. Next:")
    output.plain(f'  pip install -e "{folder}[test]"')
    output.plain(f"  pytest {folder}")


def _check(name: str) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or len(name) > LONGEST:
        raise Stop(f"{name!r} can't be a runtime's name: use small letters, digits and _, such as my_engine.")
    taken = [point.dist.name for point in entry_points(group="modelyard.runtimes", name=name) if point.dist]
    if taken:
        raise Stop(f"The package {taken[0]} has a runtime {name} already: choose another name.")


def _words(name: str) -> dict[str, str]:
    title = name.replace("_", " ").title()
    return {
        "name": name,
        "dashed": name.replace("_", "-"),
        "package": f"modelyard_{name}",
        "classname": f"{title.replace(' ', '')}Runtime",
        "title": title,
    }


def _place(source: Path, package: str) -> Path:
    name = source.name.removesuffix(".txt")
    parts = [package if part == "package" else part for part in source.parent.parts]
    return Path(*parts, f".{name}" if name == "gitignore" else name)
