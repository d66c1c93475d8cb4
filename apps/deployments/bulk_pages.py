"""The page that says what an action on several deployments would do, and does it."""

from collections.abc import Sequence

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.deployments import bulk
from apps.deployments.models import Deployment
from modelyard import console
from modelyard.problems import Problem

LISTED = 20  # names on the page and in a message
LIST = "admin:deployments_deployment_changelist"


def confirm(request: HttpRequest, name: str, rows: Sequence[Deployment]) -> HttpResponse:
    """What would happen to which, and the button that does it."""
    verb = bulk.VERBS[name]
    plan = bulk.plan(verb, rows)
    context = {
        **admin.site.each_context(request),
        "title": verb.title,
        "opts": Deployment._meta,
        "name": name,
        "verb": verb,
        "doing": plan.doing[:LISTED],
        "more": max(len(plan.doing) - LISTED, 0),
        "count": len(plan.doing),
        "skipped": plan.skipped[:LISTED],
        "more_skipped": max(len(plan.skipped) - LISTED, 0),
        "count_skipped": len(plan.skipped),
        "rows": rows,
        "tags": sorted({tag for row in rows for tag in row.tags}),
        "form_id": console.form_id(),
        "back": request.get_full_path(),
    }
    return TemplateResponse(request, "deployments/admin/bulk.html", context)


@console.posted(LIST)
def do(request: HttpRequest, name: str) -> HttpResponse:
    """Do it, as the deployments are now."""
    verb = bulk.VERBS.get(name)
    if verb is None:
        raise Http404
    console.require(request, verb.permission)
    tag = request.POST.get("tag", "").strip()
    if verb.takes_tag and not tag:
        messages.error(request, _("Nothing was done: there was no tag."))
    elif console.once(request):
        ids = request.POST.getlist("id")[: bulk.MOST]
        rows = Deployment.objects.filter(pk__in=ids).select_related("target_version", "model").order_by("name")
        try:
            _tell(request, verb, bulk.run(verb, rows, by=console.person(request), tag=tag))
        except Problem as problem:
            messages.error(request, str(problem))
    return console.back(request, str(redirect(LIST).url))


def _tell(request: HttpRequest, verb: bulk.Verb, done: bulk.Plan) -> None:
    if done.doing:
        messages.success(request, verb.done % {"n": len(done.doing)})
    if not done.skipped:
        return
    why = "; ".join(f"{deployment.name}: {reason}" for deployment, reason in done.skipped[:LISTED])
    count = len(done.skipped)
    said = ngettext("%(n)s was skipped: %(why)s", "%(n)s were skipped: %(why)s", count)
    messages.warning(request, said % {"n": count, "why": why if count <= LISTED else f"{why} …"})
