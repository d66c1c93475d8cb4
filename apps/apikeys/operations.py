"""What people do with API keys: one verb each, called by the admin, the API and the command line alike."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from apps.apikeys import tokens
from apps.apikeys.models import ApiKey
from modelyard import changes
from modelyard.problems import Problem

MAX_NAME = 100


def create(*, deployment: Any, name: str, by: User | None, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """A new key of a deployment, and its text, which is shown now and never again."""
    cleaned = " ".join(name.split())
    if not cleaned or len(cleaned) > MAX_NAME or not cleaned.isprintable():
        raise Problem("invalid_name", "The name of the key isn't valid.", f"Give it 1 to {MAX_NAME} characters.",
                      status=400)  # fmt: skip
    if expires_at is not None and expires_at <= timezone.now():
        raise Problem("invalid_expiry", "The key would have expired already.", "Choose a later date, or none.",
                      status=400)  # fmt: skip
    token, text = tokens.make()
    key = ApiKey.objects.create(
        id=token.id,
        account=token.id,
        deployment=deployment,
        name=cleaned,
        prefix=tokens.shown(token),
        hash=tokens.digest(token.secret),
        created_by=by,
        expires_at=expires_at,
    )
    changes.announce("key", key.pk)
    return key, text


def revoke(key: ApiKey, *, by: User | None) -> ApiKey:
    """End a key: every web process refuses it within a second. Safe to repeat."""
    revoked = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now(), revoked_by=by)
    if revoked:
        changes.announce("key", key.pk)
    key.refresh_from_db()
    return key


def forget(*, deployment: Any, name_prefix: str, expired_for: timedelta = timedelta()) -> int:
    """Delete expired keys of a deployment whose names begin so; how many there were."""
    expired = ApiKey.objects.filter(
        deployment=deployment, name__startswith=name_prefix, expires_at__lt=timezone.now() - expired_for
    )
    return expired.delete()[0]
