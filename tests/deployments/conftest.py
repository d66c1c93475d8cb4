"""Deployments of the echo runtime: real engines, real launcher, passes run by the test itself."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User

from apps.deployments import operations
from apps.deployments.models import Deployment, Replica
from apps.deployments.reconciler import reconcile
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus
from modelyard import launchers

Make = Callable[..., Deployment]


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create(username="anna", is_staff=True, is_superuser=True)


@pytest.fixture
def model(db: None) -> Model:
    return Model.objects.create(name="tiny", status=ModelStatus.READY, format=Format.ONNX)


@pytest.fixture
def make(model: Model, person: User) -> Iterator[Make]:
    """Makes deployments of the echo runtime, and ends their engines afterwards."""

    def one(name: str = "hello", **options: object) -> Deployment:
        extra = {key: options.pop(key) for key in ("ready_seconds", "replicas", "optimization") if key in options}
        return operations.create(model=model, name=name, runtime="echo", options=options, by=person, **extra)

    yield one
    launcher = launchers.default()
    for replica in list(launcher.known()):
        launcher.stop(replica, now=True)
    for replica in list(launcher.known()):
        while launcher.observe(replica).state in {"running", "starting"}:
            time.sleep(0.05)
        launcher.remove(replica)


def settle(deployment: Deployment, until: Callable[[Deployment], bool], limit: float = 40) -> Deployment:
    """Run passes, as beat and the workers would, until it is so."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        reconcile(deployment.pk)
        deployment.refresh_from_db()
        if until(deployment):
            return deployment
        time.sleep(0.1)
    events = [(event.code, event.message) for event in deployment.events.all()]
    raise AssertionError(f"still {deployment.status} ({deployment.stage}): {events}")


def status(*wanted: str) -> Callable[[Deployment], bool]:
    return lambda deployment: deployment.status in wanted


def only_replica(deployment: Deployment) -> Replica:
    return deployment.replicas.exclude(state="ended").get()


def codes(deployment: Deployment) -> list[str]:
    """The codes of the timeline, oldest first."""
    return list(deployment.events.order_by("id").values_list("code", flat=True))


@pytest.fixture
def unused_tcp_port_taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
