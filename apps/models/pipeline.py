"""One import: unpack, validate, register. Killed anywhere, it starts again; nothing half-made stays."""

import errno
import logging
import os
import socket
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from apps.models import archive, blobs, storage
from apps.models.adapters import fitting as adapters
from apps.models.bundles import copying
from apps.models.bundles.models import BundleOrigin
from apps.models.deployconfig import reading as deployconfig
from apps.models.deployconfig.schema import DeployConfig
from apps.models.formats import Facts, inspect
from apps.models.hub.fetching import Download, said
from apps.models.hub.models import HubOrigin
from apps.models.installation import operations as installation
from apps.models.models import USABLE, WORKING, ImportFinding, Kind, Level, Model, ModelFile, Revision, Status
from apps.models.overrides import operations as overrides
from apps.models.rules import Blocked, Found, Policy
from apps.models.uploads.models import Upload
from modelyard.problems import Problem

LEASE = 60  # seconds; renewed with every report of progress
REPORT_EVERY = 1.0  # seconds
MAX_ATTEMPTS = 3
UNPACK_SHARE = 90  # percent of the progress bar
STRAY_AFTER = 24 * 3600  # seconds after which files nobody knows are set aside
KEEP_DAYS = 30  # that they are kept there
KEEP_ARCHIVE = frozenset({"MYI008", "MYI019"}) | adapters.MENDED_BY_BASE | overrides.OVERRIDABLE
"""Rules whose findings may pass without another archive, or that people may override: it is kept for a retry."""


logger = logging.getLogger(__name__)


class Lost(Exception):
    """The model was deleted, or its lease went to somebody else: stop without a trace."""


