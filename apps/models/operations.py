"""What people do with models: one verb each, called by the admin, the API, the command line and the tasks alike."""

import logging
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.db.models import Case, ProtectedError, Q, Value, When
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from apps.models import storage
from apps.models.adapters.fitting import MENDED_BY_BASE
from apps.models.bundles.models import BundleOrigin
from apps.models.hub.models import HubOrigin
from apps.models.models import WORKING, Kind, Model, Source, Status
from apps.models.uploads import quotas
from apps.models.uploads.models import Upload
from modelyard.problems import Problem

MAX_NAME = 120  # characters of a model's name
ASKED_SECONDS = 300  # that asking again is good for: where all workers are busy, the queue doesn't grow
WAITING = "Waiting for a worker"
MAX_TAGS, MAX_TAG_LENGTH = 20, 50
logger = logging.getLogger(__name__)


def receive(
    file: "UploadedFile[Any]",
    *,
    by: User | None,
    description: str = "",
    tags: Iterable[str] = (),
    base_model: Model | None = None,
) -> Model:
    """Take an uploaded archive if quotas allow it, and start its import. It is named as the file without `.zip`."""
    name = name_of(file.name or "")
    path = getattr(file, "temporary_file_path", None)
    if path is None:
        raise Problem("not_a_file", "The upload isn't a file on disk.", "Send it as multipart/form-data.", status=400)
    with transaction.atomic():
        quotas.lock()
        quotas.check(file.size or 0, by)
        return import_file(Path(path()), name, by=by, description=description, tags=tags, base_model=base_model)


def import_file(
    path: Path,
    name: str,
    *,
    by: User | None,
    description: str = "",
    tags: Iterable[str] = (),
    base_model: Model | None = None,
) -> Model:
    """Start the import of an archive on disk, which is moved into the data directory."""
    step = "Rename the file (the name comes from it), or delete that model first."
    model = begin(name, by=by, description=description, tags=tags, if_taken=step, base_model=base_model)
    try:
        storage.take(path, model.pk)
    except OSError as error:
        model.delete()
        raise Problem(
            "disk", f"The upload can't be kept: {error.strerror}.", "Free some space in the data directory.", status=507
        ) from None
    transaction.on_commit(lambda: storage.discard(path))  # not before: an end in between would cost the upload
    enqueue(model.pk)
    return model


def begin(
    name: str,
    *,
    by: User | None,
    if_taken: str,
    source: Source = Source.FILE,
    description: str = "",
    tags: Iterable[str] = (),
    base_model: Model | None = None,
) -> Model:
    """A model in Importing; a Problem, with `if_taken` as what to do, where its name is somebody else's."""
    cleaned = clean_tags(tags)
    if Upload.objects.filter(name=name).exists():
        step = "Choose another name, or wait until that upload has ended."
        raise Problem("name_taken", f"Somebody is uploading {name!r} now.", step)
    try:
        with transaction.atomic():
            return Model.objects.create(
                name=name, source=source, description=description, tags=cleaned, added_by=by, stage=WAITING,
                base_model=base_model, kind=Kind.ADAPTER if base_model else Kind.BASE,
            )  # fmt: skip
    except IntegrityError:
        raise Problem("name_taken", f"There is a model named {name!r} already.", if_taken) from None


def retry(model: Model, *, by: User | None, base_model: Model | None = None) -> Model:
    """Import once more from what it is from; a download goes on where it ended. With another base, for an adapter."""
    if model.status == Status.IMPORT_FAILED and not retryable(model):
        raise Problem(
            "nothing_to_retry",
            f"What {model.name} is imported from isn't there any more.",
            "Delete it and import it again.",
        )
    if base_model and (model.failure_code not in MENDED_BY_BASE or model.status != Status.IMPORT_FAILED):
        step = "Retry it as it is, or delete it and import it again with that base."
        raise Problem("invalid_base", f"Another base isn't what {model.name} failed for want of.", step, status=400)
    updating = Q(status=Status.READY, hub_origin__upcoming__isnull=False)
    retried = Model.objects.filter(updating | Q(status=Status.IMPORT_FAILED), pk=model.pk).update(
        status=Case(When(status=Status.READY, then=Value(Status.UPDATING)), default=Value(Status.IMPORTING)),
        stage=WAITING, progress=0, attempts=0,
        failure_code="", failure="", next_step="", lease_owner="", lease_until=None,
        **({"base_model": base_model, "kind": Kind.ADAPTER} if base_model else {}),
    )  # fmt: skip
    if not retried:
        raise Problem("wrong_status", f"{model.name} hasn't failed.", "Only a failed import can be retried.")
    model.refresh_from_db()
    logger.info("the import of %s is retried by %s", model.name, by or "the system")
    enqueue(model.pk)
    return model


