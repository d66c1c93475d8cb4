"""Is it alive, and is it ready: for load balancers, supervisors and the admin's warning."""

import time
from collections.abc import Callable

from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from redis.exceptions import RedisError

from apps.deployments.tasks import HEARTBEAT_KEY, HEARTBEAT_SECONDS


def alive(_request: HttpRequest) -> HttpResponse:
    """`/healthz`: this process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def ready(_request: HttpRequest) -> JsonResponse:
    """`/readyz`: database, Redis and workers are there; 503 with what isn't."""
    parts = state()
    good = all(problem == "" for problem in parts.values())
    body = {"ready": good, **{name: problem or "ok" for name, problem in parts.items()}}
    return JsonResponse(body, status=200 if good else 503)


def state() -> dict[str, str]:
    """Each part and what is wrong with it; nothing where it is well."""
    checks: dict[str, Callable[[], str]] = {"database": _database, "redis": _redis, "workers": workers}
    return {name: check() for name, check in checks.items()}


def workers() -> str:
    """Beat, broker and a worker did something together within the last half minute; the line that says they didn't."""
    try:
        last = cache.get(HEARTBEAT_KEY)
    except (RedisError, OSError):
        return "Redis can't be asked."
    if last is None or time.time() - last > HEARTBEAT_SECONDS:
        return "No worker was heard of lately: nothing is deployed or watched. Start modelyard worker and beat."
    return ""


def _database() -> str:
    try:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "The database doesn't answer."
    return ""


def _redis() -> str:
    try:
        cache.get("readyz")
    except (RedisError, OSError):
        return "Redis doesn't answer."
    return ""