class Import:
    """The import of one model by the holder of its lease."""

    def __init__(self, model_id: str) -> None:
        self.id = model_id
        self.owner = f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.reported = self.began = 0.0
        self.doing = "Unpacking"
        self.percent = 0
        self.updating = False
        self.policy = Policy()

    def run(self) -> None:
        """The whole import. Does nothing if somebody else is at it, or if it isn't wanted."""
        if not self._take_lease():
            return
        self.updating = Model.objects.filter(pk=self.id, status=Status.UPDATING).exists()
        try:
            self._import()
        except Blocked as blocked:
            self._failed(blocked)
        except Problem as problem:
            self._ended(problem.code, problem.message, problem.next_step, [])
        except OSError as error:
            self._failed(_disk(error))
        except (Lost, ObjectDoesNotExist):
            self._leave_nothing()

    def _leave_nothing(self) -> None:
        if not Model.objects.filter(pk=self.id).exists():
            storage.remove(self.id)
        elif Model.objects.filter(pk=self.id, status=Status.READY, hub_origin__upcoming__isnull=True).exists():
            storage.discard(storage.begun(self.id))  # an update was cancelled; what a paused download has got stays

    def _take_lease(self) -> bool:
        now = timezone.now()
        free = Q(lease_until=None) | Q(lease_until__lt=now)
        taken = Model.objects.filter(free, pk=self.id, status__in=WORKING).update(
            lease_owner=self.owner, lease_until=now + timedelta(seconds=LEASE), heartbeat_at=now,
            attempts=F("attempts") + 1, stage="Unpacking", progress=0,
            status=Case(When(status=Status.UPDATING, then=Value(Status.UPDATING)), default=Value(Status.IMPORTING)),
        )  # fmt: skip
        return bool(taken)

    def _holds_lease(self) -> bool:
        """Is it still ours? What is on disk is somebody else's by now if it isn't."""
        return Model.objects.filter(pk=self.id, lease_owner=self.owner).exists()

    def _import(self) -> None:
        hub = HubOrigin.objects.filter(model_id=self.id).first()
        number = Model.objects.values_list("revision", flat=True).get(pk=self.id) + int(self.updating)
        decided = overrides.of_revision(self.id, number)
        self.policy = Policy(decided, alive=self._alive, seconds=settings.CHECK_SECONDS)
        made = storage.begun(self.id) if hub else storage.fresh(self.id)
        try:
            origin = BundleOrigin.objects.filter(model_id=self.id).first()
            files, how = (
                self._download(hub, made) if hub else self._copy(origin, made) if origin else self._unpack(made)
            )
            status = Status.UPDATING if self.updating else Status.VALIDATING
            self._report(status=status, stage="Checking the files", progress=UNPACK_SHARE)
            facts = inspect(made, [file.path for file in files], self.policy)
            facts.findings.append(how)
            left_out = set(facts.left_out)
            paths = [file.path for file in files if file.path not in left_out]
            base = adapters.take(made, paths, facts, Model.objects.get(pk=self.id).base_model)
            config = deployconfig.take(made, [file.path for file in files], facts) or _recommended(origin, hub)
            if hub:
                _said_by(hub, facts)
            left_out = set(facts.left_out)
            for path in left_out:
                storage.discard(made / path)
            kept = [file for file in files if file.path not in left_out]
            storage.sync(made, self._alive)  # before it is Ready, and before what it was made from goes
            self._register(made, kept, facts, config, base)
        finally:
            if not hub and self._holds_lease():  # what has been downloaded is kept for the next try
                storage.discard(made)
        storage.discard(storage.upload(self.id))

    def _unpack(self, made: Path) -> tuple[list[archive.Unpacked], Found]:
        limit = settings.MAX_UNPACKED_BYTES
        with archive.opened(storage.upload(self.id)) as zipped:
            entries = archive.look(zipped, limit, self.policy)
            files = list(archive.unpack(zipped, entries, made, limit, self._progress))
        return files, Found("MYI001", Level.PASS, f"{len(files)} files were unpacked and hashed.")

    def _copy(self, origin: BundleOrigin, made: Path) -> tuple[list[archive.Unpacked], Found]:
        self.doing = "Copying"
        self._report(stage=self.doing)
        limit = settings.MAX_UNPACKED_BYTES
        files = copying.copy(Path(origin.root), origin.directory, made, limit, self._progress)
        said = f"{len(files)} files were copied; each is the one of the bundle's manifest."
        return files, Found("MYI035", Level.PASS, said)

    def _download(self, hub: HubOrigin, made: Path) -> tuple[list[archive.Unpacked], Found]:
        self._report(stage="Downloading")
        hub = hub.goal()
        files = Download(hub, made, self._report, UNPACK_SHARE).run()
        said = f"{len(files)} files of {hub} were downloaded; each has the size and the hash that the hub states."
        return files, Found("MYI032", Level.PASS, said)

    def _progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        self.began = self.began or now
        if now - self.reported >= REPORT_EVERY:
            speed = int(done / (now - self.began)) if now > self.began else 0
            self._report(stage=said(done, total, speed, self.doing), progress=done * UNPACK_SHARE // max(total, 1))

    def _alive(self) -> None:
        if time.monotonic() - self.reported >= REPORT_EVERY:
            self._report()

    def _report(self, **fields: Any) -> None:
        """Write how far it is, and keep the lease."""
        self.reported = time.monotonic()
        now = timezone.now()
        fields |= {"heartbeat_at": now, "lease_until": now + timedelta(seconds=LEASE)}
        if not Model.objects.filter(pk=self.id, lease_owner=self.owner, status__in=WORKING).update(**fields):
            raise Lost

    def _register(
        self, made: Path, files: list[archive.Unpacked], facts: Facts, config: DeployConfig | None, base: Model | None
    ) -> None:
        with transaction.atomic():
            done = Model.objects.filter(pk=self.id, lease_owner=self.owner, status__in=WORKING).update(
                status=Status.READY, stage="", progress=100, lease_owner="", lease_until=None,
                format=facts.format, task=facts.task, architecture=facts.architecture, licence=facts.licence,
                parameter_count=facts.parameter_count, context_length=facts.context_length,
                size=sum(file.size for file in files), revision=F("revision") + int(self.updating),
                failure_code="", failure="", next_step="",
                kind=Kind.ADAPTER if base else Kind.BASE, base_model=base, adapter=facts.adapter,
            )  # fmt: skip
            if not done:
                raise Lost
            number = self._revision(sum(file.size for file in files), base)
            ModelFile.objects.bulk_create(
                ModelFile(model_id=self.id, revision=number, path=file.path, size=file.size, sha256=file.sha256)
                for file in files
            )
            if config or not self.updating:
                deployconfig.keep(self.id, config)
            _write_report(self.id, facts.findings)
            # Last, so that a rename that fails takes the rows back with it.
            storage.publish(made, self.id, number, {file.path: file.sha256 for file in files})

    def _revision(self, size: int, base: Model | None) -> int:
        """The number of the revision that was made; what an earlier try left of it goes."""
        number = Model.objects.values_list("revision", flat=True).get(pk=self.id)
        hub = HubOrigin.objects.filter(pk=self.id).first()
        if hub and hub.upcoming:
            hub.goal().upcoming = None
            hub.save(update_fields=["commit", "files", "total_bytes", "upcoming"])
        commit = hub.commit if hub else ""
        on = {"base_revision": base.revision if base else None}
        Revision.objects.update_or_create(
            model_id=self.id, number=number, defaults={"commit": commit, "size": size, **on}
        )
        ModelFile.objects.filter(model_id=self.id, revision=number).delete()
        return number

    def _failed(self, blocked: Blocked) -> None:
        found = blocked.found
        if self._holds_lease():
            for path in (storage.upload(self.id), storage.half_made(self.id)):
                if found.rule not in KEEP_ARCHIVE:
                    storage.discard(path)
                elif path.exists():
                    os.utime(path)  # the days in which somebody may decide begin now
        self._ended(found.rule, found.finding, found.next_step, [found])

    def _ended(self, code: str, failure: str, next_step: str, report: list[Found]) -> None:
        with transaction.atomic():
            failed = Model.objects.filter(pk=self.id, lease_owner=self.owner).update(
                status=Status.READY if self.updating else Status.IMPORT_FAILED,
                stage="", lease_owner="", lease_until=None,
                failure_code=code, failure=f"The update failed: {failure}" if self.updating else failure,
                next_step=next_step,
            )  # fmt: skip
            if failed and not self.updating:
                _write_report(self.id, report)
        if not failed:
            self._leave_nothing()


def _disk(error: OSError) -> Blocked:
    """What the disk of the data directory says."""
    said = error.strerror or error
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        step = "Free some space in the data directory, then retry the import."
        return Blocked("MYI008", f"The files can't be written ({said}).", step)
    step = "Mend the disk of the data directory, then retry the import."
    return Blocked("MYI008", f"The files can't be read or written ({said}).", step)


def _said_by(hub: HubOrigin, facts: Facts) -> None:
    """What the hub states and the files don't."""
    facts.task = facts.task or hub.task
    if hub.licence and not facts.licence:
        facts.licence = hub.licence
        facts.findings = [found for found in facts.findings if found.rule != "MYI023"]
        facts.passed("MYI023", f"Licence, as the hub states it: {hub.licence}.")


def _recommended(origin: BundleOrigin | None, hub: HubOrigin | None) -> DeployConfig | None:
    """What the catalogue recommends for the model."""
    if hub and hub.config:
        return DeployConfig.model_validate(hub.config)
    if origin is None or not origin.runtime:
        return None
    return DeployConfig(version=1, runtime=origin.runtime, options=origin.options)


def _write_report(model_id: str, findings: list[Found]) -> None:
    ImportFinding.objects.filter(model_id=model_id).delete()
    ImportFinding.objects.bulk_create(
        ImportFinding(model_id=model_id, rule=f.rule, level=f.level, finding=f.finding, next_step=f.next_step)
        for f in sorted(findings, key=lambda f: (f.level != Level.BLOCK, f.level != Level.WARN, f.rule))
    )


def run(model_id: str) -> None:
    """Import a model, if it is still wanted and nobody else is at it."""
    Import(model_id).run()


def _known() -> list[str]:
    return [*Model.objects.values_list("pk", flat=True), *Upload.objects.values_list("pk", flat=True)]


def _leftovers() -> None:
    """What workers that were killed left of imports that have ended."""
    archives, folders = storage.archives(), storage.half_made_before(time.time() - LEASE)
    ended = Q(status__in=[*USABLE, Status.IMPORT_FAILED], hub_origin=None)
    # A download that has failed is kept for the next try; one that was cancelled isn't.
    cancelled = Q(status=Status.READY, hub_origin__upcoming__isnull=True)
    for model_id in Model.objects.filter(ended | cancelled).filter(pk__in=folders).values_list("pk", flat=True):
        storage.discard(folders[model_id])
    for model_id in Model.objects.filter(status__in=USABLE, pk__in=archives).values_list("pk", flat=True):
        storage.discard(archives[model_id])


def _strays() -> None:
    """What nobody knows goes, but not at once: a restored older database doesn't know the newest models."""
    for path in storage.strays(_known(), time.time() - STRAY_AFTER):
        logger.warning("%s is of nothing in the database: it is kept in %s for %s days", path, storage.ASIDE, KEEP_DAYS)
        storage.set_aside(path)
    storage.forget_aside(KEEP_DAYS)


def sweep() -> list[str]:
    """Imports that nobody is at any more, to be taken up again. Those interrupted too often fail; strays go."""
    now = timezone.now()
    silent = now - timedelta(seconds=LEASE)
    idle = Model.objects.filter(Q(lease_until=None, added_at__lt=silent) | Q(lease_until__lt=now), status__in=WORKING)
    idle.filter(attempts__gte=MAX_ATTEMPTS).update(
        status=Case(When(status=Status.UPDATING, then=Value(Status.READY)), default=Value(Status.IMPORT_FAILED)),
        stage="", lease_owner="", lease_until=None, failure_code="interrupted",
        failure=f"The import was interrupted {MAX_ATTEMPTS} times.",
        next_step="Look at the importer's log, then retry the import.",
    )  # fmt: skip
    if installation.ours():
        _strays()
        blobs.sweep()
    _leftovers()
    overrides.forget()
    return list(idle.filter(attempts__lt=MAX_ATTEMPTS).values_list("pk", flat=True))
