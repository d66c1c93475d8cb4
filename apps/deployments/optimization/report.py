"""The proof's report: original and optimized side by side, as data that the admin, the API and the export share."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from apps.deployments.optimization.agreement import Agreement
from apps.deployments.optimization.samples import shown
from apps.deployments.optimization.trial import CLIENTS, Trial
from modelyard.runtimes import Host, SampleRequest

WORST = 5

MEASURES: Mapping[str, tuple[Any, str, bool]] = {
    "size_bytes": (_("Size on disk"), "bytes", False),
    "load_seconds": (_("Load time"), "s", False),
    "latency_p50_ms": (_("Latency p50, one at a time"), "ms", False),
    "latency_p95_ms": (_("Latency p95, one at a time"), "ms", False),
    "requests_per_second": (format_lazy(_("Throughput, {clients} clients"), clients=CLIENTS), "/s", True),
    "peak_memory_bytes": (_("Peak memory"), "bytes", False),
}
"""Name, unit and whether more is better, of what is measured on both sides."""

AGREEMENT_LABELS = {
    "cosine_mean": _("Cosine similarity, mean"),
    "cosine_min": _("Cosine similarity, least"),
    "neighbour_overlap": _("Same nearest neighbours"),
    "label_agreement": _("Same label"),
    "largest_shift": _("Largest change of a score"),
    "same_largest": _("Same largest output"),
    "exact_match": _("Exactly the same text"),
    "token_overlap": _("Words in common"),
}


def side(trial: Trial, size: int) -> dict[str, float]:
    """One side's figures."""
    ordered = sorted(trial.latencies)
    return {
        "size_bytes": size,
        "load_seconds": round(trial.load_seconds or 0, 3),
        "latency_p50_ms": round(statistics.median(ordered) * 1e3, 3),
        "latency_p95_ms": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] * 1e3, 3),
        "requests_per_second": round(trial.requests_per_second or 0, 3),
        "peak_memory_bytes": trial.peak_memory,
    }


def build(
    original: Mapping[str, float],
    optimized: Mapping[str, float],
    agreement: Agreement,
    requests: Sequence[SampleRequest],
    *,
    threshold: float,
    own_samples: bool,
    recipe: str,
    host: Host,
) -> dict[str, Any]:
    """The whole report."""
    return {
        "recipe": recipe,
        "kind": agreement.kind,
        "samples": len(requests),
        "own_samples": own_samples,
        "original": dict(original),
        "optimized": dict(optimized),
        "agreement": agreement.score,
        "measures": dict(agreement.measures),
        "threshold": threshold,
        "passed": agreement.score >= threshold,
        "worst": _worst(agreement.each, requests),
        "host": {"cpus": host.cpus, "memory_bytes": host.memory_total, "gpus": [gpu.name for gpu in host.gpus]},
        "made_at": timezone.now().isoformat(timespec="seconds"),
    }


def _worst(each: Sequence[float], requests: Sequence[SampleRequest]) -> list[dict[str, Any]]:
    order = sorted(range(len(each)), key=each.__getitem__)[:WORST]
    return [{"sample": index + 1, "agreement": each[index], "text": shown(requests[index])} for index in order]


def rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was measured on both sides, a row each, with `ratio` = optimized / original and whether that is better."""
    found = []
    for name, (label, unit, more) in MEASURES.items():
        before, after = report["original"][name], report["optimized"][name]
        ratio = after / before if before else None
        better = None if ratio is None or abs(ratio - 1) < 0.02 else (ratio > 1) == more
        most = max(before, after) or 1
        found.append({
            "name": name, "label": str(label), "unit": unit, "original": before, "optimized": after, "ratio": ratio,
            "better": better, "original_share": before / most * 100, "optimized_share": after / most * 100,
        })  # fmt: skip
    return found


def agreements(report: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What the agreement is made of, in words."""
    return [(str(AGREEMENT_LABELS.get(name, name)), value) for name, value in report["measures"].items()]


def as_csv(report: Mapping[str, Any]) -> str:
    """The report as a table for a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["measure", "unit", "original", "optimized", "ratio"])
    for row in rows(report):
        ratio = "" if row["ratio"] is None else round(row["ratio"], 4)
        writer.writerow([row["name"], row["unit"], row["original"], row["optimized"], ratio])
    for name in ("agreement", "threshold", "passed", "samples", "kind", "recipe"):
        writer.writerow([name, "", "", report[name], ""])
    for name, value in report["measures"].items():
        writer.writerow([name, "", "", value, ""])
    return out.getvalue()
