"""The part of the deploy page that says which runtimes can serve the chosen model here, and what it will need."""

import json
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from apps.deployments import fit
from apps.deployments.fit import Fit
from apps.models.models import Model
from modelyard import console
from modelyard.launchers.host import this_host
from modelyard.runtimes import Level

TONES = {Level.BLOCK: "bad", Level.WARN: "warn", Level.INFO: "calm"}
WORDS = {Level.BLOCK: "blocks", Level.WARN: "mind", Level.INFO: "note"}


@require_POST
def fragment(request: HttpRequest) -> HttpResponse:
    """For what the form has now; nothing is changed."""
    console.require(request, "deployments.view_deployment")
    return render(request, "deployments/admin/fit.html", context(request.POST))


def context(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the part shows for what has been given so far."""
    row = Model.objects.filter(pk=str(given.get("model", ""))).first()
    if row is None:
        return {"fit_model": None}
    wanted = str(given.get("runtime", ""))
    found = fit.fits(row, {wanted: _options(given, wanted)} if wanted else {})
    chosen = next((each for each in found if each.entry.name == wanted), found[0] if found else None)
    return {
        "fit_model": row,
        "fits": [(each, _findings(each)) for each in found],
        "chosen": chosen,
        "automatic": not wanted,
        "memory": _memory(chosen),
        "recipe": str(given.get("recipe", "")),
    }


def _findings(each: Fit) -> list[tuple[Any, Any]]:
    return [(finding, console.badge(WORDS[finding.level], TONES[finding.level])) for finding in each.findings]


def _options(given: Mapping[str, Any], runtime: str) -> dict[str, Any]:
    """The options as the form's fields have them; what was left empty is left out."""
    prefix = f"option__{runtime}__"
    return {
        name.removeprefix(prefix): _value(str(given[name]).strip())
        for name in given
        if name.startswith(prefix) and str(given[name]).strip()
    }


def _value(text: str) -> Any:
    if text[0] not in "[{":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # the runtime's own validation says what is wrong with it


def _memory(chosen: Fit | None) -> dict[str, Any] | None:
    """The estimate against what is free, as shares of a bar."""
    if chosen is None or chosen.estimate is None:
        return None
    host = this_host()
    estimate = chosen.estimate
    gpu = estimate.device == "gpu"
    free = sum(each.memory_free for each in host.gpus) if gpu else host.memory_available
    most = max(estimate.high, free) or 1
    return {
        "estimate": estimate,
        "where": "on the GPUs" if gpu else "in memory",
        "gpus": host.gpus,
        "available": free,
        "low": estimate.low / most * 100,
        "likely": (estimate.likely - estimate.low) / most * 100,
        "high": (estimate.high - estimate.likely) / most * 100,
        "free": free / most * 100,
        "fits": estimate.likely <= free,
    }
