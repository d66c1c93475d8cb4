"""Names of files that mean the same, or something else, on other disks."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from pathlib import PurePosixPath

from apps.models.rules import Policy

MAX_PATH = 900  # characters of a whole path
MAX_PARTS = 32  # of one path: folders, and the file; models in use have a few
RESERVED = re.compile(r"^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?$", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"|?*]')
STEP = "Rename it, and import again."


def alike(path: str) -> str:
    """The same for names that some disk takes for one: capitals, Unicode's ways of writing, dots and blanks at ends."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    return "/".join(part.rstrip(". ") or part for part in plain.split("/"))


def too_long(path: str) -> bool:
    """Has it more characters, or more folders in one another, than any file of a model needs?"""
    return len(path) > MAX_PATH or len(PurePosixPath(path).parts) > MAX_PARTS


def double(paths: Iterable[str]) -> str | None:
    """One that some disk takes for another, or for a folder that another lies in; None if there is none."""
    # A folder's files come right behind its name where nothing sorts before the character between them.
    keys = sorted((alike(path).replace("/", "\0"), path) for path in paths)
    for (earlier, folder), (later, path) in pairwise(keys):
        if later == earlier:
            return path
        if later.startswith(f"{earlier}\0"):
            return folder
    return None


def check(paths: Iterable[str], policy: Policy) -> None:
    """No part of a name is reserved or changed by Windows, which hides what a file is from who looks at its suffix."""
    for path in paths:
        for part in PurePosixPath(path).parts:
            if why := _why(part):
                policy.block("MYI009", f"The name {path[:200]} {why}.", STEP)
                break


def _why(part: str) -> str:
    if RESERVED.match(part):
        return "is that of a device on Windows"
    if FORBIDDEN.search(part):
        return "has a character that Windows doesn't allow"
    return "ends with a dot or a blank, which Windows takes away" if part.endswith((".", " ")) else ""
