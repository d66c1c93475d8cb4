"""Every entry that is offered here: those that ship, then the operator's; of one id, the later counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from apps.models.bundles import manifest
from apps.models.catalogue.reading import Mistake, read
from apps.models.catalogue.schema import Entry
from modelyard.problems import Problem

SHIPPED = Path(__file__).with_name("models.yaml")
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Offer:
    """An entry, the file that it stands in, and the bundle with its files if they are here."""

    entry: Entry
    file: Path
    bundle: Path | None = None

    @property
    def shipped(self) -> bool:
        """Whether it came with Modelyard."""
        return self.file == SHIPPED


@dataclass(frozen=True)
class Shelf:
    """What is offered, in the order of the names, and the mistakes in what is not."""

    offers: tuple[Offer, ...]
    mistakes: tuple[Mistake, ...]


def shelf() -> Shelf:
    """What the files say now; a file is read again when it has changed."""
    offers: dict[str, Offer] = {}
    mistakes: list[Mistake] = []
    for file, problem in _files():
        if problem:
            mistakes.append(problem)
            continue
        entries, wrong = _read(file, *_state(file))
        mistakes += wrong
        for entry in entries:
            bundle, mistake = _bundle(file, entry)
            if mistake:
                mistakes.append(mistake)
            else:
                offers[entry.id] = Offer(entry, file, bundle)
    return Shelf(tuple(sorted(offers.values(), key=lambda one: one.entry.name.casefold())), tuple(mistakes))


def find(entry_id: str) -> Offer:
    """The offer of that id. A Problem if there is none."""
    found = next((offer for offer in shelf().offers if offer.entry.id == entry_id), None)
    if found is None:
        step = "Look at the catalogue's list, or run `modelyard check` if it should be there."
        raise Problem("unknown_entry", f"The catalogue has no model {entry_id!r:.120}.", step, status=404)
    return found


def _files() -> Iterator[tuple[Path, Mistake | None]]:
    """Catalogue files, the shipped one first; with a mistake for a path that leads to none."""
    yield SHIPPED, None
    for name in settings.CATALOGUE:
        path = Path(name).expanduser().absolute()
        try:
            found = [path] if path.is_file() else list(_in_directory(path))
        except OSError as error:
            yield path, Mistake(path, 0, f"it can't be read ({error.strerror})")
            continue
        for file in found:
            yield file, None
        if not found:
            yield path, Mistake(path, 0, "there is no catalogue here (a .yaml file, a folder of them, or a bundle)")


def _in_directory(path: Path) -> Iterator[Path]:
    """Of a bundle, its catalogue; of another folder, its YAML files and then the bundles in it."""
    if (path / manifest.NAME).is_file():
        yield path / manifest.CATALOGUE
        return
    inside = sorted(path.iterdir()) if path.is_dir() else []
    yield from (file for file in inside if file.suffix in SUFFIXES and file.is_file())
    yield from (each / manifest.CATALOGUE for each in inside if (each / manifest.NAME).is_file())


def _state(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=256)
def _read(file: Path, _changed: int, _size: int) -> tuple[list[Entry], list[Mistake]]:
    return read(file)


def _bundle(file: Path, entry: Entry) -> tuple[Path | None, Mistake | None]:
    """The bundle that an entry's directory is part of; whether its files are whole is looked at by the import."""
    if not entry.directory:
        return None, None
    try:
        manifest.model_of(file.parent, entry.directory)
    except manifest.Broken as error:
        return None, Mistake(file, 0, f"{entry.id}: {error}")
    return file.parent, None
