"""`make bench`: the gateway, with everything on, beside what else stands before engines.

Servers on one core, load and engine on another; rounds interleaved; medians and ratios.
"""

import argparse
import json
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from bench.gateway.cases import CASES, HELLO, Case, Row, wrk
from bench.gateway.servers import ENGINE, GATEWAY, GO, LITELLM, NGINX, OTHER, ROUTER, Servers, Target, tools_missing

RESULTS = Path(__file__).resolve().parents[1] / "results"
Medians = dict[str, dict[str, Row]]
SHOWN = {
    "rate": "requests/s", "latency_ms": "median ms", "p99_ms": "p99 ms", "cpu_us": "CPU µs", "MB_s": "MB/s",
    "lost": "lost", "gap_ms": "gap ms", "gap_p99_ms": "gap p99 ms", "first_ms": "first ms", "before_MB": "MB before",
    "after_MB": "MB after", "more_MB": "MB more", "errors": "errors",
}  # fmt: skip
FAR = 999.5  # from which on figures are shown without decimals


def run(arguments: argparse.Namespace) -> tuple[Medians, dict[str, str]]:
    """Medians by case and target, and what was skipped."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o755)
    servers = Servers(folder, arguments.python)
    rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
    cases = [case for case in CASES if re.search(arguments.cases, case.name)]
    try:
        targets = servers.targets(lambda name: bool(re.search(arguments.targets, name)))
        for target in targets:
            wrk(target, 4, HELLO, 1, folder)  # warm
        for number in range(arguments.rounds):
            for case in cases:
                if not (case.once and number):
                    measure(case, targets, arguments.seconds, folder, rows)
            sys.stderr.write(f"round {number + 1} of {arguments.rounds}\n")
    finally:
        servers.close()
        shutil.rmtree(folder, ignore_errors=True)
    medians: Medians = defaultdict(dict)
    for (case_name, target_name), found in rows.items():
        medians[case_name][target_name] = {key: statistics.median(row[key] for row in found) for key in found[0]}
    return medians, servers.skipped


def measure(
    case: Case, targets: list[Target], seconds: int, folder: Path, rows: dict[tuple[str, str], list[Row]]
) -> None:
    """One round of one case, on every target."""
    for target in targets:
        if case.takes(target):
            row = case.measure(target, seconds, folder)
            if row:
                rows[case.name, target.name].append(row)


def show(medians: Medians) -> None:
    """A table for each case."""
    for case, rows in medians.items():
        columns = [key for key in SHOWN if any(key in row for row in rows.values())]
        print(f"\n{case}\n{'':20}" + "".join(f"{SHOWN[key]:>13}" for key in columns))
        for name, row in rows.items():
            print(f"{name:20}" + "".join(f"{figure(row.get(key)):>13}" for key in columns))


def figure(value: float | None) -> str:
    """A figure as it is read."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= FAR or value == int(value) else f"{value:.3g}"


def goals(medians: Medians, gateway: str) -> None:
    """The ratios that the gateway is held to."""

    def of(case: str, name: str, key: str) -> float:
        return medians.get(case, {}).get(name, {}).get(key, float("nan"))

    one, many, thousand = "plain, 1 connection", "plain, 32 connections", "64-chunk streams, 1000 at once"
    ours = of(many, gateway, "cpu_us")
    direct = of(thousand, ENGINE, "gap_p99_ms")
    added, nginxs = (of(thousand, name, "gap_p99_ms") - direct for name in (gateway, NGINX))
    print(f"\n{gateway}, in ratios of medians")
    for text, value in (
        ("of nginx's requests/s, 32 connections (goal: 0.4)", of(many, gateway, "rate") / of(many, NGINX, "rate")),
        ("of nginx's CPU a request", ours / of(many, NGINX, "cpu_us")),
        ("of Go's ReverseProxy's CPU a request (goal: below 1)", ours / of(many, GO, "cpu_us")),
        ("of vllm-router's CPU a request (goal: below 1)", ours / of(many, ROUTER, "cpu_us")),
        ("LiteLLM's CPU a request, of ours (goal: 100)", of(many, LITELLM, "cpu_us") / ours),
        ("ms above nginx at 1 connection (goal: 0.3)", of(one, gateway, "latency_ms") - of(one, NGINX, "latency_ms")),
        ("streams lost of 1000 (goal: 0)", of(thousand, gateway, "lost")),
        ("ms of p99 gap added at 1000 streams", added),
        ("ms of p99 gap that nginx adds there (goal: ours at most twice)", nginxs),
    ):
        print(f"{value:10.3g}  {text}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk")
    parser.add_argument("--cases", default="", help="a regular expression")
    parser.add_argument("--targets", default="", help="a regular expression")
    parser.add_argument("--python", default="", help="measure the gateway on this interpreter too, with these packages")
    arguments = parser.parse_args()
    if missing := tools_missing():
        print(f"SKIPPED: it needs {' and '.join(missing)} (Debian: apt-get install wrk nginx-light util-linux).")
        return 0
    medians, skipped = run(arguments)
    show(medians)
    goals(medians, GATEWAY)
    if arguments.python:
        goals(medians, OTHER)
    for name, why in skipped.items():
        print(f"SKIPPED {name}: {why}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"gateway-{time.strftime('%Y%m%d-%H%M%S')}.json"
    about = {"machine": platform.platform(), "python": platform.python_version(), "skipped": skipped}
    path.write_text(json.dumps({**about, "medians": medians}, indent=1))
    print(f"\nWritten to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    failed = sum(
        row.get("errors", 0) + row.get("lost", 0) for rows in medians.values() for row in [rows.get(GATEWAY, {})]
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
