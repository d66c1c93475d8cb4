import pytest
from django.test import Client

from apps.deployments import tasks
from apps.deployments.models import Deployment

pytestmark = pytest.mark.django_db


def test_alive_asks_nobody(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_without_a_heartbeat_of_a_worker_it_is_not_ready(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["database"] == answer.json()["redis"] == "ok"
    assert "modelyard worker" in answer.json()["workers"]


def test_a_task_that_beat_asked_for_makes_it_ready(client: Client) -> None:
    assert not Deployment.objects.exists()
    tasks.reconcile_all()
    assert client.get("/readyz").status_code == 200
