"""The pages of the wizard: thin callers of the operations."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from apps.deployments import fitting, naming, operations, portable, runtimes
from apps.deployments.models import Deployment, Draft, Version
from apps.deployments.statuses import WORKING, Desired, Status
from apps.deployments.wizard import command, drafts, review
from apps.deployments.wizard.forms import StepForm
from apps.deployments.wizard.state import ORDER, Step, Wizard, said
from apps.models.models import USABLE, Model
from modelyard import console
from modelyard.problems import Problem
from modelyard.serving import base_url

ADD = "deployments.add_deployment"
DEPLOY = "deployments.deploy_deployment"
SKIP = "skip"  # from the first step to the review, by what the steps between are filled in with
CREATED = "created"  # what a sending of the review ends with, beside a problem


@require_GET
def add(request: HttpRequest) -> HttpResponse:
    """Begin with a new deployment; model and runtime may be chosen already."""
    if not Model.objects.filter(status__in=USABLE).exists():
        context = {**admin.site.each_context(request), "title": _("Deploy a model"), "opts": Deployment._meta}
        return TemplateResponse(request, "deployments/wizard/no_model.html", context)
    model = Model.objects.filter(pk=request.GET.get("model", ""), status__in=USABLE).first()
    draft = drafts.begin(model, console.person(request), request.GET.get("runtime", ""))
    return redirect(address(draft, Step.GENERAL))


def start(request: HttpRequest) -> HttpResponse:
    """The address that everything links to."""
    console.require(request, ADD)
    return add(request)


def again(request: HttpRequest, pk: str) -> HttpResponse:
    """Begin with the next version of a deployment; `?version=2` takes the values of that one."""
    console.require(request, DEPLOY)
    return _again(request, pk)


@require_GET
def _again(request: HttpRequest, pk: str) -> HttpResponse:
    deployment = _deployment(pk)
    entry = runtimes.registry().get(deployment.runtime)
    if entry is None or entry.runtime is None or deployment.target_version is None:
        problem = entry.problem if entry else _("it isn't installed")
        said = _("It can't be deployed again: its runtime, %(name)s, can't be used (%(problem)s).")
        messages.error(request, said % {"name": deployment.runtime, "problem": problem})
        return redirect("admin:deployments_deployment_detail", pk)
    version = _asked_version(request, deployment)
    draft = drafts.begin_again(deployment, console.person(request), version)
    if version is None:
        return redirect(address(draft, Step.GENERAL))
    messages.info(request, _("The values of %(version)s were filled in.") % {"version": version})
    return redirect(address(draft, Step.REVIEW))


def _asked_version(request: HttpRequest, deployment: Deployment) -> Version | None:
    """The version whose values are wanted; 404 for one that isn't there, or can't be."""
    asked = request.GET.get("version")
    if asked is None:
        return None
    number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 0
    found: Version = get_object_or_404(deployment.versions, number=number)
    return found


def _deployment(pk: str) -> Deployment:
    rows = Deployment.objects.select_related("model", "target_version__created_by", "live_version")
    found: Deployment = get_object_or_404(rows, pk=pk)
    return found


def address(draft: Draft, step: Step) -> str:
    """Of a step of a draft."""
    if draft.deployment_id:
        return reverse("admin:deployments_deployment_redeploy_step", args=[draft.deployment_id, draft.pk, step])
    return reverse("admin:deployments_deployment_add_step", args=[draft.pk, step])


@require_GET
def name(request: HttpRequest) -> JsonResponse:
    """Whether a new deployment can have a name, and a free one for a model."""
    console.require(request, ADD)
    model = Model.objects.filter(pk=request.GET.get("model", "")).first()
    try:
        naming.check(request.GET.get("name", ""))
        problem = ""
    except Problem as found:
        problem = f"{found.message} {found.next_step}"
    return JsonResponse({"problem": problem, "free": naming.free(model.name) if model else ""})


@require_http_methods(["GET", "POST"])
def step(request: HttpRequest, draft: str, step: str, pk: str = "") -> HttpResponse:
    """One step: shown, or taken and left for another."""
    console.require(request, DEPLOY if pk else ADD)
    row = get_object_or_404(
        Draft.objects.select_related("made", "owner"), pk=draft, owner=console.person(request), deployment=pk or None
    )
    if step not in Step.values:
        raise Http404
    if row.deployment_id:
        row.deployment = _deployment(row.deployment_id)
    if row.sent_at is not None:
        return _sent(request, row)
    at = Step(step)
    return _take(request, row, at) if request.method == "POST" else _show(request, Wizard(row), at)


def _sent(request: HttpRequest, draft: Draft) -> HttpResponse:
    """What was sent is done: a second click, or the browser's way back, changes nothing more."""
    made = draft.deployment_id or draft.made_id
    messages.info(request, _("This was sent already: here is what it made."))
    return redirect("admin:deployments_deployment_detail", made) if made else redirect(_list())


