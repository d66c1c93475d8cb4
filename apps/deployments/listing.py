"""How a deployment is shown in a list: its status with what is being done, and the buttons that make sense now."""

from collections.abc import Iterable
from typing import Any

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.deployments.models import Deployment, Event
from apps.deployments.statuses import RETRIGGERABLE, WORKING, Desired, Status
from modelyard import console, moments

TONES = {
    Status.DEPLOYED: "good", Status.DEPLOYING: "busy", Status.OPTIMIZING: "busy", Status.FAILED: "bad",
    Status.STOPPED: "calm", Status.READY_TO_DEPLOY: "calm",
}  # fmt: skip
WORDS = {
    Status.DEPLOYED: _("Deployed"), Status.DEPLOYING: _("Deploying"), Status.OPTIMIZING: _("Optimizing"),
    Status.FAILED: _("Failed"), Status.STOPPED: _("Stopped"), Status.READY_TO_DEPLOY: _("Ready to Deploy"),
}  # fmt: skip
"""The statuses for people who read; the API's are not translated."""
LONGEST = 70  # letters of a stage or a cause in a row


def status_of(deployment: Deployment, progress: int | None = None, *, cause: bool = True) -> SafeString:
    """The status as a badge, with what is being done below it, how far it is, and since when.

    `cause`: also why it failed; a page that tells that at length does without.
    """
    status = Status(deployment.status)
    draining = status == Status.DEPLOYED and deployment.desired == Desired.STOPPED
    badge = console.badge(str(WORDS[status]), "busy" if draining else TONES[status])
    return format_html(
        '{}<span class="my-below">{}{}</span>{}', badge, _below(deployment, status, cause=cause),
        moments.moment(deployment.status_at, "relative"), _bar(progress if status in WORKING else None),
    )  # fmt: skip


def _below(deployment: Deployment, status: Status, *, cause: bool) -> SafeString:
    waits = gettext("Waits for accept or reject") if deployment.waits_for_decision else ""
    words = deployment.stage or waits or (deployment.failure if cause and status == Status.FAILED else "")
    shown = words if len(words) < LONGEST else words[: LONGEST - 2] + "…"
    return format_html('<span title="{}">{}</span> · ', words, shown) if words else mark_safe("")


def _bar(progress: int | None) -> SafeString:
    if progress is None:
        return mark_safe("")
    return format_html(
        '<progress class="my-progress" max="100" value="{0}" aria-label="{1}">{0} %</progress>',
        progress,
        gettext("Progress"),
    )


def progress_of(deployments: Iterable[Deployment]) -> dict[str, int]:
    """How far each of those that are worked on is, in percent, where its stage says so: one query."""
    working = [each.pk for each in deployments if each.status in WORKING]
    if not working:
        return {}
    newest = Event.objects.filter(deployment=OuterRef("pk")).order_by("-id").values("progress")[:1]
    rows = Deployment.objects.filter(pk__in=working).annotate(percent=Subquery(newest)).order_by()
    return {pk: percent for pk, percent in rows.values_list("pk", "percent") if percent is not None}


def live_state(deployment: Deployment, request: HttpRequest, progress: int | None = None) -> dict[str, Any]:
    """What the page shows of a deployment now, what is said when it changes, and whether it is moving."""
    moving = deployment.status in WORKING or bool(deployment.stage)
    words = WORDS[Status(deployment.status)]
    return {"status": status_of(deployment, progress), "actions": actions_of(deployment, request), "moving": moving,
            "word": deployment.status, "said": f"{deployment.name}: {words}"}  # fmt: skip


def actions_of(deployment: Deployment, request: HttpRequest) -> str:
    """The buttons of a row: only what makes sense now, and what this person may do."""
    may = console.person(request).has_perm
    context = {
        "deployment": deployment,
        "may_keys": may("apikeys.view_apikey"),
        "may_retrigger": deployment.status in RETRIGGERABLE and may("deployments.deploy_deployment"),
        "may_deploy": deployment.status == Status.READY_TO_DEPLOY
        and not deployment.waits_for_decision
        and may("deployments.deploy_deployment"),
        "may_decide": deployment.waits_for_decision and may("deployments.decide_deployment"),
    }
    return render_to_string("deployments/admin/row_actions.html", context)


def tag_links(names: Iterable[str]) -> SafeString:
    """Tags, each leading to the deployments that carry it."""
    listed = reverse("admin:deployments_deployment_changelist")
    links = format_html_join(
        "", '<a class="my-tag" href="{}?{}">{}</a>', ((listed, console.query(tag=name), name) for name in names)
    )
    return links or SafeString("—")
