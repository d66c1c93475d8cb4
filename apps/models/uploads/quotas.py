"""How much people may have on disk of what isn't a model yet: uploads, and archives that are kept for a retry."""

import contextlib
from collections.abc import Iterable

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat

from apps.models import storage
from apps.models.models import Model
from apps.models.uploads.models import Upload
from modelyard.problems import Problem

ONE_AT_A_TIME = 0x6D79  # PostgreSQL's advisory lock under which limits are checked


def check(length: int, by: User | None) -> None:
    """A Problem if so many bytes more are too many: of this person, or of all."""
    uploads, models = Upload.objects.all(), Model.objects.all()
    for limit, used, whose, name in (
        (settings.UPLOAD_QUOTA_BYTES, (uploads.filter(owner=by), models.filter(added_by=by)), "your",
         "MODELYARD_UPLOAD_QUOTA_BYTES"),
        (settings.UPLOADS_TOTAL_BYTES, (uploads, models), "all", "MODELYARD_UPLOADS_TOTAL_BYTES"),
    ):  # fmt: skip
        if not limit:
            continue
        announced = used[0].aggregate(sum=Sum("length"))["sum"] or 0
        total = announced + _kept(used[1].values_list("pk", flat=True)) + length
        if total > limit:
            said = f"With this file, {whose} uploads that aren't models yet would have {filesizeformat(total)}; "
            step = (
                "Finish or discard unfinished uploads, delete failed imports, or wait until an import has ended; "
                f"or ask the operator to raise {name}."
            )
            raise Problem("upload_quota", f"{said}{filesizeformat(limit)} are allowed.", step, status=413)


def lock() -> None:
    """Quotas are looked at by one after the other; SQLite's transactions are so anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ONE_AT_A_TIME])


def _kept(models: Iterable[str]) -> int:
    """Bytes of the archives that are there for the import of these models."""
    archives, size = storage.archives(), 0
    for model_id in models if archives else ():
        if path := archives.get(model_id):
            with contextlib.suppress(FileNotFoundError):
                size += path.stat().st_size
    return size