def _list() -> str:
    return reverse("admin:deployments_deployment_changelist")


def _take(request: HttpRequest, draft: Draft, at: Step) -> HttpResponse:
    """Keep what was typed, whatever comes of it; going on takes a valid step, going back doesn't."""
    go = request.POST.get("go", "")
    if go == "discard":
        draft.delete()
        return redirect(_list())
    drafts.keep(draft, Wizard(draft).read(at, request.POST))
    if go == "later":
        return _leave(request, draft)
    if at == Step.REVIEW and go in {"deploy", "save", "rebase", "restart"}:
        return _finish(request, Wizard(draft), go)
    wanted = _wanted(at, go)
    if ORDER.index(wanted) < ORDER.index(at):
        return redirect(address(draft, wanted))
    if at == Step.GENERAL and wanted != at:
        _fill(request, draft)
    wizard = Wizard(draft)
    form = wizard.checked(at)
    if wanted == at or (at != Step.REVIEW and not form.is_valid()):
        return _show(request, wizard, at, None if wanted == at else form)
    _pass(draft, at)
    if go == SKIP:
        _skip(draft)
    missing = next((each for each in ORDER[: ORDER.index(wanted)] if each not in draft.passed), wanted)
    return redirect(address(draft, missing))


def _leave(request: HttpRequest, draft: Draft) -> HttpResponse:
    """What was typed is kept; say where it is."""
    if draft.deployment_id:
        messages.info(request, _("What you typed is kept: Re-deploy offers to go on with it."))
        return redirect("admin:deployments_deployment_detail", draft.deployment_id)
    messages.info(request, _("What you typed is kept: Deploy a model offers to go on with it."))
    return redirect(_list())


def _wanted(at: Step, go: str) -> Step:
    place = ORDER.index(at)
    if go == SKIP:
        return Step.REVIEW
    if go == "back":
        return ORDER[max(place - 1, 0)]
    return Step(go) if go in Step.values else ORDER[min(place + 1, len(ORDER) - 1)]


def _fill(request: HttpRequest, draft: Draft) -> None:
    """A model that was chosen may bring a configuration. Before the look at it: it may replace what it can't have."""
    model = Wizard(draft).model
    if draft.deployment or model is None or model.status not in USABLE or draft.filled_from == model.pk:
        return
    if drafts.fill(draft, model):
        messages.info(request, _("What came with the model was filled in."))
    drafts.keep(draft, {})


def _pass(draft: Draft, at: Step) -> None:
    """A step was left with valid values."""
    draft.passed = [each for each in ORDER if each in {*draft.passed, at}]
    drafts.keep(draft, {})


def _skip(draft: Draft) -> None:
    """Pass what is valid as it stands; the first step that isn't is the one to see."""
    wizard = Wizard(draft)
    for each in ORDER[1:-1]:
        if not wizard.checked(each).is_valid():
            break
        draft.passed = [step for step in ORDER if step in {*draft.passed, each}]
    drafts.keep(draft, {})


