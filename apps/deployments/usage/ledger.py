"""Writes the ledger: a batch of calls and what they add to the sums, in one transaction, once.

Below the ORM, because every call passes here: rows go to the database's driver as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import DataError, connection, transaction
from django.db.models import CharField
from django.utils import timezone

from apps.deployments.usage.models import Batch, UsageDay, UsageHour, UsageRecord

Row = tuple[Any, ...]
FIELDS = tuple(field for field in UsageRecord._meta.fields if not field.primary_key)
COLUMNS = tuple(field.name for field in FIELDS)
TEXTS = {number: field.max_length or 0 for number, field in enumerate(FIELDS) if isinstance(field, CharField)}
LIMITED = frozenset({"rate_limited", "quota_exceeded", "concurrency_limited", "too_many_requests"})
"""Codes with which a limit refuses a call."""
ADDED = {
    "requests": "bigint", "errors": "bigint", "limited": "bigint", "estimated": "bigint", "prompt_tokens": "bigint",
    "completion_tokens": "bigint", "bytes_in": "bigint", "bytes_out": "bigint", "duration_ms": "float8",
    "first_byte_ms": "float8",
}  # fmt: skip
"""What is summed, with PostgreSQL's types."""
QUARTER = 900  # seconds: every zone is off by whole quarters of an hour
SEPARATOR, QUOTE = "\x1f", "\x01"
LINE = SEPARATOR.join(["%s+00", *["%s"] * (len(COLUMNS) - 1)])
_summed = itemgetter(*(COLUMNS.index(name) for name in (
    "at", "account", "key_name", "deployment_id", "deployment_name", "status", "error", "estimated", "prompt_tokens",
    "completion_tokens", "bytes_in", "bytes_out", "duration_ms", "first_byte_ms",
)))  # fmt: skip

Key = tuple[str, str, str]
"""Account, start of the stretch as the database has it, deployment."""
Sums = dict[Key, list[float]]
Names = dict[tuple[str, str], tuple[str, str]]


def write(batch_id: str, rows: Sequence[Row]) -> bool:
    """Write a batch; False, and nothing is written, if that batch was written before. `at` is in epoch seconds."""
    try:
        return _write(batch_id, rows)
    except (DataError, UnicodeEncodeError):
        # A text that the database can't take must not hold up all others for ever.
        return _write(batch_id, [_cleaned(row) for row in rows])


def _write(batch_id: str, rows: Sequence[Row]) -> bool:
    with transaction.atomic(), connection.cursor() as cursor, connection.wrap_database_errors:
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        begin = f"INSERT INTO {Batch._meta.db_table} (id, at) VALUES (%s, %s) ON CONFLICT DO NOTHING"  # noqa: S608 (constants)
        cursor.execute(begin, [batch_id, now])
        if not cursor.rowcount:
            return False
        postgres = connection.vendor == "postgresql"
        (_copy if postgres else _insert)(cursor, rows)
        add = _add_arrays if postgres else _add_rows
        hours, days, names = sums_of(rows)
        add(cursor, UsageHour._meta.db_table, "timestamptz", hours, names)
        add(cursor, UsageDay._meta.db_table, "date", days, names)
    return True


def _insert(cursor: Any, rows: Sequence[Row]) -> None:
    marks = ", ".join(["?"] * len(COLUMNS))
    statement = f"INSERT INTO {UsageRecord._meta.db_table} ({', '.join(COLUMNS)}) VALUES ({marks})"  # noqa: S608
    _raw(cursor).executemany(statement, ((text, *row[1:]) for text, row in zip(_moments(rows), rows, strict=True)))


def _raw(cursor: Any) -> Any:
    """The driver's own cursor: Django's wrapper rewrites every statement."""
    return cursor.cursor.connection.cursor()


def _copy(cursor: Any, rows: Sequence[Row]) -> None:
    table, names = UsageRecord._meta.db_table, ", ".join(COLUMNS)
    lines = [LINE % (text, *row[1:]) for text, row in zip(_moments(rows), rows, strict=True)]
    plain = "\n".join(lines)
    separators = len(rows) * (len(COLUMNS) - 1)
    odd = plain.count("\n") != len(rows) - 1 or plain.count(SEPARATOR) != separators or QUOTE in plain or "\r" in plain
    if not odd:
        texts = ", ".join(COLUMNS[number] for number in TEXTS)
        form = f"FORMAT csv, DELIMITER '{SEPARATOR}', QUOTE '{QUOTE}', NULL 'None', FORCE_NOT_NULL ({texts})"
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN WITH ({form})") as copy:
            copy.write(plain)
        return
    with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for text, row in zip(_moments(rows), rows, strict=True):
            copy.write_row((f"{text}+00", *row[1:]))


