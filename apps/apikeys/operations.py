"""What people do with API keys: one verb each, called by the admin, the API and the command line alike."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Unpack

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from apps.apikeys import tokens, values, words
from apps.apikeys.models import LIMITS, ApiKey, KeyEvent, State, state_of
from modelyard import changes
from modelyard.problems import Problem

OVERLAP, MAX_OVERLAP = timedelta(hours=24), timedelta(days=30)
KEPT = ("name", "notes", "scopes", "networks", "expires_at", *LIMITS)
"""What a key hands on to its successor."""
Changes = Mapping[str, tuple[Any, Any]]


def create(*, deployment: Any, name: str, by: User | None, **details: Unpack[values.Details]) -> tuple[ApiKey, str]:
    """A new key of a deployment, and its text, which is shown now and never again."""
    cleaned = values.clean({"name": name, **details})
    with transaction.atomic():
        key, text = _make(deployment.pk, by, cleaned)
        given = {field: (None, value) for field, value in cleaned.items() if value not in (None, "", [])}
        _record(key, "created", words.created(given), by, given)
    return key, text


def stamp(key: ApiKey) -> str:
    """Of what a key is now; another one as soon as any of it was changed."""
    said = json.dumps([_plain(getattr(key, field)) for field in KEPT])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def edit(key: ApiKey, *, by: User | None, seen: str = "", **edits: Unpack[values.Edits]) -> ApiKey:
    """Change what is given of a key and leave the rest; limits are one for all of a line of rotated keys.

    With `seen`, only if that is the key's `stamp` still.
    """
    with transaction.atomic():
        line = _line(key)
        row = _present(line.pop(key.pk, None))
        if row.revoked_at:
            raise Problem("key_revoked", f"{row.name} is revoked and can't be changed.", "Create another key.")
        if seen and seen != stamp(row):
            step = "Look at what it is now, then change it again."
            raise Problem("edit_conflict", f"Somebody else has changed {row.name} meanwhile.", step, status=409)
        cleaned = values.clean({f: new for f, new in edits.items() if new != getattr(row, f)})
        if row.successor_id and "expires_at" in cleaned:
            _require_end(row, cleaned["expires_at"])
        _change(row, cleaned, by)
        # They draw on the same counters: with limits of their own, each would have its say on what is left.
        shared = {field: new for field, new in cleaned.items() if field in LIMITS}
        for other in line.values():
            if state_of(other) == State.ACTIVE or not (other.revoked_at or other.successor_id):  # it may be extended
                _change(other, shared, by, f" So it was for {row.prefix}…, with which it shares its limits.")
    key.refresh_from_db()
    return key


def rotate(key: ApiKey, *, by: User | None, overlap: timedelta = OVERLAP) -> tuple[ApiKey, str]:
    """A new key in the place of one that goes on to work for the overlap; limits and usage are those of both."""
    if not timedelta() <= overlap <= MAX_OVERLAP:
        raise Problem("invalid_overlap", "That overlap isn't possible.",
                      f"Let the old key work for 0 to {MAX_OVERLAP.days} days more.", status=400)  # fmt: skip
    with transaction.atomic():
        row = _present(_line(key).get(key.pk))
        _require_rotatable(row)
        new, text = _make(row.deployment_id, by, {f: getattr(row, f) for f in KEPT}, account=row.account)
        ends = timezone.now() + overlap
        before, row.expires_at, row.successor = row.expires_at, min(row.expires_at or ends, ends), new
        row.save(update_fields=["expires_at", "successor"])
        until = f"It works until {words.moment(row.expires_at)}." if overlap else "It opens nothing any more."
        _record(row, "rotated", f"Rotated: {new.prefix}… takes its place. {until}", by,
                {"successor": (None, new.pk), "expires_at": (before, row.expires_at)})  # fmt: skip
        _record(new, "created", f"Created by rotation of {row.prefix}…; counters and usage go on.", by, {})
    key.refresh_from_db()
    return new, text


def revoke(key: ApiKey, *, by: User | None) -> ApiKey:
    """End a key: every web process refuses it within a second. Safe to repeat."""
    now = timezone.now()
    with transaction.atomic():
        if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now, revoked_by=by):
            _record(key, "revoked", "Revoked: it opens nothing any more.", by, {"revoked_at": (None, now)})
    key.refresh_from_db()
    return key


def forget(*, deployment: Any, name_prefix: str, expired_for: timedelta = timedelta()) -> int:
    """Delete expired keys of a deployment whose names begin so; how many there were."""
    expired = ApiKey.objects.filter(
        deployment=deployment, name__startswith=name_prefix, expires_at__lt=timezone.now() - expired_for
    )
    return expired.delete()[0]


def history(key: ApiKey) -> Any:
    """What was done with a key and with those that it was rotated from or to, the newest first."""
    return KeyEvent.objects.filter(account=key.account).select_related("by")


def _line(key: ApiKey) -> dict[str, ApiKey]:
    """Keys that were rotated from or to one another, by ID, locked.

    Read twice: the first waits for whoever changes the line, and only another one sees the key that they made.
    """
    for _ in range(2):
        rows = list(ApiKey.objects.select_for_update().filter(account=key.account).order_by("pk"))
    return {row.pk: row for row in rows}


def _make(deployment_id: str, by: User | None, cleaned: Mapping[str, Any], account: str = "") -> tuple[ApiKey, str]:
    token, text = tokens.make()
    key = ApiKey.objects.create(
        id=token.id, account=account or token.id, deployment_id=deployment_id, prefix=tokens.shown(token),
        hash=tokens.digest(token.secret), created_by=by, **cleaned,
    )  # fmt: skip
    return key, text


def _change(row: ApiKey, cleaned: Mapping[str, Any], by: User | None, why: str = "") -> None:
    changed = {f: (getattr(row, f), new) for f, new in cleaned.items() if new != getattr(row, f)}
    if changed:
        for field, (_, new) in changed.items():
            setattr(row, field, new)
        row.save(update_fields=list(changed))
        _record(row, "edited", words.changed(changed) + why, by, changed)


def _present(row: ApiKey | None) -> ApiKey:
    if row is None:
        raise Problem("key_gone", "The key doesn't exist any more.", "Reload the list.", status=404)
    return row


def _require_rotatable(row: ApiKey) -> None:
    if row.revoked_at:
        raise Problem("key_revoked", f"{row.name} is revoked and can't be rotated.", "Create another key.")
    if row.successor_id:
        raise Problem("already_rotated", f"{row.name} was rotated already.", "Rotate the key that took its place.")
    if state_of(row) == State.EXPIRED:
        raise Problem("key_expired", f"{row.name} has expired and can't be rotated.",
                      "Give it a later expiry first, or create another key.")  # fmt: skip


def _require_end(row: ApiKey, expires_at: datetime | None) -> None:
    if state_of(row) == State.EXPIRED:
        raise Problem("key_expired", f"{row.name} was rotated and has ended.", "Use the key that took its place.")
    if expires_at is None or expires_at > timezone.now() + MAX_OVERLAP:
        raise Problem("invalid_expiry", "A key that was rotated has to end.",
                      f"Choose a date within {MAX_OVERLAP.days} days.", status=400)  # fmt: skip


def _record(key: ApiKey, code: str, message: str, by: User | None, detail: Changes) -> None:
    """Write a line of the key's history and tell every web process to forget what it knows of the key."""
    KeyEvent.objects.create(
        key_id=key.pk, account=key.account, key_name=key.name, deployment_id=key.deployment_id, code=code,
        message=message, by=by, detail={field: [_plain(old), _plain(new)] for field, (old, new) in detail.items()},
    )  # fmt: skip
    changes.announce("key", key.pk)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
