"""What people do with uploads: begin one, look how far it is, finish or discard it."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import date_format

from apps.models import operations
from apps.models.models import Model
from apps.models.uploads import quotas
from apps.models.uploads.models import Upload
from modelyard.api.uploads import RESERVE
from modelyard.problems import Problem

MAX_OPEN = 20  # uploads of one person that aren't finished
MAX_METADATA = 8192  # characters
logger = logging.getLogger(__name__)


def path_of(upload_id: str) -> Path:
    """Where its bytes are."""
    return Path(settings.UPLOADS_DIR) / f"{upload_id}.part"


def checked_path(upload_id: str) -> Path:
    """Where it stands how many bytes count while others are written that are to be compared with their checksum."""
    return path_of(upload_id).with_suffix(".checked")


def checked(upload_id: str) -> int | None:
    """Bytes that count, whatever lies behind them; None if all do."""
    try:
        return int(checked_path(upload_id).read_text() or 0)
    except FileNotFoundError:
        return None


def received(upload: Upload) -> int:
    """Bytes that have come, without those that weren't compared with their checksum yet."""
    most = checked(upload.pk)
    try:
        size = path_of(upload.pk).stat().st_size
    except OSError:
        return 0
    return size if most is None else min(size, most)


def begin(
    file_name: str,
    length: int,
    *,
    by: User,
    description: str = "",
    tags: Iterable[str] = (),
    metadata: str = "",
    base_model: Model | None = None,
) -> Upload:
    """Begin an upload, if its name, its size, the quotas and the disk allow it."""
    name = operations.name_of(file_name)
    cleaned = operations.clean_tags(tags)
    if len(description) > 10_000:
        step = "At most 10,000 characters."
        raise Problem("invalid", "The description is too long.", step, status=400)
    _size(length)
    with transaction.atomic():
        quotas.lock()
        _quotas(length, by)
        _room(length)
        _free(name, by)
        try:
            with transaction.atomic():
                made = Upload.objects.create(
                    owner=by, name=name, file_name=file_name[:400], length=length, description=description,
                    tags=cleaned, metadata=metadata, expires_at=_expiry(), base_model=base_model,
                )  # fmt: skip
        except IntegrityError:
            raise _taken(name) from None
        _make(made)
    logger.info("%s began to upload %s (%s bytes)", by, made.file_name, length)
    return made


def find(upload_id: str, by: User) -> Upload:
    """Somebody's own upload. A Problem if it isn't there, or has expired."""
    upload = Upload.objects.filter(pk=upload_id, owner=by).first()
    if upload is None:
        step = "Begin it again; if it was complete, its model is in the list."
        raise Problem("no_upload", "There is no such upload.", step, status=404)
    if upload.expires_at < timezone.now():
        raise Problem("upload_expired", "The upload has expired.", "Begin it again.", status=410)
    return upload


def touched(upload: Upload) -> None:
    """Bytes came: it expires later."""
    Upload.objects.filter(pk=upload.pk).update(expires_at=_expiry())


def finish(upload: Upload) -> Model:
    """Begin the import of a complete upload; safe to repeat after a crash."""
    user = User.objects.get(pk=upload.owner_id)
    with transaction.atomic():
        if not Upload.objects.select_for_update().filter(pk=upload.pk).exists():
            raise Problem("no_upload", "The upload is finished already.", "Its model is in the list.", status=404)
        Upload.objects.filter(pk=upload.pk).delete()  # frees the name for the model
        checked_path(upload.pk).unlink(missing_ok=True)
        return operations.import_file(
            path_of(upload.pk), upload.name, by=user, description=upload.description, tags=upload.tags,
            base_model=upload.base_model,
        )  # fmt: skip


def discard(upload: Upload, *, by: User | None) -> None:
    """Forget an upload and what has come of it."""
    Upload.objects.filter(pk=upload.pk).delete()
    for path in (path_of(upload.pk), checked_path(upload.pk)):
        path.unlink(missing_ok=True)
    logger.info("the upload of %s was discarded by %s", upload.file_name, by or "the system")


def sweep() -> None:
    """What a crash left between the last byte and the import is begun; what has expired goes."""
    now = timezone.now()
    for upload in Upload.objects.filter(expires_at__lt=now):
        if not _busy(upload):  # a request that has lasted all that time still brings some
            discard(upload, by=None)
    for upload in Upload.objects.filter(problem=""):
        if received(upload) != upload.length or _busy(upload):
            continue
        try:
            finish(upload)
        except Problem as problem:
            Upload.objects.filter(pk=upload.pk).update(problem=str(problem))


def check_room(path: Path) -> None:
    """A Problem once the disk is nearly full: others need some of it."""
    if shutil.disk_usage(path.parent).free < RESERVE:
        step = "Free some space and resume: what has come is kept."
        raise Problem("disk", "The disk of uploads is nearly full.", step, status=507)


def _busy(upload: Upload) -> bool:
    """A request writes it, or brought its last byte just now, and begins the import."""
    try:
        with path_of(upload.pk).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return timezone.now().timestamp() - os.fstat(file.fileno()).st_mtime < 30
    except BlockingIOError:
        return True
    except OSError:
        return False


def _make(upload: Upload) -> None:
    try:
        os.close(os.open(path_of(upload.pk), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        step = "Free some space in the data directory, or mend its disk."
        raise Problem("disk", f"The upload can't be kept: {error.strerror}.", step, status=507) from None


def _size(length: int) -> None:
    if length < 1:
        raise Problem("empty", "The file is empty.", "Choose another one, or make it again.", status=400)
    if length > settings.MAX_UPLOAD_BYTES:
        said = f"The file has {filesizeformat(length)}, {filesizeformat(settings.MAX_UPLOAD_BYTES)} are allowed."
        raise Problem("too_large", said, "Ask the operator to raise MODELYARD_MAX_UPLOAD_BYTES.", status=413)


def _quotas(length: int, by: User) -> None:
    if Upload.objects.filter(owner=by).count() >= MAX_OPEN:
        step = "Finish or discard some of them first."
        raise Problem("too_many_uploads", f"You have {MAX_OPEN} unfinished uploads.", step, status=409)
    quotas.check(length, by)


def _room(length: int) -> None:
    """The disk must take what is promised already, too."""
    missing = sum(upload.length - received(upload) for upload in Upload.objects.all())
    free = shutil.disk_usage(settings.UPLOADS_DIR).free
    if free < length + missing + RESERVE:
        said = f"An upload of {filesizeformat(length)} doesn't fit: {filesizeformat(max(free - missing, 0))} are free."
        raise Problem("disk", said, "Ask the operator to free some disk space.", status=507)


def _free(name: str, by: User) -> None:
    if Model.objects.filter(name=name).exists():
        step = "Rename the file (the name comes from it), or delete that model first."
        raise Problem("name_taken", f"There is a model named {name!r} already.", step)
    other = Upload.objects.filter(name=name).first()
    if other and other.owner_id == by.pk:
        begun = date_format(timezone.localtime(other.created_at), "DATETIME_FORMAT")
        step = "Resume it, or discard it first."
        raise Problem("upload_unfinished", f"You began to upload {name!r} on {begun}.", step)
    if other:
        raise _taken(name)


def _taken(name: str) -> Problem:
    return Problem("name_taken", f"Somebody is uploading {name!r} now.", "Rename the file: the name comes from it.")


def _expiry() -> datetime:
    return timezone.now() + timedelta(seconds=settings.UPLOAD_EXPIRES_SECONDS)
