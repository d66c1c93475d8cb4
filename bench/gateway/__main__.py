"""`make bench`: requests a second, latency and CPU time a request, in interleaved rounds; medians and ratios."""

import argparse
import json
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from bench.gateway.servers import LOAD_CORE, Servers, Target

RESULTS = Path(__file__).resolve().parents[1] / "results"
PLAIN = '{"model":"bench","messages":[{"role":"user","content":"Hello"}]}'
STREAM = '{"model":"bench","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
CASES = (
    ("plain, 1 connection", 1, PLAIN),
    ("plain, 32 connections", 32, PLAIN),
    ("64-chunk streams, 50 at once", 50, STREAM),
)
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def measure(target: Target, connections: int, body: str, seconds: int, folder: Path) -> dict[str, float]:
    """One round of wrk: requests/s, median latency in ms, server CPU in microseconds a request, errors."""
    script = folder / "post.lua"
    headers = {"Content-Type": "application/json", **target.headers}
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    script.write_text("\n".join(['wrk.method = "POST"', f"wrk.body = '{body}'", *lines]))
    before = target.cpu_seconds()
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s",
               str(script), target.url]  # fmt: skip
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = target.cpu_seconds() - before
    total = int(re.search(r"(\d+) requests in", text)[1])
    number, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", text).groups()
    errors = sum(
        int(count)
        for count in re.findall(r"Non-2xx or 3xx responses: (\d+)|(?:connect|read|write|timeout) (\d+)", text)
        for count in count
        if count
    )
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    return {
        "rate": rate,
        "latency_ms": float(number) * UNITS[unit],
        "cpu_us": used / max(total, 1) * 1e6,
        "errors": errors,
    }


def run(rounds: int, seconds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Medians by case and target."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o755)
    servers = Servers(folder)
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    try:
        targets = servers.targets()
        for target in targets:
            measure(target, 4, PLAIN, 1, folder)  # warm
        for number in range(rounds):
            for case, connections, body in CASES:
                for target in targets:
                    found[case, target.name].append(measure(target, connections, body, seconds, folder))
            sys.stderr.write(f"round {number + 1} of {rounds}\n")
    finally:
        servers.close()
        shutil.rmtree(folder, ignore_errors=True)
    medians: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (case, name), rows in found.items():
        medians[case][name] = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return medians


def show(medians: dict[str, dict[str, dict[str, float]]]) -> None:
    for case, rows in medians.items():
        base = rows.get("nginx proxy_pass")
        print(f"\n{case}\n{'':20}{'requests/s':>12}{'to nginx':>10}{'median ms':>11}{'CPU µs':>9}{'errors':>8}")
        for name, row in rows.items():
            ratio = f"{row['rate'] / base['rate']:.2f}" if base else "-"
            cpu = f"{row['cpu_us']:.0f}" if row["cpu_us"] else "-"
            print(f"{name:20}{row['rate']:12.0f}{ratio:>10}{row['latency_ms']:11.2f}{cpu:>9}{row['errors']:8.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    arguments = parser.parse_args()
    missing = [tool for tool in ("wrk", "taskset") if not shutil.which(tool)]
    if missing:
        print(f"SKIPPED: it needs {' and '.join(missing)} (Debian: apt-get install wrk nginx-light util-linux).")
        return 0
    if not shutil.which("nginx"):
        print("nginx isn't installed: the gateway is compared with the engine itself only.")
    medians = run(arguments.rounds, arguments.seconds)
    show(medians)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"gateway-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(
        json.dumps({"machine": platform.platform(), "python": platform.python_version(), "medians": medians}, indent=1)
    )
    print(f"\nWritten to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
