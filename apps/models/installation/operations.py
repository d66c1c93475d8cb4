"""Compares the database with the files: what a database doesn't know may be another one's, and isn't rubbish then."""

import contextlib
import logging
import os
import uuid
from pathlib import Path

from django.conf import settings

from apps.models.installation.models import Installation
from apps.models.models import Model
from modelyard import ids

logger = logging.getLogger(__name__)
_said: set[str] = set()
"""Files whose being another database's was logged by this process."""


def marker() -> Path:
    """The file that names the installation that the files of models belong to."""
    return Path(settings.MODELS_DIR) / ".installation"


def own() -> str:
    """What this database is called."""
    return Installation.objects.get_or_create(pk=1)[0].identifier


def another() -> bool:
    """Do the files say that they are those of another database? Files that say nothing may be anybody's."""
    named = _named()
    return bool(named) and named != Installation.objects.values_list("identifier", flat=True).filter(pk=1).first()


def ours() -> bool:
    """Are the files those of this database, so that what it doesn't know is nobody's? Said of them from now on."""
    if not _named():
        # A new installation, or one from before there was a marker. Where the database knows nothing of what is there,
        # it was emptied or exchanged.
        _mark(own() if _known() else ids.installation())
    named = _named()
    if named == own():
        return True
    if named not in _said:
        _said.add(named)
        logger.warning("%s names another database's installation: nothing is cleaned up (docs/guides/operate.md)",
                       marker())  # fmt: skip
    return False


def _named() -> str:
    with contextlib.suppress(OSError):
        return marker().read_text().strip()[:64]
    return ""


def _known() -> bool:
    """Does the database know one of the models that are on disk? None on disk is fine, too."""
    there = {path.name.split(".", 1)[0] for path in Path(settings.MODELS_DIR).glob("mdl_*")}
    return not there or any(pk in there for pk in Model.objects.values_list("pk", flat=True).iterator())


def _mark(identifier: str) -> None:
    """Whole or not at all; of two at once, both go by the first."""
    unfinished = marker().with_name(f".{uuid.uuid4().hex}")
    try:
        unfinished.write_text(f"{identifier}\n")
        if not _named():
            marker().unlink(missing_ok=True)  # an empty one
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, marker())
    finally:
        unfinished.unlink(missing_ok=True)
