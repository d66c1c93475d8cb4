"""Overriding a rule: the import is tried again, and the rule that ended it warns from then on."""

import logging
import time
from pathlib import Path

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from apps.models import operations, storage
from apps.models.models import Model, Status
from apps.models.overrides.models import RuleOverride
from apps.models.rules import RULES, Rule, printable
from modelyard.problems import Problem

MIN_REASON, MAX_REASON = 10, 1000  # characters
KEPT_DAYS = 7  # that the archive of a blocked import is kept for somebody to decide
OVERRIDABLE = frozenset(rule.id for rule in RULES.values() if rule.overridable)
logger = logging.getLogger(__name__)


def override_rule(model: Model, rule: str, reason: str, *, by: User) -> Model:
    """Let a model in although `rule` ended its import: recorded with who and why, then the import is tried again."""
    reason = " ".join(printable(reason).split())
    with transaction.atomic():
        # As it is now: it may have been tried again since it was shown, and have failed by another rule.
        model = Model.objects.select_for_update().filter(pk=model.pk).first() or model
        _refuse(model, rule, reason)
        RuleOverride.objects.create(
            model_id=model.pk, model_name=model.name, rule=rule, finding=model.failure,
            revision=model.revision + int(model.status == Status.READY),  # of an update, the one that was to come
            reason=reason, by=by, by_name=by.get_username(),
        )  # fmt: skip
        operations.retry(model, by=by)
    logger.warning("rule %s was overridden for %s (%s) by %s: %s", rule, model.name, model.pk, by, reason)
    return model


def _refuse(model: Model, rule: str, reason: str) -> None:
    """A Problem, where there is nothing to override or no reason for it."""
    if rule in RULES and rule not in OVERRIDABLE:
        step = "Mend the model and import it again."
        raise Problem("never_overridden", f"{rule} ({RULES[rule].title}) can't be overridden.", step)
    failed = model.status == Status.IMPORT_FAILED or operations.update_failed(model)
    if not failed or model.failure_code != rule:
        said = f"The import of {model.name} wasn't ended by {rule[:16]}."
        raise Problem("nothing_to_override", said, "Only the rule that ended an import can be overridden.")
    if not MIN_REASON <= len(reason) <= MAX_REASON:
        said = f"A reason has {MIN_REASON} to {MAX_REASON} characters."
        raise Problem("no_reason", said, "Say why this model may come in; others will read it.", status=400)


def blocking(model: Model) -> Rule | None:
    """The rule that ended its import, if it may be overridden and what it is from is still there."""
    overridable = model.failure_code in OVERRIDABLE and operations.retryable(model)
    return RULES[model.failure_code] if overridable else None


def of_revision(model_id: str, revision: int) -> dict[str, str]:
    """What was overridden for the import of one revision: by whom and why, ready for the report."""
    found = RuleOverride.objects.filter(model_id=model_id, revision=revision).order_by("at")
    return {
        row.rule: f"Overridden by {row.by_name} on {row.at:%Y-%m-%d}: {row.reason}"
        for row in found
        if row.rule in OVERRIDABLE
    }  # fmt: skip


def history(model: Model) -> list[RuleOverride]:
    """Every override of a model, the newest first."""
    return list(RuleOverride.objects.filter(model_id=model.pk))


def forget() -> list[Path]:
    """What was kept of blocked imports, and of failed updates, that nobody decided on in time; it goes."""
    before = time.time() - KEPT_DAYS * 24 * 3600
    updates = Q(status=Status.READY, hub_origin__upcoming__isnull=False)
    blocked = Model.objects.filter(updates | Q(status=Status.IMPORT_FAILED, failure_code__in=OVERRIDABLE))
    gone = []
    for model_id in blocked.values_list("pk", flat=True):
        for path in (storage.upload(model_id), storage.half_made(model_id)):
            if path.exists() and path.stat().st_mtime < before:
                storage.discard(path)
                gone.append(path)
    return gone