def _show(request: HttpRequest, wizard: Wizard, at: Step, form: StepForm | None = None) -> HttpResponse:
    """The page of a step; `form` has what is wrong with it."""
    draft = wizard.draft
    deployment = wizard.deployment
    context = {
        **admin.site.each_context(request),
        "title": _("Re-deploy %(name)s") % {"name": deployment.name} if deployment else _("Deploy a model"),
        "opts": Deployment._meta,
        "deployment": deployment,
        "draft": draft,
        "wizard": wizard,
        "step": at,
        "steps": [(each, each == at, each in draft.passed) for each in ORDER],
        "number": ORDER.index(at) + 1,
        "form": form or wizard.form(at),
        "summary": said(form) if form else [],
        "stamp": draft.saved_at.isoformat() if draft.saved_at else "",
        "fit_url": reverse("admin:deployments_deployment_fit"),
        "may_deploy": console.may(request, DEPLOY),
        "kept": _kept(wizard),
    }
    if at == Step.GENERAL:
        context |= {"name_url": reverse("admin:deployments_deployment_add_name"), "others": _others(draft),
                    "suggested": _suggested(wizard)}  # fmt: skip
    if at in {Step.GENERAL, Step.PARAMETERS, Step.HARDWARE}:
        context |= fitting.context(wizard, at)
    if at == Step.REVIEW:
        context |= _review(request, wizard)
    return TemplateResponse(request, f"deployments/wizard/{at}.html", context)


def _others(draft: Draft) -> list[tuple[Draft, str]]:
    if draft.saved_at:
        return []
    return [(each, address(each, _left_at(each))) for each in drafts.unfinished(draft)]


def _left_at(draft: Draft) -> Step:
    """The first step that wasn't left with valid values."""
    return next((each for each in ORDER if each not in draft.passed), Step.REVIEW)


def _suggested(wizard: Wizard) -> str:
    """The name, if it is the one that the model suggests: then it may follow the choice of another."""
    name = str(wizard.draft.values.get("name", ""))
    return name if wizard.model and name == naming.free(wizard.model.name) else ""


def _kept(wizard: Wizard) -> portable.Prefilled | None:
    """What the values began with, for the page to say so."""
    if wizard.deployment or wizard.model is None or wizard.draft.filled_from != wizard.model.pk:
        return None
    return portable.prefilled(wizard.model)


def _review(request: HttpRequest, wizard: Wizard) -> dict[str, Any]:
    """Everything chosen and what it will do; or what is in the way."""
    troubles = [(each, address(wizard.draft, each), lines) for each, lines in wizard.troubles()]
    context: dict[str, Any] = {"troubles": troubles, "stale": _stale(wizard), "label": _steps(wizard)}
    if troubles:
        return context
    new = review.chosen(wizard)
    context |= {"planned": new, "recipe": wizard.recipe(), **fitting.context(wizard, Step.REVIEW)}
    context["api_call"] = review.api_call(wizard, new, base_url(request))
    context["titles"] = [(new.titles.get(name, name), review.shown(value)) for name, value in new.options.items()]
    if wizard.deployment:
        context |= _next_version(wizard.deployment, new)
    served = wizard.deployment.name if wizard.deployment else new.about["name"]
    try:
        options = review.options_to_run(wizard, new)
        model = runtimes.as_contract(new.model)
        context["preview"] = command.preview(new.runtime, new.plug, model, options, served)
    except Problem as problem:
        context["no_preview"] = problem
    return context


def _steps(wizard: Wizard) -> dict[str, str]:
    return {each.value: address(wizard.draft, each) for each in ORDER}


def _next_version(deployment: Deployment, new: review.Chosen) -> dict[str, Any]:
    old = deployment.live_version or deployment.target_version
    newest = deployment.versions.order_by("-number").first()
    return {
        "old": old,
        "next_number": newest.number + 1 if newest else 1,
        "differences": review.differences(old, new) if old else [],
        "serves": deployment.live_version is not None,
        "working": deployment.status in WORKING
        or (deployment.status == Status.DEPLOYED and deployment.desired == Desired.STOPPED),
    }


