"""What people do with a deployment in the admin, and the page that makes one: thin callers of the operations."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.apikeys import operations as apikeys
from apps.deployments import fit, fitting, operations, portable, runtimes
from apps.deployments.forms import DeployForm, RedeployForm
from apps.deployments.models import Deployment
from apps.deployments.tabs.frame import DEPLOY, curl_line, find, page
from apps.models.models import Model
from modelyard import console
from modelyard.problems import Problem
from modelyard.serving import base_url

__all__ = ["add", "curl", "curl_line", "do", "find", "page", "redeploy"]
KEY_DAYS = 30  # that a key made for a copied cURL lives
FIELDS = {
    "name_taken": "name", "invalid_name": "name", "invalid_tags": "tags", "model_not_ready": "model",
    "unknown_recipe": "recipe", "invalid_samples": "samples", "invalid_threshold": "threshold",
}  # fmt: skip
VERBS: dict[str, tuple[str, Callable[..., Any], str]] = {
    "deploy": (DEPLOY, operations.deploy, "{} is being deployed."),
    "retrigger": (DEPLOY, operations.retrigger, "{} is being deployed again."),
    "undeploy": ("deployments.undeploy_deployment", operations.undeploy, "{} is being undeployed."),
    "delete": ("deployments.delete_deployment", operations.delete, "{} was deleted."),
}


@require_POST
def do(request: HttpRequest, pk: str, verb: str) -> HttpResponse:
    """Deploy, re-trigger, undeploy or delete."""
    deployment = find(request, pk)
    if verb not in VERBS:
        return HttpResponse(status=404)
    permission, operation, done = VERBS[verb]
    console.require(request, permission)
    name = deployment.name
    worked = console.attempt(request, lambda: operation(deployment, by=console.person(request)), done.format(name))
    listed = reverse("admin:deployments_deployment_changelist")
    if verb == "delete" and worked:
        return redirect(listed)
    return console.back(request, reverse("admin:deployments_deployment_detail", args=[pk]))


@require_POST
def redeploy(request: HttpRequest, pk: str) -> HttpResponse:
    """Make the next version and bring it up beside the running one."""
    deployment = find(request, pk)
    console.require(request, DEPLOY)
    form = _redeploy_form(deployment, request.POST)
    there = redirect("admin:deployments_deployment_detail", pk)
    if form is None or not form.is_valid():
        wrong = (
            "; ".join(
                f"{form.fields[name].label}: {' '.join(map(str, errors))}" for name, errors in form.errors.items()
            )
            if form
            else ""
        )
        messages.error(request, f"The next version wasn't made. {wrong}".strip())
        return there
    console.attempt(
        request,
        lambda: operations.redeploy(
            deployment, by=console.person(request), options=form.options(deployment.runtime),
            replicas=form.cleaned_data["replicas"], ready_seconds=form.cleaned_data["ready_seconds"],
        ),
        "The next version is being brought up; the running one serves until it is ready.",
    )  # fmt: skip
    return there


@require_http_methods(["GET", "POST"])
@never_cache
def curl(request: HttpRequest, pk: str) -> JsonResponse:
    """A cURL: with a placeholder for the key, or (POST) with a fresh key that is shown this once."""
    deployment = find(request, pk)
    if request.method == "GET":
        return JsonResponse({"curl": curl_line(deployment, "$MODELYARD_API_KEY", request)})
    if not console.may(request, "apikeys.add_apikey"):
        return JsonResponse({"error": "You may not create keys: copy it with $MODELYARD_API_KEY."}, status=403)
    expires_at = timezone.now() + timedelta(days=KEY_DAYS)
    try:
        _, key = apikeys.create(
            deployment=deployment, name=f"cURL of {request.user}", by=console.person(request), expires_at=expires_at
        )
        line = operations.curl(deployment, key, base_url(request))
    except Problem as problem:
        return JsonResponse({"error": str(problem)}, status=problem.status)
    return JsonResponse({"curl": line, "days": KEY_DAYS})


def add(request: HttpRequest) -> HttpResponse:
    """Deploy a model."""
    console.require(request, "deployments.add_deployment")
    model = Model.objects.filter(pk=request.GET.get("model", "")).first()
    kept = portable.prefilled(model)
    initial = {"model": model, "name": _free_name(model), **(kept.initial if kept else {})}
    form = DeployForm(request.POST or None, initial=initial, values=kept.options if kept else {})
    may_deploy = console.may(request, DEPLOY)
    if request.method == "POST" and form.is_valid():
        made = _create(request, form)
        if made is not None:
            if "deploy" in request.POST and may_deploy:
                console.attempt(
                    request,
                    lambda: operations.deploy(made, by=console.person(request)),
                    f"{made.name} is being deployed.",
                )
            else:
                messages.success(request, f"{made.name} is Ready to Deploy.")
            return redirect("admin:deployments_deployment_detail", made.pk)
    context = {
        **admin.site.each_context(request),
        "title": "Deploy a model",
        "opts": Deployment._meta,
        "form": form,
        "may_deploy": may_deploy,
        "fit_url": reverse("admin:deployments_deployment_fit"),
        "kept": kept,
        **fitting.context(request.POST or {"model": model.pk if model else "", **(kept.given if kept else {})}),
        "no_model": not form.fields["model"].queryset.exists(),  # type: ignore[attr-defined]
    }
    return TemplateResponse(request, "deployments/admin/add.html", context)


def _create(request: HttpRequest, form: DeployForm) -> Deployment | None:
    values = form.cleaned_data
    try:
        runtime = values["runtime"] or fit.choose(values["model"])
        return operations.create(
            model=values["model"], name=values["name"], by=console.person(request), runtime=runtime,
            options=form.options(runtime) if values["runtime"] else {}, optimization=form.optimization(),
            description=values["description"],
            tags=values["tags"], replicas=values["replicas"], ready_seconds=values["ready_seconds"],
        )  # fmt: skip
    except Problem as problem:
        form.add_error(FIELDS.get(problem.code), str(problem))
        return None


def _free_name(model: Model | None) -> str:
    """A name for a deployment of this model that nobody has yet."""
    if model is None:
        return ""
    taken = set(Deployment.objects.filter(name__startswith=model.name[:90]).values_list("name", flat=True))
    name = model.name[:90].replace("/", "-")
    candidates = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next((candidate for candidate in candidates if candidate not in taken), "")


def _redeploy_form(deployment: Deployment, data: Any = None) -> RedeployForm | None:
    entry = runtimes.registry().get(deployment.runtime)
    version = deployment.target_version
    if version is None or entry is None or entry.runtime is None:
        return None
    initial = {
        "replicas": version.replicas_wanted, "ready_seconds": version.ready_seconds, "recipe": version.recipe,
        "threshold": version.threshold, "samples": version.samples,
    }  # fmt: skip
    form = RedeployForm(data, runtime=deployment.runtime, values=version.options, initial=initial)
    try:
        options = runtimes.options_of(entry.runtime, version.options)
    except Problem:
        return form
    form.offer(fit.recipes(deployment.model, deployment.runtime, options))
    return form
