"""What beat does when the clock is set back: goes on."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from celery import Celery
from celery.utils.imports import symbol_by_name
from django.conf import settings

from modelyard.celery import app

EVERYTHING = sorted(entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values())
START = datetime.fromisoformat("2026-03-01T12:00:00+00:00")


class Beat:
    """Beat's real scheduler on a file, and a clock that the test sets."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.now = START
        self.scheduler = self.started()

    def started(self) -> object:
        return symbol_by_name(app.conf.beat_scheduler)(app, schedule_filename=str(self.file))

    def restart(self) -> None:
        self.scheduler.close()  # type: ignore[attr-defined]
        self.scheduler = self.started()

    def asked(self) -> list[str]:
        """What is asked for until there is nothing more to do at this moment."""
        found: list[str] = []
        self.scheduler.apply_async = lambda entry, **_: found.append(entry.task)  # type: ignore[attr-defined]
        while self.scheduler.tick() <= 0:  # type: ignore[attr-defined]
            assert len(found) < 50
        return sorted(found)


@pytest.fixture
def beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beat]:
    made: list[Beat] = []
    monkeypatch.setattr(Celery, "now", lambda _: made[0].now if made else START)
    made.append(Beat(tmp_path / "beat"))
    yield made[0]
    made[0].scheduler.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("restarted", [False, True])
def test_after_the_clock_was_set_back_everything_goes_on_at_once(beat: Beat, restarted: bool) -> None:
    beat.asked()
    beat.now += timedelta(hours=2)
    assert beat.asked() == EVERYTHING
    beat.now -= timedelta(hours=2)
    if restarted:
        beat.restart()
    assert beat.asked() == EVERYTHING
    assert beat.asked() == []
    beat.now += timedelta(seconds=6)
    assert beat.asked() == ["apps.deployments.tasks.reconcile_all"]
