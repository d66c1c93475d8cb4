"""How an import is going, and why it failed: as a badge of a row, and whole on a model's page."""

from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.models import operations
from apps.models.catalogue.operations import HUB_PAGE
from apps.models.models import WORKING, Model, Source, Status
from apps.models.rules import RULES
from modelyard import console

STATUS_TONES = {
    Status.IMPORTING: "busy", Status.PAUSED: "calm",
    Status.VALIDATING: "busy", Status.UPDATING: "busy", Status.READY: "good", Status.IMPORT_FAILED: "bad",
}  # fmt: skip
SILENT = 30  # seconds without a word from the importer, after which the page says so
WHY: dict[str, Promise] = {
    "interrupted": _("The importer's process ended in the middle each time: it was killed, or the machine ran out of "
                     "memory."),
    "disk": _("The disk of the data directory is too full for this model."),
    "hub_stalled": _("The connection to the hub was open, but nothing came through it any more."),
    "hub_unreachable": _("This machine got no answer from the hub."),
    "hub_busy": _("The hub allows each address and each token only so many questions."),
    "hub_gated": _("The model's owner wants people to accept conditions before they download it."),
    "hub_token": _("The token was revoked, has expired, or was never right."),
    "hub_checksum": _("What came over the network isn't what the hub has."),
}  # fmt: skip
"""Causes by the code of a failure, where the failure itself doesn't say them."""


def status_of(model: Model) -> SafeString:
    """The import's status as a badge, with its stage and progress, or its failure, below it."""
    status = Status(model.status)
    badge = console.badge(str(status.label), STATUS_TONES[status])
    if status in WORKING:
        return format_html(
            '{}<span class="my-below">{}</span><progress max="100" value="{}" aria-label="{}"></progress>',
            badge, said(model), model.progress, gettext("Import of %(name)s") % {"name": model.name},
        )  # fmt: skip
    if status == Status.IMPORT_FAILED:
        shown = model.failure if len(model.failure) < 70 else f"{model.failure[:68]}…"
        return format_html('{}<span class="my-below" title="{}">{}</span>', badge, model.failure, shown)
    return badge


def said(model: Model) -> str:
    """The stage and how far it is, in a line."""
    return f"{model.stage or gettext('Waiting')} · {model.progress} %"


def context(model: Model) -> dict[str, Any]:
    """What the page of a model that is being imported shows of it."""
    stage, *figures = (model.stage or operations.WAITING).split(" · ")
    heard = model.heartbeat_at or model.added_at
    silence = (timezone.now() - heard).total_seconds()
    return {
        "model": model,
        "steps": _steps(model),
        "stage": stage,
        "figures": figures,
        "waiting": stage == operations.WAITING,
        "silence": int(silence) if silence > SILENT and model.status in WORKING else 0,
    }


def _steps(model: Model) -> list[tuple[Any, str]]:
    """Each step of an import and whether it is done, now or later."""
    checking = model.status == Status.VALIDATING or model.stage.startswith("Checking")
    at = 1 if checking else 0
    names = (_("Importing"), _("Validating"), _("Ready to Deploy"))
    return [(name, "done" if place < at else "now" if place == at else "later") for place, name in enumerate(names)]


def failure(model: Model) -> dict[str, Any]:
    """What happened, why, and where to mend it."""
    return {
        "rule": RULES.get(model.failure_code),
        "why": WHY.get(model.failure_code, ""),
        "retryable": operations.retryable(model),
        "again": again(model),
        "update_failed": model.status != Status.IMPORT_FAILED,
    }


def again(model: Model) -> str:
    """The page that imports such a model anew, filled in where it can be."""
    if model.source == Source.HUGGING_FACE and (origin := getattr(model, "hub_origin", None)):
        asked: list[tuple[str, str]] = [("repository", origin.repository), ("revision", origin.revision)]
        if origin.connection_id:
            asked.append(("connection", origin.connection_id))
        asked += [("files", pattern) for pattern in origin.patterns]
        return f"{reverse(HUB_PAGE)}?{urlencode(asked)}"
    if model.source == Source.PLATFORM_HOSTED:
        return reverse("admin:models_model_catalogue")
    return reverse("admin:models_model_import")
