"""The diagram, the code and the docs say the same, and a status changes through the compare-and-swap only."""

import re
from pathlib import Path

import pytest

from apps.deployments.models import Deployment, Event
from apps.deployments.statuses import FOLLOWS, IDLE, WORKING, Status
from apps.deployments.transitions import move
from apps.models import querysets
from tests.deployments.conftest import Make

ROOT = Path(__file__).resolve().parents[2]


def diagram(text: str) -> dict[str, set[str]]:
    lines = re.findall(r"^\s*([A-Z_]+) -> ([A-Z_, ]+)$", text, re.MULTILINE)
    return {source: set(targets.split(", ")) for source, targets in lines}


@pytest.mark.parametrize(
    "text", [Status.__doc__, (ROOT / "docs/reference/statuses.md").read_text()], ids=["enum", "docs"]
)
def test_the_diagram_is_what_the_code_does(text: str) -> None:
    assert diagram(text) == {source.name: {status.name for status in targets} for source, targets in FOLLOWS.items()}


def test_every_status_is_either_idle_or_working_or_deployed() -> None:
    assert IDLE | WORKING | {Status.DEPLOYED} == set(Status)
    assert not IDLE & WORKING


def test_the_model_list_counts_by_the_same_words() -> None:
    assert querysets.DEPLOYED == Status.DEPLOYED
    assert querysets.FAILED == Status.FAILED
    assert querysets.READY_TO_DEPLOY == Status.READY_TO_DEPLOY


@pytest.mark.parametrize("source", Status)
@pytest.mark.parametrize("target", Status)
def test_only_what_the_diagram_allows_happens(make: Make, source: Status, target: Status) -> None:
    deployment = make()
    Deployment.objects.filter(pk=deployment.pk).update(status=source)
    moved = move(deployment, target, code="moved", message="It moved.")
    assert moved == (target in FOLLOWS[source])
    assert deployment.status == (target if moved else source)
    assert Event.objects.filter(deployment=deployment, code="moved").count() == moved


def test_of_two_who_read_the_same_status_one_wins(make: Make) -> None:
    mine = make()
    yours = Deployment.objects.get(pk=mine.pk)
    assert move(mine, Status.DEPLOYING, allowed=[Status.READY_TO_DEPLOY], code="a", message="first")
    assert not move(yours, Status.DEPLOYING, allowed=[Status.READY_TO_DEPLOY], code="b", message="second")
