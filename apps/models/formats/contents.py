"""What a file really is: by its content, whatever its name says."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from apps.models.formats import pickles
from apps.models.formats.suffixes import ARCHIVES, PICKLES
from apps.models.rules import Policy

PROGRAMS = (".so", ".dll", ".dylib", ".exe", ".pyd")
BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
"""What follows the level of a bzip2 stream: a block, or the end of an empty stream, behind which another may begin."""
MAGICS: dict[bytes, tuple[str, tuple[str, ...]]] = {
    b"PK\x03\x04": ("a zip archive", ()),
    b"PK\x05\x06": ("a zip archive", ()),
    b"PK\x07\x08": ("a zip archive", ()),
    b"\x1f\x8b\x08": ("a gzip archive", ()),
    **{b"BZh%d%b" % (level, block): ("a bzip2 archive", ()) for level in range(1, 10) for block in BZIP2_BLOCKS},
    b"\xfd7zXZ\x00": ("an xz archive", ()),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", ()),
    b"Rar!\x1a\x07": ("a RAR archive", ()),
    b"\x28\xb5\x2f\xfd": ("a Zstandard archive", ()),
    b"\x7fELF": ("a program", PROGRAMS),
    b"\xfe\xed\xfa\xcf": ("a program", PROGRAMS),
    b"\xcf\xfa\xed\xfe": ("a program", PROGRAMS),
    b"MZ\x90\x00": ("a program", PROGRAMS),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", (".h5", ".hdf5", ".keras")),
}
"""How files begin, what that makes them, and the names that say so."""
TAR = (257, b"ustar")
STEP = "Find out what it is; give it its own name, or leave it out, and import again."


def no_archives(paths: Iterable[str], policy: Policy) -> None:
    """No file is an archive of its own, which hides from all other checks what is in it."""
    for path in paths:
        if path.lower().endswith(ARCHIVES):
            step = "Unpack it, and import its files beside the others."
            policy.block("MYI005", f"{path[:200]} is an archive itself.", step)


def check(folder: Path, paths: list[str], data: set[str], policy: Policy) -> None:
    """No file is a pickle, an archive or a program under another name. `data` are files of plain numbers."""
    for path in policy.each(paths):
        suffix = PurePosixPath(path).suffix.lower()
        if suffix in PICKLES and path not in data:
            continue  # looked at as weights
        found = pickles.disguised(folder / path)
        if found:
            step = "Don't load it anywhere. Ask where the model is from, and take it from there again."
            policy.block("MYI017", f"{path} is a pickle under another name, and {found.said()}.", step)
        kind = _kind(folder / path, suffix)
        if kind and not (kind.endswith("archive") and suffix in ARCHIVES):
            policy.block("MYI018", f"{path} is {kind} under another name.", STEP)


def _kind(path: Path, suffix: str) -> str:
    with path.open("rb") as file:
        head = file.read(TAR[0] + len(TAR[1]))
    for magic, (kind, suffixes) in MAGICS.items():
        if head.startswith(magic) and suffix not in suffixes:
            return kind
    return "a tar archive" if head[TAR[0] :] == TAR[1] else ""
