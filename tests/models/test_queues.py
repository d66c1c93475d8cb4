"""What looks after imports isn't held up by them, and doesn't fill their queue."""

import json

import pytest
from django.contrib.auth.models import User

from apps.models import operations, tasks
from apps.models.models import Model
from modelyard import changes
from modelyard.celery import app
from tests.models.conftest import Zip, good


def waiting(queue: str) -> list[dict[str, object]]:
    """The headers of the tasks that wait in it."""
    with changes.connection() as client:
        return [json.loads(each)["headers"] for each in client.lrange(queue, 0, -1)]


def test_the_sweep_does_not_wait_behind_imports() -> None:
    for entry in app.conf.beat_schedule.values():
        app.send_task(entry["task"], **entry["options"])
    assert waiting("imports") == []
    assert tasks.sweep.name in {each["task"] for each in waiting("control")}


@pytest.mark.django_db(transaction=True)
def test_an_import_that_waits_long_is_asked_for_again_once_at_a_time(make_zip: Zip, person: User) -> None:
    model = operations.import_file(make_zip(good()), "tiny", by=person)
    Model.objects.update(added_at="2020-01-01T00:00Z")
    for _ in range(3):
        tasks.sweep()
    first, again = sorted(waiting("imports"), key=lambda each: each["expires"] is not None)
    assert (first["expires"], bool(again["expires"])) == (None, True)
    tasks.import_model(model.pk)
    Model.objects.update(status="importing", lease_until="2020-01-01T00:00Z")  # and its worker was killed
    tasks.sweep()
    assert len(waiting("imports")) == 3