def _moments(rows: Sequence[Row]) -> Iterator[str]:
    """Each row's time as Django writes it for SQLite: UTC, to the microsecond, one second's text made once."""
    known, text = -1, ""
    for row in rows:
        second, micro = divmod(_micros(row[0]), 1_000_000)
        if second != known:
            known, text = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")
        yield f"{text}.{micro:06d}" if micro else text


def _micros(at: float) -> int:
    return int(at * 1e6 + 0.5)


def _cleaned(row: Row) -> Row:
    """A row with nothing in its texts that a database refuses."""
    values = list(row)
    for number, length in TEXTS.items():
        text = str(values[number]).replace("\0", "").encode("utf-8", "replace").decode()
        values[number] = text[:length]
    return tuple(values)


def sums_of(rows: Sequence[Row]) -> tuple[Sums, Sums, Names]:
    """What rows come to by hour (UTC) and by calendar day (in the installation's zone), and the latest names."""
    quarters: dict[tuple[str, int, str], list[float]] = {}
    names: Names = {}
    for (at, account, key_name, deployment, deployment_name, status, error, estimated, prompt, completion, bytes_in,
         bytes_out, duration, first_byte) in map(_summed, rows):  # fmt: skip
        key = (account, int(at * 1e6 + 0.5) // (QUARTER * 1_000_000), deployment)
        sums = quarters.get(key)
        if sums is None:
            sums = quarters[key] = [0] * len(ADDED)
        names[account, deployment] = (key_name, deployment_name)
        sums[0] += 1
        if error in LIMITED:
            sums[2] += 1
        elif status >= 400:
            sums[1] += 1
        if estimated:
            sums[3] += 1
        sums[4] += prompt
        sums[5] += completion
        sums[6] += bytes_in
        sums[7] += bytes_out
        sums[8] += duration
        if first_byte:
            sums[9] += first_byte
    return _joined(quarters, _hour), _joined(quarters, _day_in(ZoneInfo(settings.TIME_ZONE))), names


def _hour(quarter: int) -> str:
    return datetime.fromtimestamp(quarter * QUARTER, UTC).strftime("%Y-%m-%d %H:00:00")


def _day_in(zone: ZoneInfo) -> Callable[[int], str]:
    return lambda quarter: datetime.fromtimestamp(quarter * QUARTER, zone).date().isoformat()


def _joined(quarters: dict[tuple[str, int, str], list[float]], start: Callable[[int], str]) -> Sums:
    """Longer stretches out of quarters of an hour, sorted: in one order everywhere, so that no two processes can wait
    for one another.
    """
    starts = {quarter: start(quarter) for _, quarter, _ in quarters}
    joined: Sums = {}
    for (account, quarter, deployment), sums in quarters.items():
        key = (account, starts[quarter], deployment)
        known = joined.get(key)
        joined[key] = [a + b for a, b in zip(known, sums, strict=True)] if known else sums
    return dict(sorted(joined.items()))


def _upsert(table: str, source: str) -> str:
    columns = ", ".join(["account", "start", "deployment_id", "key_name", "deployment_name", *ADDED])
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in ADDED)
    return (
        f"INSERT INTO {table} ({columns}) {source} ON CONFLICT (account, start, deployment_id) DO UPDATE "
        f"SET key_name = excluded.key_name, deployment_name = excluded.deployment_name, {added}"
    )


def _add_rows(cursor: Any, table: str, _kind: str, sums: Sums, names: Names) -> None:
    marks = ", ".join(["?"] * (5 + len(ADDED)))
    lines = ((*key, *names[key[0], key[2]], *values) for key, values in sums.items())
    _raw(cursor).executemany(_upsert(table, f"VALUES ({marks})"), lines)


def _add_arrays(cursor: Any, table: str, kind: str, sums: Sums, names: Names) -> None:
    """One statement for all: a column each as an array."""
    zone = "+00" if kind == "timestamptz" else ""
    lines = [(a, start + zone, d, *names[a, d], *values) for (a, start, d), values in sums.items()]
    kinds = ("text", kind, "text", "text", "text", *ADDED.values())
    arrays = ", ".join(f"%s::{kind_}[]" for kind_ in kinds)
    columns = [_array(column, kind_) for column, kind_ in zip(zip(*lines, strict=True), kinds, strict=True)]
    cursor.execute(_upsert(table, f"SELECT * FROM unnest({arrays})"), columns)  # noqa: S608


def _array(values: Sequence[Any], kind: str) -> str:
    """As PostgreSQL writes an array: the driver would look at every value's type."""
    if kind != "text":
        return "{" + ",".join(map(str, values)) + "}"
    quoted = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(quoted) + '"}'
