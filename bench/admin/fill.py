"""Deployments as an installation has after years: many stopped, some failed, one model with very many, their history.

Rows go straight to the database, and what follows from them is made by the database itself.
"""

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, models, transaction
from django.utils import timezone

from apps.deployments.models import Deployment, Event, Version
from apps.deployments.statuses import Desired, Outcome, Status
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus
from bench.usage import fill as usage

PEOPLE, EVENTS = 40, 4  # people who added them, events of each
BUSY, SHARE = 42, 0.3  # the number of a model, and what share of all deployments are of it
STATUSES = {Status.DEPLOYED: 30, Status.STOPPED: 45, Status.FAILED: 12, Status.READY_TO_DEPLOY: 12.98,
            Status.DEPLOYING: 0.02}  # fmt: skip
TAGS = ["prod", "staging", "team-search", "team-support", "eu", "us", "batch", "demo", "rag", "legal"]
WORDS = ["search", "support", "legal", "chat", "rerank", "embed", "classify", "summary", "code", "voice"]


def everything(rows: int, calls: int) -> None:
    """Fill an empty database with so many deployments, and calls in the ledger."""
    dice = random.Random(7)
    with _unsynced():
        people = [person.pk for person in User.objects.bulk_create(
            User(username=f"person-{n}", is_staff=True) for n in range(PEOPLE)
        )]  # fmt: skip
        count = max(rows // 20, BUSY + 1)
        with transaction.atomic():
            _insert(Model, (_model(n) for n in range(count)))
            _insert(Deployment, (_deployment(n, count, people, dice) for n in range(rows)))
            _history()
        usage.records(calls, time.time())
        usage.sums()
    usage.settle()


@contextmanager
def _unsynced() -> Iterator[None]:
    """Without waiting for the disk: a fill that is cut short is thrown away."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous=OFF")
        cursor.execute("PRAGMA cache_size=-400000")
    yield
    connection.close()  # the next one has the product's own settings


def _insert(table: type[models.Model], rows: Iterable[dict[str, Any]]) -> None:
    """Rows that say what differs from the table's defaults."""
    fields = {each.attname: each for each in table._meta.concrete_fields}
    usual = table(**{name: timezone.now() for name, each in fields.items() if getattr(each, "auto_now_add", False)})
    defaults = {name: each.get_db_prep_save(getattr(usual, name), connection) for name, each in fields.items()}

    def ready(row: dict[str, Any]) -> tuple[Any, ...]:
        own = {name: fields[name].get_db_prep_save(value, connection) for name, value in row.items()}
        return tuple((defaults | own).values())

    columns = ", ".join(connection.ops.quote_name(str(each.column)) for each in fields.values())
    places = ", ".join(["%s"] * len(fields))
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table._meta.db_table} ({columns}) VALUES ({places})", list(map(ready, rows)))


def _model(number: int) -> dict[str, Any]:
    return {
        "id": f"mdl_{number:012d}", "name": f"org/{WORDS[number % 10]}-model-{number}", "status": ModelStatus.READY,
        "format": Format.ONNX, "size": number * 10**7, "tags": [TAGS[number % 10]],
        "task": f"task-{number % 12}",
    }  # fmt: skip


def _deployment(number: int, models: int, people: list[int], dice: random.Random) -> dict[str, Any]:
    at = timezone.now() - timedelta(minutes=dice.randrange(1_500_000))
    (status,) = dice.choices(list(STATUSES), list(STATUSES.values()))
    model = BUSY if dice.random() < SHARE else dice.randrange(models)
    return {
        "id": f"dep_{number:012d}", "name": f"{dice.choice(WORDS)}-{dice.choice(WORDS)}-{number}",
        "model_id": f"mdl_{model:012d}", "runtime": dice.choice(["onnx", "vllm", "tgi"]), "status": status,
        "added_at": at, "status_at": at, "added_by_id": dice.choice(people),
        "tags": dice.sample(TAGS, dice.choice([0, 1, 1, 2, 3])),
        "desired": Desired.RUNNING if status == Status.DEPLOYED else Desired.STOPPED,
        "failure": "The engine ran out of memory while it loaded the weights." if status == Status.FAILED else "",
        "description": "Serves the answers of the help pages." if number % 3 else "",
    }  # fmt: skip


def _history() -> None:
    """A version and events of each deployment."""
    deployments = Deployment._meta.db_table
    _copy(Version, {"deployment_id": "id", "number": "1", "outcome": f"'{Outcome.SUCCEEDED}'",
                    "created_by_id": "added_by_id", "created_at": "added_at", "started_at": "added_at"},
          deployments)  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {deployments} SET target_version_id = (SELECT id FROM {Version._meta.db_table} "
                       f"WHERE deployment_id = {deployments}.id)")  # fmt: skip
    series = usage.SERIES[connection.vendor].format(last=EVENTS - 1)
    _copy(Event, {"deployment_id": "id", "at": "added_at", "code": "'deployed'", "by_id": "added_by_id",
                  "message": "'v1 is deployed and answers (12 s).'"}, f"{deployments} CROSS JOIN {series}")  # fmt: skip


def _copy(table: type[models.Model], taken: dict[str, str], source: str) -> None:
    """Rows made of others; what isn't taken from them is as the table's defaults."""
    fields = [each for each in table._meta.concrete_fields if not each.primary_key]
    usual = table()
    chosen = [taken.get(each.attname, "%s") for each in fields]
    values = [each.get_db_prep_save(getattr(usual, each.attname), connection)
              for each in fields if each.attname not in taken]  # fmt: skip
    columns = ", ".join(connection.ops.quote_name(str(each.column)) for each in fields)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table._meta.db_table} ({columns}) SELECT {', '.join(chosen)} FROM {source}", values
        )
