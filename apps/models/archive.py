"""Zip archives from people we don't know: looked through before, and watched while, they are unpacked."""

import errno
import re
import shutil
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO

from apps.models import hashing, names, zips
from apps.models.formats import contents
from apps.models.rules import Blocked, Policy

CHUNK = 1024 * 1024
MAX_ENTRIES = 20_000
MAX_NAME = 200  # characters of one path segment; file systems take 255 bytes
MAX_RATIO = 200  # unpacked to packed, of one entry; weights compress to no less than a half
RATIO_FLOOR = 64 * 2**20  # bytes below which a high ratio is harmless
FREE_RESERVE = 256 * 2**20  # bytes of disk that an import leaves free
JUNK = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$|Thumbs\.db$|desktop\.ini$|\.git/|\.ipynb_checkpoints/)")
METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""Others let an entry say how much memory unpacking it takes."""
DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True)
class Unpacked:
    """One file as it was written: path below the model's folder, bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One file of the archive and where it goes."""

    info: zipfile.ZipInfo
    path: str


Progress = Callable[[int, int], None]


def look(archive: zipfile.ZipFile, limit: int, policy: Policy | None = None) -> list[Entry]:
    """Every file to unpack, after the checks that need no unpacking. Blocked if one of them fails."""
    policy = policy or Policy()
    infos = [info for info in archive.infolist() if not JUNK.search(info.filename.replace("\\", "/"))]
    if len(infos) > MAX_ENTRIES:
        raise Blocked("MYI006", f"The archive has {len(infos)} entries.", f"Keep it to {MAX_ENTRIES} files.")
    entries = [Entry(info, _safe(info)) for info in infos if not _directory(info)]
    if not entries:
        raise Blocked("MYI001", "The archive holds no files.", "Put the model's files into the zip.")
    entries = _without_top_folder(entries)
    contents.no_archives([entry.path for entry in entries], policy)  # before they are unpacked
    _no_doubles(entries)
    _plausible(entries, limit)
    return entries


def opened(path: Path) -> zipfile.ZipFile:
    """The archive, its directory read. Blocked if it isn't one, or is cut off."""
    try:
        with path.open("rb") as file:
            if not zips.plausible(file):
                raise Blocked("MYI006", "The archive's list of entries is longer than possible.", "Make the zip again.")
        return zipfile.ZipFile(path)
    except (*zips.UNREADABLE, OSError) as error:
        step = "Make the zip again, or upload it again if the upload was cut off."
        raise Blocked("MYI001", f"This isn't a complete zip archive ({error}).", step) from None


def unpack(
    archive: zipfile.ZipFile, entries: list[Entry], folder: Path, limit: int, progress: Progress
) -> Iterator[Unpacked]:
    """Write every file below `folder`, hashing on the way. Sizes are counted, never believed."""
    total = sum(entry.info.file_size for entry in entries)
    _enough_disk(folder, total)
    written = 0
    for entry in entries:
        target = folder / entry.path
        done = _copy(archive, entry, target, limit - written, lambda size: progress(written + size, total))  # noqa: B023
        written += done.size
        yield done


