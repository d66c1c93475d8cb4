"""`make bench-onnx`: requests a second, latency, CPU and memory of embedding servers, in interleaved rounds."""

import argparse
import json
import math
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from bench.onnx.peers import Server, start

CLIENTS = (1, 8, 64)
SHORT = "The small cat number {n} sleeps under the old oak table"
LONG = " ".join([SHORT, *["and dreams of ships that sail on the wide sea while rain falls on the quiet town"] * 11])
TEXTS = {"short": SHORT, "long": LONG}
DIFFERENT = 16  # texts, so that no cache answers
LEAST_COSINE = 0.99


def agree(servers: list[Server]) -> None:
    """They have to compute the same before it matters how fast they are."""
    for text in TEXTS.values():
        first, *others = [server.embed(text.format(n=1)) for server in servers]
        for server, other in zip(servers[1:], others, strict=True):
            cosine = math.sumprod(first, other) / (math.hypot(*first) * math.hypot(*other))
            if cosine < LEAST_COSINE:
                raise SystemExit(f"{server.name} computes something else: cosine {cosine:.4f}")


def measure(server: Server, clients: int, text: str, seconds: float) -> dict[str, float]:
    """One round."""
    bodies = [json.dumps(server.body(text.format(n=number))) for number in range(DIFFERENT)]
    job = {"port": server.port, "path": server.path, "headers": server.headers, "bodies": bodies, "clients": clients,
           "seconds": seconds}  # fmt: skip
    before = server.cpu()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("load.py"))], input=json.dumps(job), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{server.name} with {clients} clients: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads(done.stdout)
    server.look_at_memory()
    return {"rate": found["rate"], "p50_ms": found["p50_ms"], "p95_ms": found["p95_ms"],
            "cpu_ms": (server.cpu() - before) / found["count"] * 1000}  # fmt: skip


def run(rounds: int, seconds: float) -> None:
    """Measure, and print the table."""
    folder = Path(tempfile.mkdtemp(prefix="bench-onnx-"))
    servers: list[Server] = []
    rows: dict[tuple[str, int, str], list[dict[str, float]]] = defaultdict(list)
    try:
        servers = start(folder)
        agree(servers)
        for server in servers:
            measure(server, 4, SHORT, 1)  # warm
        for number in range(rounds):
            for kind, text in TEXTS.items():
                for clients in CLIENTS:
                    for server in servers:
                        rows[kind, clients, server.name].append(measure(server, clients, text, seconds))
            sys.stderr.write(f"round {number + 1} of {rounds}\n")
        report(servers, rows)
    finally:
        for server in servers:
            server.end()
        shutil.rmtree(folder, ignore_errors=True)


def report(servers: list[Server], rows: dict[tuple[str, int, str], list[dict[str, float]]]) -> None:
    """Medians, and ours over the best of the others."""
    print(f"{platform.machine()}, {platform.python_version()}; medians; one text a request\n")
    print("| texts | clients | server | requests/s | p50 ms | p95 ms | server CPU ms a request |")
    print("|---|---|---|---|---|---|---|")
    ratios = []
    for kind in TEXTS:
        for clients in CLIENTS:
            rates = {}
            for server in servers:
                found = rows[kind, clients, server.name]
                median = {key: statistics.median(row[key] for row in found) for key in found[0]}
                rates[server.name] = median["rate"]
                print(f"| {kind} | {clients} | {server.name} | {median['rate']:.0f} | {median['p50_ms']:.1f} "
                      f"| {median['p95_ms']:.1f} | {median['cpu_ms']:.2f} |")  # fmt: skip
            best = max(rate for name, rate in rates.items() if name != servers[0].name)
            ratios.append(f"{kind}, {clients}: {rates[servers[0].name] / best:.2f}")
    print("\n| server | start s | memory MB at most |\n|---|---|---|")
    for server in servers:
        print(f"| {server.name} | {server.ready_seconds:.1f} | {server.peak / 1e6:.0f} |")
    print(f"\n{servers[0].name} over the best of the others: {'; '.join(ratios)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    given = parser.parse_args()
    run(given.rounds, given.seconds)
