"""Questions that are asked of many keys at once."""

from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone


class ApiKeyQuerySet(models.QuerySet[Any]):
    """Keys by whether they still open anything."""

    def active(self) -> Self:
        """Keys that are neither revoked nor expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)

    def expired(self) -> Self:
        """Keys that ended by themselves, or by rotation."""
        return self.filter(expires_at__lte=timezone.now(), revoked_at=None)
