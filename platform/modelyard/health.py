"""Is it alive, and is it ready: for load balancers, supervisors and the admin's warning."""

import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from redis.exceptions import RedisError

from apps.deployments.monitoring import snapshots, troubles
from apps.deployments.tasks import HEARTBEAT_KEY, HEARTBEAT_SECONDS

UNKNOWN = _("Redis can't be asked.")


def alive(_request: HttpRequest) -> HttpResponse:
    """`/healthz`: this process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def ready(_request: HttpRequest) -> JsonResponse:
    """`/readyz`: database, Redis and workers are there; 503 with what isn't. Warnings tell what else is wrong."""
    parts = state()
    good = all(problem == "" for problem in parts.values())
    body: dict[str, Any] = {"ready": good, **{name: problem or "ok" for name, problem in parts.items()}}
    # Only what: how much it is, is for people who may see it.
    warnings = [each.title for each in troubles.troubles() if each.name != "redis"]
    if warnings:
        body["warnings"] = warnings
    return JsonResponse(body, status=200 if good else 503)


def state() -> dict[str, str]:
    """Each part and what is wrong with it; nothing where it is well."""
    broken = redis()
    # Asked once: a Redis that hangs takes seconds to say nothing.
    return {"database": _database(), "redis": broken, "workers": str(UNKNOWN) if broken else workers()}


def workers() -> str:
    """Beat, broker and a worker did something together within the last half minute; the line that says they didn't."""
    try:
        last = cache.get(HEARTBEAT_KEY)
    except (RedisError, OSError):
        return str(UNKNOWN)
    if last is None or time.time() - last > HEARTBEAT_SECONDS:
        return gettext(
            "No worker was heard of lately: nothing is deployed or watched. Start modelyard worker and beat."
        )
    return ""


def _database() -> str:
    try:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return gettext("The database doesn't answer.")
    return ""


def redis() -> str:
    """What is wrong with Redis; nothing if it answers."""
    try:
        cache.get("readyz")
    except (RedisError, OSError):
        return gettext("Redis doesn't answer.") + f" {troubles.without_redis(_away())}"
    return ""


def _away() -> float:
    """Seconds for which the gateway hasn't heard Redis."""
    return max((each.redis_away for each in snapshots.read(settings.RUN_DIR) if each.alive), default=0.0)
