"""Fills the ledger by the database's own means, and its sums from it."""

from django.db import connection

from apps.deployments.usage.ledger import ADDED, COLUMNS
from apps.deployments.usage.models import UsageDay, UsageHour, UsageRecord

KEYS, DEPLOYMENTS, DAYS = 500, 50, 90
SERIES = {
    "postgresql": "generate_series(0, {last}) AS series (n)",
    "sqlite": "(WITH RECURSIVE series (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n < {last}) "
              "SELECT n FROM series)",
}  # fmt: skip
MOMENT = {
    "postgresql": "to_timestamp({start} + n * {step})",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', {start} + n * {step}, 'unixepoch')",
}
HOUR = {
    "postgresql": "date_trunc('hour', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'",
    "sqlite": "strftime('%Y-%m-%d %H:00:00', at)",
}
DAY = {"postgresql": "(at AT TIME ZONE 'UTC')::date", "sqlite": "date(at)"}
LIMITED = "error = 'rate_limited'"


def records(count: int, end: float) -> None:
    """So many calls in the days before `end`, in the order of their times; a key calls one deployment."""
    start, step = end - DAYS * 86400, DAYS * 86400 / count
    key = f"((n % {KEYS} * 7919 + n / {KEYS}) % {KEYS})"
    values = {
        "at": MOMENT[connection.vendor].format(start=start, step=step),
        "request_id": "'req-' || n || '-0123456789abcdef'",
        "account": f"'key' || {key}", "key_id": f"'key' || {key}", "key_name": f"'application ' || {key}",
        "user_name": "''", "deployment_id": f"'dep_' || ({key} % {DEPLOYMENTS})",
        "deployment_name": f"'search-' || ({key} % {DEPLOYMENTS})", "version": "3", "model_id": "'mdl_0'",
        "model_name": "'Qwen/Qwen2.5-0.5B-Instruct'", "path": "'/v1/chat/completions'",
        "status": "CASE WHEN n % 97 = 0 THEN 429 WHEN n % 113 = 0 THEN 502 ELSE 200 END",
        "error": "CASE WHEN n % 97 = 0 THEN 'rate_limited' WHEN n % 113 = 0 THEN 'engine_error' ELSE '' END",
        "streamed": "n % 2 = 0", "prompt_tokens": "n % 1900", "completion_tokens": "n % 700", "estimated": "n % 50 = 0",
        "first_byte_ms": "(n % 300) + 0.5", "duration_ms": "(n % 3000) + 0.25", "bytes_in": "n % 5000",
        "bytes_out": "n % 90000", "client": "'10.1.2.3'",
    }  # fmt: skip
    series = SERIES[connection.vendor].format(last=count - 1)
    with connection.schema_editor() as editor:
        for index in UsageRecord._meta.indexes:
            editor.remove_index(UsageRecord, index)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {UsageRecord._meta.db_table} ({', '.join(COLUMNS)}) "
                       f"SELECT {', '.join(values[name] for name in COLUMNS)} FROM {series}")  # fmt: skip
    with connection.schema_editor() as editor:
        for index in UsageRecord._meta.indexes:
            editor.add_index(UsageRecord, index)


def sums() -> None:
    """What the ledger comes to."""
    counted = {
        "requests": "count(*)", "errors": f"sum(CASE WHEN status >= 400 AND NOT {LIMITED} THEN 1 ELSE 0 END)",
        "limited": f"sum(CASE WHEN {LIMITED} THEN 1 ELSE 0 END)",
        "estimated": "sum(CASE WHEN estimated THEN 1 ELSE 0 END)",
    }  # fmt: skip
    chosen = ", ".join(counted.get(name, f"sum({name})") for name in ADDED)
    for table, start in ((UsageHour, HOUR), (UsageDay, DAY)):
        stretch = start[connection.vendor]
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table._meta.db_table} (account, start, deployment_id, key_name, deployment_name, "
                f"{', '.join(ADDED)}) SELECT account, {stretch}, deployment_id, max(key_name), max(deployment_name), "
                f"{chosen} FROM {UsageRecord._meta.db_table} GROUP BY account, {stretch}, deployment_id ORDER BY 2"
            )


def settle() -> None:
    """Let the database look at what it has."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
