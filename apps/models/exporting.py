"""A model as a zip that is written while it is sent: stored, 64-bit, and never more than a few pieces in memory."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from apps.models import storage
from apps.models.archive import CHUNK
from apps.models.deployconfig.schema import NAME, DeployConfig
from apps.models.models import Model

STAMP = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: of two exports of one model, the bytes are the same


class _Pipe:
    """A file that `zipfile` writes into and that is emptied piece by piece; it can't seek, as a socket can't."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def zipped(model: Model, config: DeployConfig) -> Iterator[bytes]:
    """The zip of a model: its deployconfig.json, then its files as they were imported."""
    pipe = _Pipe()
    with zipfile.ZipFile(cast(IO[bytes], pipe), "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        text = json.dumps(config.model_dump(mode="json"), indent=1, ensure_ascii=False)
        archive.writestr(zipfile.ZipInfo(NAME, STAMP), text.encode())
        for path in model.files.exclude(path=NAME).values_list("path", flat=True):
            yield from _entry(archive, pipe, storage.folder(model.pk, model.revision) / path, path)
    yield pipe.taken()


def _entry(archive: zipfile.ZipFile, pipe: _Pipe, source: Path, path: str) -> Iterator[bytes]:
    with source.open("rb") as data, archive.open(zipfile.ZipInfo(path, STAMP), "w", force_zip64=True) as entry:
        while piece := data.read(CHUNK):
            entry.write(piece)
            yield pipe.taken()
