"""Names of files that mean the same, or something else, on other disks."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from apps.models.rules import Policy

RESERVED = re.compile(r"^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?$", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"|?*]')
STEP = "Rename it, and import again."


def alike(path: str) -> str:
    """The same for names that some disk takes for one: capitals, Unicode's ways of writing, dots and blanks at ends."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    return "/".join(part.rstrip(". ") or part for part in plain.split("/"))


def double(paths: Collection[str]) -> str | None:
    """The first that some disk takes for another, or for a folder that another lies in; None if there is none."""
    folders = {alike(str(parent)) for path in paths for parent in PurePosixPath(path).parents}
    seen: set[str] = set()
    for path in paths:
        key = alike(path)
        if key in seen or key in folders:
            return path
        seen.add(key)
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
