"""What people do with a deployment in the admin: thin callers of the operations."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.apikeys import operations as apikeys
from apps.deployments import operations
from apps.deployments.tabs.frame import DEPLOY, curl_line, find, page
from apps.deployments.tabs.snippets import HOLDER
from modelyard import console
from modelyard.problems import Problem
from modelyard.serving import base_url

__all__ = ["curl", "curl_line", "do", "find", "page"]
KEY_DAYS = 30  # that a key made for a copied cURL lives
VERBS: dict[str, tuple[str, Callable[..., Any], str | Promise]] = {
    "deploy": (DEPLOY, operations.deploy, _("%(name)s is being deployed.")),
    "retrigger": (DEPLOY, operations.retrigger, _("%(name)s is being deployed again.")),
    "undeploy": ("deployments.undeploy_deployment", operations.undeploy, _("%(name)s is being undeployed.")),
    "delete": ("deployments.delete_deployment", operations.delete, _("%(name)s was deleted.")),
}


@console.posted("admin:deployments_deployment_detail", "pk")
def do(request: HttpRequest, pk: str, verb: str) -> HttpResponse:
    """Deploy, re-trigger, undeploy or delete."""
    deployment = find(request, pk)
    if verb not in VERBS:
        raise Http404
    permission, operation, done = VERBS[verb]
    console.require(request, permission)
    said = str(done) % {"name": deployment.name}
    worked = console.attempt(request, lambda: operation(deployment, by=console.person(request)), said)
    listed = reverse("admin:deployments_deployment_changelist")
    if verb == "delete" and worked:
        return redirect(listed)
    return console.back(request, reverse("admin:deployments_deployment_detail", args=[pk]))


@require_http_methods(["GET", "POST"])
@never_cache
def curl(request: HttpRequest, pk: str) -> JsonResponse:
    """A cURL: with a placeholder for the key, or (POST) with a fresh key that is shown this once."""
    deployment = find(request, pk)
    if request.method == "POST" and not console.may(request, "apikeys.add_apikey"):
        return JsonResponse({"error": gettext("You may not create keys: copy it with $MODELYARD_API_KEY.")}, status=403)
    try:
        # Also before a key is made: where nothing can be called, one that nobody sees would be left.
        line = operations.curl(deployment, HOLDER, base_url(request))
        if request.method == "GET":
            return JsonResponse({"curl": line})
        expires_at = timezone.now() + timedelta(days=KEY_DAYS)
        _, key = apikeys.create(
            deployment=deployment, name=f"cURL of {request.user}", by=console.person(request), expires_at=expires_at
        )
        line = operations.curl(deployment, key, base_url(request))
    except Problem as problem:
        return JsonResponse({"error": str(problem)}, status=problem.status)
    return JsonResponse({"curl": line, "days": KEY_DAYS})
