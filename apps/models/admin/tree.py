"""Files as the rows of a tree."""

from collections.abc import Iterable
from dataclasses import dataclass

from apps.models.models import ModelFile

DEEPEST = 6  # levels that are shown further to the right


@dataclass(frozen=True)
class Row:
    """A folder, or a file in the folders above it."""

    name: str
    depth: int
    file: ModelFile | None = None


def rows_of(files: Iterable[ModelFile]) -> list[Row]:
    """The files, in the order of their paths, with each folder where its first file is."""
    rows: list[Row] = []
    above: list[str] = []
    for file in files:
        *folders, name = file.path.split("/")
        same = 0
        while same < min(len(above), len(folders)) and above[same] == folders[same]:
            same += 1
        rows += [Row(f"{folder}/", min(same + at, DEEPEST)) for at, folder in enumerate(folders[same:])]
        rows.append(Row(name, min(len(folders), DEEPEST), file))
        above = folders
    return rows
