"""The Optimization page of a deployment: what each optimization cost and brought, and accept or reject."""

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.deployments import operations
from apps.deployments.models import Deployment, Proof
from apps.deployments.optimization import report
from apps.deployments.statuses import WORKING
from apps.deployments.tabs.frame import find, page
from modelyard import console

DECIDE = "deployments.decide_deployment"
DECISIONS: dict[str, tuple[Callable[..., Deployment], str | Promise]] = {
    "accept": (operations.accept, _("The optimization was accepted; it is being deployed.")),
    "reject": (operations.reject, _("The optimization was rejected.")),
}


def proofs(request: HttpRequest, pk: str) -> HttpResponse:
    """The reports, newest first."""
    deployment = find(request, pk)
    rows = Proof.objects.filter(version__deployment=deployment).select_related("version", "decided_by")
    waiting = deployment.undecided()
    shown = [
        {
            "proof": proof,
            "version": proof.version,
            "rows": report.rows(proof.report),
            "agreements": report.agreements(proof.report),
            "undecided": waiting is not None and waiting.pk == proof.version.pk,
        }
        for proof in rows.order_by("-version__number")[:20]
    ]
    may = console.may(request, DECIDE)
    context = {"proofs": shown, "may_decide": may and deployment.status not in WORKING, "not_allowed": not may}
    return page(request, deployment, "optimization", "optimization.html", context)


@console.posted("admin:deployments_deployment_optimization", "pk")
def decide(request: HttpRequest, pk: str, decision: str) -> HttpResponse:
    """Accept or reject the optimization that waits."""
    deployment = find(request, pk)
    if decision not in DECISIONS:
        raise Http404
    console.require(request, DECIDE)
    operation, done = DECISIONS[decision]
    console.attempt(request, lambda: operation(deployment, by=console.person(request)), str(done))
    return redirect("admin:deployments_deployment_optimization", pk)


def export(request: HttpRequest, pk: str, number: int, kind: str) -> HttpResponse:
    """A report as a file: JSON for a script, CSV for a spreadsheet."""
    deployment = find(request, pk)
    proof = get_object_or_404(Proof, version__deployment=deployment, version__number=number)
    name = f"{deployment.pk}-v{number}-proof.{kind}"
    headers: dict[str, Any] = {"Content-Disposition": f'attachment; filename="{name}"'}
    if kind == "csv":
        return HttpResponse(report.as_csv(proof.report), content_type="text/csv; charset=utf-8", headers=headers)
    return JsonResponse(proof.report, headers=headers, json_dumps_params={"indent": 2})
