"""The part of the wizard that says which runtimes can serve the chosen model here, and what it will need."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST

from apps.deployments.fit import Fit
from apps.deployments.model_fit import TONES, WORDS
from apps.deployments.models import Draft
from apps.deployments.wizard.state import Step, Wizard
from modelyard import console
from modelyard.launchers.host import this_host


@require_POST
def fragment(request: HttpRequest) -> HttpResponse:
    """For what a step of a draft has now; nothing is changed."""
    console.require(request, "deployments.view_deployment")
    draft = get_object_or_404(Draft, pk=request.POST.get("draft", ""), owner=console.person(request))
    step = Step(request.POST["step"]) if request.POST.get("step") in Step.values else Step.GENERAL
    draft.values = {**draft.values, **Wizard(draft).read(step, request.POST)}
    return render(request, f"deployments/wizard/fit_{step}.html", context(Wizard(draft), step))


def context(wizard: Wizard, step: Step) -> dict[str, Any]:
    """What the part shows for what has been given so far."""
    if wizard.model is None:
        return {"fit_model": None}
    found = wizard.fits()
    wanted = str(wizard.values.get("runtime", ""))
    automatic = wizard.automatic if step == Step.GENERAL or not wanted else ""
    chosen = next((each for each in found if each.entry.name == wizard.runtime), None)
    return {
        "fit_model": wizard.model,
        "fits": [(each, _findings(each)) for each in found],
        "wanted": wanted,
        "automatic": next((each for each in found if each.entry.name == automatic), None),
        "chosen": chosen,
        "chosen_findings": _findings(chosen) if chosen else [],
        "memory": memory(chosen, str(wizard.values.get("replicas", ""))),
    }


def _findings(each: Fit) -> list[tuple[Any, Any]]:
    return [(finding, console.badge(str(WORDS[finding.level]), TONES[finding.level])) for finding in each.findings]


def memory(chosen: Fit | None, replicas: str) -> Mapping[str, Any] | None:
    """The estimate against what is free now, as shares of a bar of 1000."""
    if chosen is None or chosen.estimate is None:
        return None
    host = this_host()
    estimate = chosen.estimate
    gpu = estimate.device == "gpu"
    count = int(replicas) if replicas.isdecimal() and 0 < len(replicas) < 3 else 1
    free = sum(each.memory_free for each in host.gpus) if gpu else host.memory_available
    low, likely, high = (part * count for part in (estimate.low, estimate.likely, estimate.high))
    most = max(high, free) or 1
    share = {name: round(value / most * 1000) for name, value in
             (("low", low), ("likely", likely), ("high", high), ("free", free))}  # fmt: skip
    return {
        "estimate": estimate,
        "replicas": count,
        "low": low, "likely": likely, "high": high,
        "gpu": gpu,
        "gpus": host.gpus,
        "cpus": host.cpus,
        "total": sum(each.memory_total for each in host.gpus) if gpu else host.memory_total,
        "available": free,
        "share": {**share, "mark": min(share["free"], 997)},
        "fits": likely <= free,
        "surely": high <= free,
    }  # fmt: skip