def retryable(model: Model) -> bool:
    """Has its import failed, or its update, and is what it is imported from still there?"""
    if model.status != Status.IMPORT_FAILED:
        return update_failed(model)
    origins = (BundleOrigin, HubOrigin)
    return storage.upload(model.pk).exists() or any(each.objects.filter(model=model).exists() for each in origins)


def update_failed(model: Model) -> bool:
    """Is it Ready as it was, after a newer revision of it couldn't be had?"""
    return model.status == Status.READY and HubOrigin.objects.filter(model=model, upcoming__isnull=False).exists()


def edit(model: Model, *, description: str | None = None, tags: Iterable[str] | None = None) -> Model:
    """Change the description and the tags; nothing else of a model is editable."""
    fields: dict[str, Any] = {}
    if description is not None:
        fields["description"] = description
    if tags is not None:
        fields["tags"] = clean_tags(tags)
    if fields:
        Model.objects.filter(pk=model.pk).update(**fields)
        model.refresh_from_db()
    return model


def delete(model: Model, *, by: User | None) -> None:
    """Delete a model and its files; an import in progress is cancelled. Refused while a deployment uses it."""
    identifier = model.pk
    try:
        with transaction.atomic():
            # An import that registers its files just now ends first: what it wrote is seen, and goes too.
            Model.objects.select_for_update().filter(pk=identifier).first()
            Model.objects.filter(pk=identifier).delete()
    except ProtectedError as error:
        raise _in_use(model, error.protected_objects) from None
    storage.remove(identifier)
    logger.info("model %s (%s) was deleted by %s", model.name, identifier, by or "the system")


def _in_use(model: Model, users: Iterable[Any]) -> Problem:
    """Who needs it: adapters of which it is the base, or deployments."""
    found = list(users)
    adapters = [row for row in found if isinstance(row, Model)]
    names = ", ".join(sorted(str(row) for row in adapters or found)[:5])
    if adapters:
        said, step = f"it is the base of {names}.", "Delete these adapters first."
    else:
        said, step = f"it is used by {names}.", "Delete these deployments first."
    return Problem("in_use", f"{model.name} can't be deleted: {said}", step)


def enqueue(model_id: str, *, again: bool = False) -> None:
    """Ask a worker to import it. If the broker is away, the sweep asks again, but not while it waits for an answer."""
    from apps.models.tasks import import_model

    def ask() -> None:
        try:
            if not again:
                import_model.delay(model_id)
            elif cache.add(asked_key(model_id), 1, timeout=ASKED_SECONDS):
                import_model.apply_async(args=(model_id,), expires=ASKED_SECONDS)
        except (OperationalError, RedisError) as error:
            logger.warning("import of %s not asked for, the broker is away: %s", model_id, error)

    transaction.on_commit(ask)


def asked_key(model_id: str) -> str:
    """There while a worker was asked again."""
    return f"import:{model_id}"


def name_of(file_name: str) -> str:
    """A model's name from its file's; a Problem if that isn't the name of a zip, or too long or unprintable."""
    base = unicodedata.normalize("NFC", PurePosixPath(file_name.replace("\\", "/")).name)
    if not base.lower().endswith(".zip"):
        raise Problem("not_a_zip", f"{base[:80]!r} isn't a .zip file.", "Upload the model as a .zip.", status=400)
    name = " ".join(base[:-4].split())
    if not name or not name.isprintable():
        raise Problem("invalid_name", "The file's name isn't usable.", "Rename the file, for example my-model.zip.",
                      status=400)  # fmt: skip
    if len(name) > MAX_NAME:
        raise Problem(
            "invalid_name",
            f"The file's name has {len(name)} characters, a model's name may have {MAX_NAME}.",
            "Rename the file.",
            status=400,
        )
    return name


def clean_tags(tags: Iterable[str]) -> list[str]:
    """Tags without blanks and doubles, in the order given; a Problem for too many or too long ones."""
    cleaned = list(dict.fromkeys(str(tag).strip() for tag in tags if str(tag).strip()))
    if len(cleaned) > MAX_TAGS or any(len(tag) > MAX_TAG_LENGTH for tag in cleaned):
        step = f"At most {MAX_TAGS} tags of {MAX_TAG_LENGTH} characters."
        raise Problem("invalid_tags", "There are too many tags, or one is too long.", step, status=400)
    return cleaned


def importing(model: Model) -> bool:
    """Is its import still going on?"""
    return model.status in WORKING
