"""Writes the ledger: a batch of calls and what they add to the sums, in one transaction, once.

Below the ORM, because every call passes here: rows go to the database's driver as they are.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, connection, transaction

from apps.deployments.usage.models import Batch, UsageDay, UsageHour, UsageRecord

Row = tuple[Any, ...]
COLUMNS = tuple(field.name for field in UsageRecord._meta.fields if not field.primary_key)
LIMITED = frozenset({"rate_limited", "quota_exceeded", "concurrency_limited", "too_many_requests"})
"""Codes with which a limit refuses a call."""
AT, ACCOUNT, KEY_NAME, DEPLOYMENT, DEPLOYMENT_NAME = (
    COLUMNS.index(name) for name in ("at", "account", "key_name", "deployment_id", "deployment_name")
)  # fmt: skip
ADDED = (
    "requests", "errors", "limited", "estimated", "prompt_tokens", "completion_tokens", "bytes_in", "bytes_out",
    "duration_ms", "first_byte_ms",
)  # fmt: skip
STATUS, ERROR, ESTIMATED, PROMPT, COMPLETION, BYTES_IN, BYTES_OUT, DURATION, FIRST_BYTE = (
    COLUMNS.index(name)
    for name in ("status", "error", "estimated", "prompt_tokens", "completion_tokens", "bytes_in", "bytes_out",
                 "duration_ms", "first_byte_ms")
)  # fmt: skip


def write(batch_id: str, rows: Sequence[Row]) -> bool:
    """Write a batch; False, and nothing is written, if that batch was written before. `at` is in epoch seconds."""
    try:
        with transaction.atomic():
            Batch.objects.create(pk=batch_id)
            _insert(rows)
            _add(rows)
    except IntegrityError:
        if Batch.objects.filter(pk=batch_id).exists():
            return False
        raise
    return True


def _insert(rows: Sequence[Row]) -> None:
    names = ", ".join(COLUMNS)
    table = UsageRecord._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row((datetime.fromtimestamp(row[0], UTC), *row[1:]))
        else:
            marks = ", ".join(["?"] * len(COLUMNS))
            # The driver itself: Django's wrapper rewrites every statement.
            raw = cursor.cursor.connection.cursor()
            raw.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", _texts(rows))  # noqa: S608 (constants)


def _texts(rows: Sequence[Row]) -> Iterable[Row]:
    """Rows with their time as SQLite has it: UTC, to the microsecond, one second's text made once."""
    second, text = -1, ""
    for row in rows:
        at: float = row[0]
        whole = int(at)
        if whole != second:
            second, text = whole, datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%d %H:%M:%S")
        yield (f"{text}.{int((at - whole) * 1e6):06d}", *row[1:])


def _add(rows: Sequence[Row]) -> None:
    quarters: dict[tuple[str, int, str], list[float]] = {}  # every zone is off by whole quarters of an hour
    names: dict[tuple[str, str], tuple[str, str]] = {}
    for row in rows:
        key = (row[ACCOUNT], int(row[AT]) // 900, row[DEPLOYMENT])
        sums = quarters.get(key)
        if sums is None:
            sums = quarters[key] = [0] * len(ADDED)
        names[(row[ACCOUNT], row[DEPLOYMENT])] = (row[KEY_NAME], row[DEPLOYMENT_NAME])
        limited = row[ERROR] in LIMITED
        sums[0] += 1
        if limited:
            sums[2] += 1
        elif row[STATUS] >= 400:
            sums[1] += 1
        if row[ESTIMATED]:
            sums[3] += 1
        sums[4] += row[PROMPT]
        sums[5] += row[COMPLETION]
        sums[6] += row[BYTES_IN]
        sums[7] += row[BYTES_OUT]
        sums[8] += row[DURATION]
        sums[9] += row[FIRST_BYTE] or 0
    zone = ZoneInfo(settings.TIME_ZONE)
    hours: dict[tuple[str, object, str], list[float]] = {}
    days: dict[tuple[str, object, str], list[float]] = {}
    for (account, quarter, deployment), sums in quarters.items():
        start = datetime.fromtimestamp(quarter * 900, UTC)
        _sum(hours, (account, start.replace(minute=0), deployment), sums)
        _sum(days, (account, start.astimezone(zone).date(), deployment), sums)
    _upsert(UsageHour._meta.db_table, hours, names)
    _upsert(UsageDay._meta.db_table, days, names)


def _sum(all_: dict[tuple[str, object, str], list[float]], key: tuple[str, object, str], sums: list[float]) -> None:
    known = all_.get(key)
    all_[key] = [a + b for a, b in zip(known, sums, strict=True)] if known else list(sums)


def _upsert(
    table: str,
    sums: dict[tuple[str, object, str], list[float]],
    names: dict[tuple[str, str], tuple[str, str]],
) -> None:
    columns = ", ".join(["account", "start", "deployment_id", "key_name", "deployment_name", *ADDED])
    marks = ", ".join(["%s"] * (5 + len(ADDED)))
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in ADDED)
    statement = (
        f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT (account, start, deployment_id) DO UPDATE "  # noqa: S608
        f"SET key_name = excluded.key_name, deployment_name = excluded.deployment_name, {added}"
    )
    # In one order everywhere, so that two processes can't wait for one another.
    ordered = sorted(sums.items(), key=lambda item: (item[0][0], str(item[0][1]), item[0][2]))
    with connection.cursor() as cursor:
        adapt = connection.ops.adapt_datetimefield_value
        for (account, start, deployment), values in ordered:
            moment = adapt(start) if isinstance(start, datetime) else str(start)
            cursor.execute(statement, [account, moment, deployment, *names[(account, deployment)], *values])
