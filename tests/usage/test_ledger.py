"""The ledger on the real database: once, exact, from many processes at a time."""

import os
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from django.db import close_old_connections, connection
from django.db.models import Sum
from pytest_django import Settings

from apps.deployments.usage import ledger
from apps.deployments.usage.models import Batch, UsageDay, UsageHour, UsageRecord
from tests.usage.conftest import USUAL, row, write

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db
def test_what_was_written_is_read_as_it_was() -> None:
    write(row())
    found = UsageRecord.objects.get()
    assert found.at == datetime.fromtimestamp(USUAL["at"], UTC)
    assert {name: getattr(found, name) for name in ledger.COLUMNS[1:]} == {
        name: value for name, value in USUAL.items() if name != "at"
    }


@pytest.mark.django_db
@pytest.mark.parametrize("at", [1_764_000_000.0, 1_764_000_000.9999999, 1_764_000_000.000_001])
def test_a_time_is_found_by_django_to_the_microsecond(at: float) -> None:
    write(row(at))
    moment = datetime.fromtimestamp(round(at * 1e6) / 1e6, UTC)
    assert UsageRecord.objects.filter(at=moment).exists()
    assert UsageHour.objects.filter(start=moment.replace(minute=0, second=0, microsecond=0)).exists()


@pytest.mark.django_db
def test_a_batch_written_twice_counts_once() -> None:
    assert ledger.write("b1", [row(), row()])
    assert not ledger.write("b1", [row(), row()])
    assert (UsageRecord.objects.count(), UsageHour.objects.get().requests, UsageDay.objects.get().requests) == (2, 2, 2)


@pytest.mark.django_db
def test_refusals_by_a_limit_are_no_errors() -> None:
    codes = [(429, "rate_limited"), (429, "quota_exceeded"), (429, "concurrency_limited"), (429, "too_many_requests")]
    write(*[row(status=status, error=error) for status, error in [*codes, (429, ""), (502, "upstream"), (499, "")]])
    found = UsageDay.objects.get()
    assert (found.requests, found.limited, found.errors) == (7, 4, 3)


@pytest.mark.django_db
def test_sums_add_up_and_keep_the_latest_names() -> None:
    write(row(key_name="old"), row(estimated=True, first_byte_ms=None))
    write(row(key_name="new", deployment_name="renamed"))
    found = UsageHour.objects.get()
    assert (found.key_name, found.deployment_name) == ("new", "renamed")
    assert (found.requests, found.estimated, found.prompt_tokens, found.completion_tokens) == (3, 1, 30, 15)
    assert (found.bytes_in, found.bytes_out, found.duration_ms, found.first_byte_ms) == (300, 3000, 22.5, 5.0)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["None", 'a"b\\c', "tab\there", "two\nlines", "\x1f\x01", "ümläut 😀", "{},\\N"])
def test_any_name_is_kept_as_it_is(name: str) -> None:
    write(row(key_name=name), row())
    assert UsageRecord.objects.order_by("id")[0].key_name == name
    assert set(UsageRecord.objects.values_list("key_name", flat=True)) == {name, "app"}
    write(row(key_name=name))
    assert UsageHour.objects.get().key_name == name


@pytest.mark.django_db(transaction=True)
def test_a_text_no_database_takes_holds_nothing_up() -> None:
    write(row(request_id="x" * 500, key_name="a\0b\ud800"), row(request_id="fine"))
    assert {len(found.request_id) for found in UsageRecord.objects.all()} >= {4}
    assert UsageHour.objects.get().requests == 2


@pytest.mark.django_db
@pytest.mark.parametrize(("zone", "hours"), [("Europe/Vienna", (23, 25)), ("Asia/Kathmandu", (24, 24))])
def test_days_are_the_zones_own_also_when_the_clock_changes(
    settings: Settings, zone: str, hours: tuple[int, int]
) -> None:
    settings.TIME_ZONE = zone
    days = [date(2026, 3, 29), date(2026, 10, 25)]  # summer time begins and ends in Vienna
    for day in days:
        midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()
        write(*[row(midnight + quarter * 900) for quarter in range(-4, 27 * 4)])
    found = dict(UsageDay.objects.filter(start__in=days).values_list("start", "requests"))
    assert found == {day: length * 4 for day, length in zip(days, hours, strict=True)}
    assert UsageHour.objects.filter(requests__gt=4).count() == 0


@pytest.mark.django_db(transaction=True)
def test_threads_lose_nothing() -> None:
    start = threading.Barrier(6)

    def work(number: int) -> None:
        start.wait()
        for _ in range(15):
            accounts = [f"acc{(number + n) % 7}" for n in range(40)]
            ledger.write(uuid.uuid4().hex, [row(account=account) for account in accounts])
        close_old_connections()
        connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    expected = 6 * 15 * 40
    assert UsageRecord.objects.count() == expected
    for table in (UsageHour, UsageDay):
        assert table.objects.aggregate(n=Sum("requests"))["n"] == expected


WRITER = """
import sys, django
django.setup()
from apps.deployments.usage import ledger
from tests.usage.conftest import row
for n in range(20):
    ledger.write(f"{sys.argv[1]}-{n}", [row(account=f"acc{m % 5}") for m in range(100)])
    ledger.write("shared", [row(account="acc0")])
"""


@pytest.mark.django_db(transaction=True)
def test_processes_lose_nothing_and_write_a_batch_once() -> None:
    name = connection.settings_dict["NAME"]
    given = os.environ.get("MODELYARD_DATABASE_URL", "")
    url = urlsplit(given)._replace(path=f"/{name}").geturl() if given else f"sqlite:///{name}"
    env = {**os.environ, "MODELYARD_DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "modelyard.settings",
           "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}  # fmt: skip
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(n)], env=env) for n in range(3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    expected = 3 * 20 * 100 + 1
    assert (UsageRecord.objects.count(), Batch.objects.count()) == (expected, 61)
    assert UsageHour.objects.aggregate(n=Sum("requests"))["n"] == expected