def _copy(
    archive: zipfile.ZipFile, entry: Entry, target: Path, limit: int, progress: Callable[[int], None]
) -> Unpacked:
    def each(size: int) -> None:
        _within(entry, size, limit)
        progress(size)

    try:
        with archive.open(entry.info) as source, _new(target, entry) as file:
            size, sha256 = hashing.copy(source, lambda data: write(file, data), CHUNK, each)
    except (*zips.UNREADABLE, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise  # the disk's; to seek before the start is the archive's
        step = "Make the zip again with an ordinary zip program."
        raise Blocked("MYI001", f"{entry.path} can't be unpacked ({error}).", step) from None
    return Unpacked(entry.path, size, sha256)


def _new(target: Path, entry: Entry) -> IO[bytes]:
    """The file to write to; Blocked if the disk can't have such a name."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")
    except OSError as error:
        if error.errno not in {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EEXIST, errno.ENOTDIR}:
            raise
        said = f"The entry name {entry.path[:100]} is impossible on the disk of the data directory."
        raise Blocked("MYI002", said, "Rename the file.") from None


def write(file: IO[bytes], data: bytes) -> None:
    """Write; Blocked if the disk takes no more."""
    try:
        file.write(data)
    except OSError as error:
        raise Blocked(
            "MYI008", f"The disk took no more ({error.strerror}).", "Free some space, then retry the import."
        ) from None


def _within(entry: Entry, size: int, limit: int) -> None:
    if size > entry.info.file_size:
        raise Blocked("MYI006", f"{entry.path} is larger than the archive says.", "Make the zip again.")
    if size > limit:
        raise Blocked("MYI006", "The archive unpacks to more than is allowed.", _limit_step())


def _directory(info: zipfile.ZipInfo) -> bool:
    return info.is_dir() or stat.S_ISDIR(info.external_attr >> 16)


def _safe(info: zipfile.ZipInfo) -> str:
    """The entry's path, if nothing about it is dangerous."""
    name = unicodedata.normalize("NFC", info.filename)
    shown = name[:100].encode("unicode_escape").decode()
    parts = PurePosixPath(name).parts
    bad = (
        name.startswith("/") or "\\" in name or DRIVE.match(name) or ".." in parts or "\0" in name
        or info.orig_filename != info.filename or not parts
    )  # fmt: skip
    if bad:
        step = "Make the zip from inside the model's folder, with relative paths."
        raise Blocked("MYI002", f"The entry {shown} would be written outside the model's folder.", step)
    if names.too_long(name) or any(len(part.encode()) > MAX_NAME or not part.isprintable() for part in parts):
        said = f"The entry name {shown} is too long, not printable, or deeper than {names.MAX_PARTS} parts."
        raise Blocked("MYI002", said, "Rename the file, or move it nearer to the top.")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        step = "Put the files themselves into the zip, not links to them."
        raise Blocked("MYI003", f"The entry {shown} is a link or a special file.", step)
    if info.flag_bits & 0x1:
        raise Blocked("MYI007", f"The entry {shown} is encrypted.", "Make the zip without a password.")
    if info.compress_type not in METHODS:
        step = "Make the zip with the usual method (deflate), or without compression."
        raise Blocked("MYI006", f"The entry {shown} is packed by a method of its own.", step)
    return str(PurePosixPath(*parts))


def _without_top_folder(entries: list[Entry]) -> list[Entry]:
    tops = {entry.path.split("/", 1)[0] for entry in entries}
    if len(tops) == 1 and all("/" in entry.path for entry in entries):
        return [Entry(entry.info, entry.path.split("/", 1)[1]) for entry in entries]
    return entries


def _no_doubles(entries: list[Entry]) -> None:
    if double := names.double([entry.path for entry in entries]):
        step = "Names that differ in upper and lower case only are one name on many disks: rename one."
        raise Blocked("MYI004", f"The name {double} stands in the archive twice.", step)


def _plausible(entries: list[Entry], limit: int) -> None:
    total = sum(entry.info.file_size for entry in entries)
    if total > limit:
        raise Blocked("MYI006", f"The archive unpacks to {total} bytes, {limit} are allowed.", _limit_step())
    for entry in entries:
        packed, unpacked = entry.info.compress_size, entry.info.file_size
        if unpacked > RATIO_FLOOR and unpacked > MAX_RATIO * max(packed, 1):
            step = "Weights don't compress like that: check what is in the file."
            raise Blocked("MYI006", f"{entry.path} unpacks to {unpacked // max(packed, 1)} times its size.", step)
    ends = sorted((e.info.header_offset, e.info.header_offset + e.info.compress_size, e.path) for e in entries)
    for (_, end, _), (start, _, path) in pairwise(ends):
        if start < end:
            raise Blocked("MYI006", f"{path} overlaps another entry.", "Make the zip again with an ordinary program.")


def _enough_disk(folder: Path, total: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < total + FREE_RESERVE:
        raise Blocked(
            "MYI008",
            f"The model needs {total / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free.",
            "Free some space in the data directory, then retry the import.",
        )


def _limit_step() -> str:
    return "Split the model, or ask the operator to raise MODELYARD_MAX_UNPACKED_BYTES."