def _stale(wizard: Wizard) -> dict[str, Any] | None:
    """Another version than the one this draft starts from, with what it has otherwise."""
    deployment = wizard.deployment
    target = deployment.target_version if deployment else None
    if deployment is None or target is None or target.number == wizard.draft.base:
        return None
    base = Version.objects.filter(deployment=deployment, number=wizard.draft.base or 0).first()
    changed = review.between(base, target, wizard.plug) if base else []
    return {"version": target, "base": wizard.draft.base, "differences": changed}


def _finish(request: HttpRequest, wizard: Wizard, go: str) -> HttpResponse:
    """Deploy, save for later, or go on from a newer version."""
    draft = wizard.draft
    if go in {"rebase", "restart"}:
        return _rebase(wizard, restart=go == "restart")
    if go == "deploy":
        console.require(request, DEPLOY)
    elif wizard.deployment:
        raise PermissionDenied
    form = wizard.checked(Step.REVIEW)
    if wizard.troubles() or not form.is_valid():
        return _show(request, wizard, Step.REVIEW, form)
    try:
        made = _redeploy(wizard, wizard.deployment, request) if wizard.deployment else _create(wizard, request)
    except Problem as problem:
        draft.refresh_from_db()
        if draft.sent_at:
            return _sent(request, draft)
        if wizard.deployment:
            draft.deployment = _deployment(wizard.deployment.pk)
        if problem.code != "version_conflict":  # the page says more of that one
            form.add_error(None, f"{problem.message} {problem.next_step}".strip())
        return _show(request, Wizard(draft), Step.REVIEW, form)
    if made is None:
        draft.refresh_from_db()
        return _sent(request, draft)
    _tell(request, wizard, made, go)
    return redirect("admin:deployments_deployment_detail", made.pk)


def _tell(request: HttpRequest, wizard: Wizard, made: Deployment, go: str) -> None:
    person = console.person(request)
    if wizard.deployment:
        messages.success(request, _("The next version is being brought up."))
    elif go == "deploy":
        done = _("%(name)s is being deployed.") % {"name": made.name}
        console.attempt(request, lambda: operations.deploy(made, by=person), done)
    else:
        messages.success(request, _("%(name)s is Ready to Deploy.") % {"name": made.name})


def _claim(draft: Draft) -> bool:
    """Whether this sending is the first: of two clicks one waits for the other, and then finds it done."""
    return bool(Draft.objects.filter(pk=draft.pk, sent_at=None).update(sent_at=timezone.now()))


def _create(wizard: Wizard, request: HttpRequest) -> Deployment | None:
    new = review.chosen(wizard)
    with transaction.atomic():
        if not _claim(wizard.draft):
            return None
        made = operations.create(
            model=new.model, by=console.person(request), runtime=new.runtime, options=new.options,
            optimization=new.optimization, replicas=new.replicas, ready_seconds=new.ready_seconds,
            accepted_licence=new.model.licence, **new.about,
        )  # fmt: skip
        Draft.objects.filter(pk=wizard.draft.pk).update(made=made)
    return made


def _redeploy(wizard: Wizard, deployment: Deployment, request: HttpRequest) -> Deployment | None:
    new = review.chosen(wizard)
    with transaction.atomic():
        if not _claim(wizard.draft):
            return None
        return operations.redeploy(
            deployment, by=console.person(request), options=new.options, replicas=new.replicas,
            ready_seconds=new.ready_seconds, optimization=new.optimization, expected_version=wizard.draft.base,
        )  # fmt: skip


def _rebase(wizard: Wizard, *, restart: bool) -> HttpResponse:
    """Go on from the version that there is now, with what was typed, or with its own values."""
    draft, deployment = wizard.draft, wizard.deployment
    if deployment is not None and deployment.target_version is not None:
        draft.base = deployment.target_version.number
        if restart:
            draft.values, draft.passed = drafts.values_of(deployment.target_version, deployment), []
        draft.save(update_fields=["base", "values", "passed"])
    return redirect(address(draft, Step.GENERAL if restart else Step.REVIEW))
