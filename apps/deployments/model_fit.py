"""The Fit tab of a model's page: who can serve it on this machine, and with what memory."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from apps.deployments import fit
from apps.deployments.fit import Fit
from apps.models.admin import tabs
from modelyard import console
from modelyard.launchers.host import this_host
from modelyard.runtimes import Host, Level

TONES = {Level.BLOCK: "bad", Level.WARN: "warn", Level.INFO: "calm"}
WORDS = {Level.BLOCK: _("blocks"), Level.WARN: _("mind"), Level.INFO: _("note")}


@dataclass(frozen=True)
class Answer:
    """What one runtime says, as the page shows it."""

    fit: Fit
    findings: list[tuple[Any, Any]]
    memory: "Memory | None"


@dataclass(frozen=True)
class Memory:
    """An estimate beside what is free, in bytes and as shares of a bar of 100."""

    estimate: Any
    free: int
    low: float
    likely: float
    high: float
    free_at: float

    @property
    def fits(self) -> bool:
        """Is there probably enough of it?"""
        return bool(self.estimate.likely <= self.free)


def of_model(request: HttpRequest, pk: str) -> HttpResponse:
    """Every runtime on this model, those that can serve it first."""
    console.require(request, "deployments.view_deployment")
    model = tabs.find(request, pk)
    host = this_host()
    context = {
        "answers": [_answer(each, host) for each in fit.fits(model)],
        "host": host,
        "may_deploy": console.may(request, "deployments.add_deployment"),
    }
    return tabs.page(request, model, "fit", context, "deployments/admin/model_fit.html")


def _answer(each: Fit, host: Host) -> Answer:
    badges = [(finding, console.badge(str(WORDS[finding.level]), TONES[finding.level])) for finding in each.findings]
    return Answer(each, badges, _memory(each.estimate, host))


def _memory(estimate: Any, host: Host) -> Memory | None:
    if estimate is None:
        return None
    free = sum(gpu.memory_free for gpu in host.gpus) if estimate.device == "gpu" else host.memory_available
    most = max(estimate.high, free) or 1
    low, likely, high = (size / most * 100 for size in (estimate.low, estimate.likely, estimate.high))
    return Memory(estimate, free, low, likely, high, free / most * 100)
