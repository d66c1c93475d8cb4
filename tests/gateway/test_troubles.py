"""What is wrong with the gateway, in words: where Redis is away, the ledger can't keep up, or calls are missing."""

import asyncio
import html
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apps.deployments.gateway import feed, guard
from apps.deployments.gateway import recorder as recording
from apps.deployments.gateway.app import kept_up
from apps.deployments.gateway.recorder import Recorder
from apps.deployments.monitoring import snapshots, troubles
from apps.deployments.usage.models import Gap
from tests.gateway.conftest import eventually, start_web
from tests.gateway.test_metrics import scrape


@pytest.mark.system
def test_without_redis_health_tells_what_becomes_of_calls(transactional_db: None, client: Client) -> None:
    nowhere = {"MODELYARD_REDIS_URL": "redis://127.0.0.1:1/0", "MODELYARD_REDIS_AWAY_SECONDS": "300"}
    process, address = start_web(**nowhere)
    try:
        eventually(lambda: (scrape(address).get("redis_away_seconds") or 0) >= 1)
        assert (scrape(address).get("redis_away") or 0) >= 1
        answer = httpx.get(f"{address}/readyz", timeout=15)
        assert answer.status_code == 503
        assert re.search(
            r"Calls are answered for another 29\d s \(MODELYARD_REDIS_AWAY_SECONDS", answer.json()["redis"]
        )
        shown = home(client)  # of another process
        assert "Redis is away." in shown
        assert "Start it again, or check MODELYARD_REDIS_URL." in shown
    finally:
        process.terminate()
        process.wait(20)
    assert "Redis is away." not in home(client)


def test_lost_calls_and_a_full_buffer_are_told_with_what_to_do(
    db: None, client: Client, tmp_path: Path, settings: Settings
) -> None:
    settings.RUN_DIR = tmp_path
    assert [each.name for each in troubles.troubles()] == []
    Gap.objects.create(lost=17, reason="killed")
    Gap.objects.create(lost=1200, reason="full")
    Gap.objects.update(at=timezone.now() - timedelta(hours=25))
    assert [each.name for each in troubles.troubles()] == []
    Gap.objects.update(at=timezone.now())
    place = snapshots.Place(tmp_path)
    ledger = {"waiting": 81, "most": 100, "dropped": 5, "untold": 5}
    place.write({"form": snapshots.FORM, "ledger": ledger, "redis_away_since": None})
    shown = home(client)
    assert "17 because a web process was killed and 1,200 because too many waited for the database" in shown
    assert "In web process 0 81 calls wait for the database, of at most 100. 5 were dropped already." in shown
    assert "MODELYARD_USAGE_BUFFER" in shown
    told = client.get("/readyz").json()["warnings"]
    assert told == ["The usage ledger can't keep up.", "Calls are missing in the usage ledger."]
    place.close()
    assert [each.name for each in troubles.troubles()] == ["gaps"]


@pytest.mark.django_db(transaction=True)
def test_dropped_calls_are_missing_also_when_their_process_ends_first(tmp_path: Path, settings: Settings) -> None:
    settings.RUN_DIR = tmp_path
    with ThreadPoolExecutor(1) as threads:

        def full() -> Recorder:
            found = Recorder(threads)
            found.full = 0
            for _ in range(5):
                found.add(())  # type: ignore[arg-type]
            return found

        def killed(recorder: Recorder) -> int:
            recorder.tally._map.close()
            os.close(recorder.tally._file)
            return recording.collect(tmp_path)

        assert killed(full()) == 5
        noted = full()
        assert noted.missing == 5
        assert asyncio.run(noted.flush())
        assert (noted.missing, killed(noted)) == (0, 0)
    assert sorted(Gap.objects.values_list("lost", "reason")) == [(5, "full"), (5, "killed")]


def test_while_the_database_hangs_not_every_call_waits_for_it(settings: Settings) -> None:
    ended, loads = threading.Event(), []

    def load(identifier: str) -> str:
        loads.append(identifier)
        if len(loads) > 1:
            ended.wait(30)
        return f"{identifier} {len(loads)}"

    async def calls(threads: ThreadPoolExecutor) -> None:
        listening = feed.Feed()  # to nothing: what is known is old after half a second
        cache = feed.Cache(load, listening, threads)
        assert await cache.get("key") == "key 1"
        cache._entries["key"].loaded_at -= 1
        assert cache.peek("key") is None
        assert await cache.get("key") == "key 1"
        assert cache.peek("key")  # and at once from here on
        cache.age_all()
        assert cache.peek("key")
        cache._entries["key"].excused_until = 0
        assert cache.peek("key") is None
        assert cache._loads["key"].patient_until < time.monotonic()
        assert await cache.get("key") == "key 1"
        ended.set()
        await cache._loads["key"].task
        assert await cache.get("key") == f"key {len(loads)}"

    with ThreadPoolExecutor(1) as threads:
        asyncio.run(calls(threads))
    assert len(loads) == 3  # the one that hung, and again because all was to be looked up anew


def home(client: Client) -> str:
    """What the admin's home page shows, as text."""
    client.force_login(User.objects.get_or_create(username="root", is_superuser=True, is_staff=True)[0])
    answer = client.get("/admin/")
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def test_what_an_ended_process_counted_is_told_for_a_while(tmp_path: Path) -> None:
    first, second = snapshots.Place(tmp_path), snapshots.Place(tmp_path)
    assert (first.process, second.process) == ("0", "1")
    second.write({"form": snapshots.FORM, "pid": 1})
    second.close()
    assert [(each.process, each.alive) for each in snapshots.read(tmp_path)] == [("1", False)]
    os.utime(tmp_path / "web-1.json", (0, time.time() - snapshots.KEPT - 1))
    assert snapshots.read(tmp_path) == []
    again = snapshots.Place(tmp_path)
    assert again.process == "1"
    again.write({"form": snapshots.FORM + 1})  # of another version
    (tmp_path / "web-7.json").write_text("{cut")
    assert snapshots.read(tmp_path) == []
    for place in (first, again):
        place.close()


def test_what_runs_behind_the_requests_begins_again_after_a_fault() -> None:
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)
        if len(begun) < 3:
            raise RuntimeError("a fault")

    asyncio.run(asyncio.wait_for(kept_up(work), 10))
    assert len(begun) == 3


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("", "testclient", False),
    ],
)
def test_whose_guesses_are_counted_together(one: str, other: str, *, alike: bool) -> None:
    """Who has an IPv6 address has all of its /64."""
    assert (guard.neighbourhood(one) == guard.neighbourhood(other)) is alike
