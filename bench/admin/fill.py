"""Deployments as an installation has after years: many stopped, some failed, few of each model, with their history."""

import random
from datetime import timedelta
from itertools import batched
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from apps.deployments.models import Deployment, Event, UsageDay, UsageHour, Version
from apps.deployments.statuses import Desired, Outcome, Status
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus

PEOPLE, EVENTS, BATCH = 40, 4, 2000  # people who added them, events of each, rows in one statement
STATUSES = {Status.DEPLOYED: 30, Status.STOPPED: 45, Status.FAILED: 12, Status.READY_TO_DEPLOY: 12.98,
            Status.DEPLOYING: 0.02}  # fmt: skip
TAGS = ["prod", "staging", "team-search", "team-support", "eu", "us", "batch", "demo", "rag", "legal"]
WORDS = ["search", "support", "legal", "chat", "rerank", "embed", "classify", "summary", "code", "voice"]


def everything(count: int) -> None:
    """Fill an empty database."""
    Deployment._meta.get_field("added_at").auto_now_add = False
    Deployment._meta.get_field("status_at").auto_now_add = False
    dice = random.Random(7)
    people = User.objects.bulk_create(User(username=f"person-{n}", is_staff=True) for n in range(PEOPLE))
    models = Model.objects.bulk_create(
        Model(id=f"mdl_{n:012d}", name=f"org/{WORDS[n % 10]}-model-{n}", status=ModelStatus.READY, format=Format.ONNX)
        for n in range(max(count // 20, 1))
    )
    for numbers in batched(range(count), BATCH, strict=False):
        _deployments(numbers, models, people, dice)
    _usage(dice)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _deployments(numbers: tuple[int, ...], models: list[Any], people: list[Any], dice: random.Random) -> None:
    statuses = dice.choices(list(STATUSES), weights=list(STATUSES.values()), k=len(numbers))
    rows = [_one(number, status, models, people, dice) for number, status in zip(numbers, statuses, strict=True)]
    Deployment.objects.bulk_create(rows)
    Version.objects.bulk_create(
        Version(deployment=row, number=1, outcome=Outcome.SUCCEEDED, started_at=row.added_at, created_by=row.added_by)
        for row in rows
    )
    Event.objects.bulk_create(
        Event(deployment=row, code="deployed", message="v1 is deployed and answers (12 s).", stage="", by=row.added_by)
        for row in rows
        for _ in range(EVENTS)
    )


def _one(number: int, status: Status, models: list[Any], people: list[Any], dice: random.Random) -> Deployment:
    at = timezone.now() - timedelta(minutes=dice.randrange(1_500_000))
    return Deployment(
        added_at=at, status_at=at,
        id=f"dep_{number:012d}", name=f"{dice.choice(WORDS)}-{dice.choice(WORDS)}-{number}",
        model=dice.choice(models), runtime=dice.choice(["onnx", "vllm", "tgi"]), status=status,
        added_by=dice.choice(people), tags=dice.sample(TAGS, dice.choice([0, 1, 1, 2, 3])),
        desired=Desired.RUNNING if status == Status.DEPLOYED else Desired.STOPPED,
        failure="The engine ran out of memory while it loaded the weights." if status == Status.FAILED else "",
        description="Serves the answers of the help pages." if number % 3 else "",
    )  # fmt: skip


def _usage(dice: random.Random) -> None:
    """Sums of 200 keys of 50 deployments: of each hour of a week, and of each day of four months."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    pairs = [(f"acc{n}", f"dep_{n % 50:012d}") for n in range(200)]

    def sums(account: str, deployment: str) -> dict[str, Any]:
        return {"account": account, "deployment_id": deployment, "deployment_name": deployment,
                "requests": dice.randrange(500), "prompt_tokens": dice.randrange(90_000)}  # fmt: skip

    hours = [hour - timedelta(hours=number) for number in range(7 * 24)]
    UsageHour.objects.bulk_create((UsageHour(start=start, **sums(*pair)) for start in hours for pair in pairs), 2000)
    days = [hour.date() - timedelta(days=number) for number in range(120)]
    UsageDay.objects.bulk_create((UsageDay(start=day, **sums(*pair)) for day in days for pair in pairs), 2000)
