"""What people do with the hub: connections to it, and imports from it."""

import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from apps.models import operations
from apps.models.adapters import bases
from apps.models.hub import vault
from apps.models.hub.models import Connection, HubOrigin
from apps.models.hub.preflight import Asked, Preflight, look, whoami
from apps.models.models import WORKING, Model, Source, Status
from modelyard.problems import Problem

MAX_NAME, MAX_TOKEN = 64, 512  # characters
logger = logging.getLogger(__name__)


def connect(name: str, token: str, *, by: User | None) -> Connection:
    """Keep a token under a name. Whether the hub takes it is `test`'s to find out: there may be no network now."""
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise Problem(
            "invalid_name", "That is no name for a connection.", f"Give 1 to {MAX_NAME} characters.", status=400
        )
    token = _token(token)
    try:
        with transaction.atomic():
            made = Connection.objects.create(name=name, token=vault.seal(token), hint=token[-4:], created_by=by)
    except IntegrityError:
        step = "Choose another name, or replace that connection's token."
        raise Problem("name_taken", f"There is a connection named {name!r} already.", step) from None
    logger.info("connection %s was made by %s", made.name, by or "the system")
    return made


def replace_token(connection: Connection, token: str, *, by: User | None) -> Connection:
    """Another token for the same connection: what uses it goes on with the new one."""
    token = _token(token)
    Connection.objects.filter(pk=connection.pk).update(
        token=vault.seal(token),
        hint=token[-4:],
        replaced_at=timezone.now(),
        tested_at=None,
        test_problem="",
        account="",
    )
    logger.info("the token of connection %s was replaced by %s", connection.name, by or "the system")
    connection.refresh_from_db()
    return connection


def test(connection: Connection) -> Connection:
    """Ask the hub whose token it is; the answer is kept, good or bad, and a bad one is raised as a Problem."""
    try:
        account, found = whoami(connection), None
    except Problem as problem:
        account, found = "", problem
    said = str(found)[:255] if found else ""
    Connection.objects.filter(pk=connection.pk).update(tested_at=timezone.now(), test_problem=said, account=account)
    connection.refresh_from_db()
    if found:
        raise found
    return connection


def disconnect(connection: Connection, *, by: User | None) -> None:
    """Forget a token. Refused while a download needs it."""
    using = Model.objects.filter(hub_origin__connection=connection, status__in=[*WORKING, Status.PAUSED])
    if names := list(using.values_list("name", flat=True)[:5]):
        step = "Wait for them or cancel them; to change the token, replace it."
        raise Problem("in_use", f"{connection.name} is used by the download of {', '.join(names)}.", step)
    connection.delete()
    logger.info("connection %s was deleted by %s", connection.name, by or "the system")


def reseal() -> int:
    """Encrypt every token with the newest secret key; how many can't be opened any more."""
    lost = 0
    for connection in Connection.objects.all():
        try:
            sealed = vault.reseal(connection.token)
        except vault.Sealed:
            lost += 1
            continue
        Connection.objects.filter(pk=connection.pk, token=connection.token).update(token=sealed)
    return lost


def start(
    found: Preflight,
    *,
    by: User | None,
    name: str = "",
    description: str = "",
    tags: tuple[str, ...] = (),
    config: Mapping[str, Any] | None = None,
    base_model: Model | None = None,
) -> Model:
    """Begin the download of what was looked at; a worker does it."""
    if found.blocks:
        raise found.blocks[0]
    base = base_of(found, base_model)
    with transaction.atomic():
        model = operations.begin(
            operations.name_of(f"{name or found.repository.rsplit('/', 1)[-1]}.zip"), by=by, source=Source.HUGGING_FACE,
            description=description, tags=tags, if_taken="Choose another name, or use the model that is there.",
            base_model=base,
        )  # fmt: skip
        HubOrigin.objects.create(
            model=model, repository=found.repository, revision=found.asked.revision or "main", commit=found.commit,
            connection=found.asked.connection, patterns=list(found.asked.patterns), total_bytes=found.total,
            files=[vars(file) for file in found.taken], task=found.task, licence=found.licence,
            config=dict(config) if config else None,
        )  # fmt: skip
    logger.info("%s is imported from %s at %s by %s", model.name, found.repository, found.commit, by or "the system")
    operations.enqueue(model.pk)
    return model


