"""`python -m bench.usage`: what questions and writing take with ten million calls in the ledger, medians.

On SQLite in a folder of its own, or on an empty database that MODELYARD_DATABASE_URL names.
`python -m tests.postgres python -m bench.usage` does it on a fresh PostgreSQL.
"""

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROUNDS, BATCH = 30, 1000


def prepare(folder: str) -> None:
    """Django on that data directory, tables made."""
    os.environ |= {"MODELYARD_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "modelyard.settings",
                   "MODELYARD_TIME_ZONE": "UTC", "MODELYARD_LOG_LEVEL": "ERROR"}  # fmt: skip
    sys.path.insert(1, str(ROOT / "platform"))
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def timed(ask: Callable[[], Any]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


def questions() -> dict[str, Callable[[], Any]]:
    """What people and scripts ask, each time about another key."""
    from datetime import timedelta

    from django.contrib.auth.models import User
    from django.test import Client
    from django.utils import timezone

    from apps.deployments.models import Deployment
    from apps.deployments.usage import reports
    from apps.models.models import Model
    from bench.usage.fill import DEPLOYMENTS, KEYS

    model = Model.objects.create(name="bench")
    Deployment.objects.bulk_create(
        Deployment(pk=f"dep_{n}", name=f"search-{n}", model=model, runtime="onnx") for n in range(DEPLOYMENTS)
    )
    client = Client()
    client.force_login(User.objects.create(username="bench", is_staff=True, is_superuser=True))
    today = reports.today()
    records, week = "/api/v1/usage/records/", timezone.now() - timedelta(days=7)

    def key() -> str:
        return f"key{random.randrange(KEYS)}"

    def get(address: str, **asked: Any) -> None:
        answer = client.get(address, asked)
        assert answer.status_code == 200, answer.content

    def tab(**asked: Any) -> None:
        get(f"/admin/deployments/deployment/dep_{random.randrange(DEPLOYMENTS)}/usage/", **asked)

    return {
        "one key, this month (query)": lambda: reports.month(key(), today.year, today.month),
        "admin: a deployment's usage, this month": tab,
        "admin: a deployment's usage, 30 days": lambda: tab(period="30"),
        "admin: usage of everything, this month": lambda: get("/admin/usage/"),
        "API: one key, this month, by day": lambda: get("/api/v1/usage/summary/", key=key(), every="day"),
        "API: every key, this month": lambda: get("/api/v1/usage/summary/"),
        "API: latest 100 calls": lambda: get(records),
        "API: latest 100 calls of a key": lambda: get(records, key=key()),
        "API: 100 calls of a key, a week ago": lambda: get(records, key=key(), to=week.isoformat()),
        "API: 100 refused calls, a week ago": lambda: get(records, status="429", to=week.isoformat()),
    }


def batch(keys: int) -> list[tuple[Any, ...]]:
    """Calls of so many keys, as the gateway hands them over."""
    now = time.time()
    usual = ("Qwen/Qwen2.5-0.5B-Instruct", "/v1/chat/completions", 200, "", True, 120, 300, False, 12.345678,
             345.678901, 512, 4096, "10.1.2.3")  # fmt: skip
    found = []
    for number in range(BATCH):
        key, place = f"key{number % keys}", number % keys % 50
        name = f"application {number % keys}"
        found.append((now, uuid.uuid4().hex, key, key, name, "", f"dep_{place}", f"search-{place}", 3, "mdl_0", *usual))
    return found


def writing(keys: int) -> tuple[float, float]:
    """CPU µs a row of this process, and rows a second of one writer."""
    from apps.deployments.usage import ledger

    cpu, wall = [], []
    for _ in range(ROUNDS):
        rows = batch(keys)
        began = time.process_time()
        wall.append(timed(lambda rows=rows: ledger.write(uuid.uuid4().hex, rows)))
        cpu.append((time.process_time() - began) * 1e6 / BATCH)
    return statistics.median(cpu), BATCH / statistics.median(wall) * 1000


def deleting(seconds: float) -> float:
    """Rows a second that retention deletes, pauses included."""
    from django.conf import settings
    from django.db.models import Min

    from apps.deployments.usage import retention
    from apps.deployments.usage.models import UsageRecord

    settings.USAGE_DAYS = 60
    first = UsageRecord.objects.aggregate(first=Min("pk"))["first"]
    took = timed(lambda: retention.sweep(seconds)) / 1000
    return float((UsageRecord.objects.aggregate(first=Min("pk"))["first"] - first) / took)


def main() -> None:
    """Fill, ask, write, delete; print."""
    parser = argparse.ArgumentParser(prog="python -m bench.usage", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="bench-usage-")
    try:
        prepare(folder)
        from django.db import connection

        from bench.usage import fill

        print(f"{connection.vendor}: {options.rows} calls, {fill.KEYS} keys, {fill.DAYS} days …", flush=True)
        print(f"filled in {timed(lambda: fill.records(options.rows, time.time())) / 1000:.0f} s", flush=True)
        print(f"summed in {timed(fill.sums) / 1000:.0f} s", flush=True)
        fill.settle()
        for name, ask in questions().items():
            ask()
            took = [timed(ask) for _ in range(ROUNDS)]
            print(f"| {name} | {statistics.median(took):.1f} | {max(took):.1f} |", flush=True)
        for keys in (1, 50, 500):
            print("| write, {} keys a batch | {:.1f} µs | {:.0f} rows/s |".format(keys, *writing(keys)), flush=True)
        print(f"| delete | {deleting(5):.0f} rows/s |", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
