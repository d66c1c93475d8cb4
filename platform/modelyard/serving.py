"""Where people reach this Modelyard."""

from typing import Any

from django.conf import settings


def base_url(request: Any) -> str:
    """The address that snippets show: MODELYARD_PUBLIC_URL, else the one that this request came to."""
    return settings.PUBLIC_URL or request.build_absolute_uri("/").rstrip("/")