def base_of(found: Preflight, chosen: Model | None = None) -> Model | None:
    """The base of an adapter: the chosen one, or the one that it names. A Problem if it isn't here, or isn't wanted."""
    if found.adapter is None:
        if chosen is not None:
            said = f"{found.repository} is no adapter: it needs no base such as {chosen.name}."
            raise Problem("invalid_base", said, "Import it without choosing a base model.", status=400)
        return None
    base = chosen or bases.named(found.adapter.base)
    if base is None:
        wanted = found.adapter.base or "its base model"
        step = f"Import {wanted} first, or choose its base among the models here."
        raise Problem("no_base", f"{found.repository} is an adapter for {wanted}, which isn't here.", step)
    return base


def pause(model: Model, *, by: User | None) -> Model:
    """Stop a download within seconds; what has come is kept."""
    paused = Model.objects.filter(pk=model.pk, status=Status.IMPORTING, hub_origin__isnull=False).update(
        status=Status.PAUSED, stage="", lease_owner="", lease_until=None
    )
    if not paused:
        raise Problem("wrong_status", f"{model.name} isn't being downloaded.", "Only a download can be paused.")
    HubOrigin.objects.filter(pk=model.pk).update(bytes_per_second=0)
    logger.info("the download of %s was paused by %s", model.name, by or "the system")
    model.refresh_from_db()
    return model


def resume(model: Model, *, by: User | None) -> Model:
    """Go on with a paused download."""
    resumed = Model.objects.filter(pk=model.pk, status=Status.PAUSED).update(
        status=Status.IMPORTING, stage=operations.WAITING, attempts=0, lease_owner="", lease_until=None
    )
    if not resumed:
        raise Problem("wrong_status", f"{model.name} isn't paused.", "Only a paused download can be resumed.")
    logger.info("the download of %s was resumed by %s", model.name, by or "the system")
    model.refresh_from_db()
    operations.enqueue(model.pk)
    return model


def newer(model: Model) -> Preflight | None:
    """What the asked revision of a model's repository is now; None if that is the commit that is here."""
    origin = HubOrigin.objects.select_related("connection").filter(pk=model.pk).first()
    if origin is None:
        raise Problem(
            "not_from_hub", f"{model.name} isn't from the hub.", "Import the new files as a model of their own."
        )
    weights = [file["path"] for file in origin.files]
    found = look(Asked(origin.repository, origin.revision, origin.connection, patterns=tuple(origin.patterns)))
    if not origin.patterns:
        same = next((each for each in found.variants if set(each.weights) & set(weights)), None)
        if same and found.variant and same.key != found.variant.key:
            found = look(Asked(origin.repository, origin.revision, origin.connection, variant=same.key))
    return None if found.commit == origin.commit else found


def update(model: Model, found: Preflight, *, by: User | None) -> Model:
    """Download a newer revision beside the one that is here. Deployments stay with theirs until re-deployed."""
    if found.blocks:
        raise found.blocks[0]
    files = [vars(file) for file in found.taken]
    with transaction.atomic():
        begun = Model.objects.filter(pk=model.pk, status=Status.READY, hub_origin__isnull=False).update(
            status=Status.UPDATING, stage=operations.WAITING, progress=0, attempts=0, lease_owner="", lease_until=None,
            failure_code="", failure="", next_step="",
        )  # fmt: skip
        if not begun:
            step = "Wait until it is Ready."
            raise Problem(
                "wrong_status", f"{model.name} can't be updated now: it is {model.get_status_display()}.", step
            )
        upcoming = {"commit": found.commit, "files": files, "total_bytes": found.total}
        HubOrigin.objects.filter(pk=model.pk).update(upcoming=upcoming, done_bytes=0, bytes_per_second=0)
    logger.info("%s is updated to %s by %s", model.name, found.commit, by or "the system")
    model.refresh_from_db()
    operations.enqueue(model.pk)
    return model


def cancel_update(model: Model, *, by: User | None) -> Model:
    """Give a newer revision up, while it comes or after that failed; the model stays what it is."""
    going_on, failed = Q(status=Status.UPDATING), Q(status=Status.READY, hub_origin__upcoming__isnull=False)
    with transaction.atomic():  # nobody begins another one between the two
        cancelled = Model.objects.filter(going_on | failed, pk=model.pk).update(
            status=Status.READY, stage="", lease_owner="", lease_until=None, failure_code="", failure="", next_step=""
        )
        if not cancelled:
            raise Problem("wrong_status", f"{model.name} isn't being updated.", "Reload the page.")
        HubOrigin.objects.filter(pk=model.pk).update(upcoming=None)
    logger.info("the update of %s was cancelled by %s", model.name, by or "the system")
    model.refresh_from_db()
    return model


def _token(token: str) -> str:
    token = token.strip()
    if not token or len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        step = "Paste the token as the hub shows it; it begins with hf_."
        raise Problem("invalid_token", "That is no token.", step, status=400)
    return token
