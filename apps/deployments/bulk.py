"""Doing one thing to several deployments: what would happen to each, and doing it through the same verbs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from apps.deployments import operations
from apps.deployments.listing import WORDS
from apps.deployments.models import Deployment
from apps.deployments.statuses import IDLE, RETRIGGERABLE, WORKING, Desired, Status
from modelyard.problems import Problem

MOST = 500  # deployments at once: each is a transaction of its own, and a person waits
Text = str | Promise


def _status(deployment: Deployment) -> str:
    return gettext("it is %(status)s") % {"status": WORDS[Status(deployment.status)]}


def _retrigger(deployment: Deployment, _tag: str) -> str:
    return "" if deployment.status in RETRIGGERABLE else _status(deployment)


def _deploy(deployment: Deployment, _tag: str) -> str:
    if deployment.waits_for_decision:
        return gettext("its optimization waits for accept or reject")
    return "" if deployment.status == Status.READY_TO_DEPLOY else _status(deployment)


def _undeploy(deployment: Deployment, _tag: str) -> str:
    if deployment.status not in {*WORKING, Status.DEPLOYED}:
        return _status(deployment)
    return "" if deployment.desired == Desired.RUNNING else gettext("it is being undeployed already")


def _delete(deployment: Deployment, _tag: str) -> str:
    return "" if deployment.status in IDLE else _status(deployment)


def _add_tag(deployment: Deployment, tag: str) -> str:
    return gettext("it has the tag already") if tag and tag in deployment.tags else ""


def _remove_tag(deployment: Deployment, tag: str) -> str:
    return gettext("it hasn't the tag") if tag and tag not in deployment.tags else ""


def _tagged(deployment: Deployment, by: User, tag: str) -> None:
    operations.edit(deployment, by=by, seen={"tags": deployment.tags}, tags=[*deployment.tags, tag])


def _untagged(deployment: Deployment, by: User, tag: str) -> None:
    left = [each for each in deployment.tags if each != tag]
    operations.edit(deployment, by=by, seen={"tags": deployment.tags}, tags=left)


@dataclass(frozen=True)
class Verb:
    """Something that can be done to several deployments; `skips` says why one would be left out, nothing if not."""

    permission: str
    title: Text
    effect: Text
    button: Text
    done: Any  # ngettext_lazy's promise
    skips: Callable[[Deployment, str], str]
    run: Callable[[Deployment, User, str], Any]
    takes_tag: bool = False
    dangerous: bool = False


@dataclass
class Plan:
    """What would happen to each of several deployments."""

    doing: list[Deployment] = field(default_factory=list)
    skipped: list[tuple[Deployment, str]] = field(default_factory=list)


VERBS: dict[str, Verb] = {
    "retrigger": Verb(
        "deployments.deploy_deployment",
        _("Re-trigger the selected"),
        _(
            "They are deployed again with the configuration they have. Each starts an engine, and takes memory until "
            "it is undeployed."
        ),
        _("Re-trigger"),
        ngettext_lazy("%(n)s deployment is being deployed again.", "%(n)s deployments are being deployed again.", "n"),
        _retrigger,
        lambda deployment, by, _tag: operations.retrigger(deployment, by=by),
    ),
    "deploy": Verb(
        "deployments.deploy_deployment",
        _("Deploy the selected"),
        _("Each starts an engine, and takes memory until it is undeployed."),
        _("Deploy"),
        ngettext_lazy("%(n)s deployment is being deployed.", "%(n)s deployments are being deployed.", "n"),
        _deploy,
        lambda deployment, by, _tag: operations.deploy(deployment, by=by),
    ),
    "undeploy": Verb(
        "deployments.undeploy_deployment",
        _("Undeploy the selected"),
        _("New calls are refused at once with 409, running ones may finish, then the engines end. Keys stay."),
        _("Undeploy"),
        ngettext_lazy("%(n)s deployment is being undeployed.", "%(n)s deployments are being undeployed.", "n"),
        _undeploy,
        lambda deployment, by, _tag: operations.undeploy(deployment, by=by),
        dangerous=True,
    ),
    "tag": Verb(
        "deployments.change_deployment",
        _("Add a tag to the selected"),
        _("What they have stays, and the tag is added."),
        _("Add the tag"),
        ngettext_lazy("The tag was added to %(n)s deployment.", "The tag was added to %(n)s deployments.", "n"),
        _add_tag,
        _tagged,
        takes_tag=True,
    ),
    "untag": Verb(
        "deployments.change_deployment",
        _("Remove a tag from the selected"),
        _("Their other tags stay."),
        _("Remove the tag"),
        ngettext_lazy("The tag was removed from %(n)s deployment.", "The tag was removed from %(n)s deployments.", "n"),
        _remove_tag,
        _untagged,
        takes_tag=True,
    ),
    "delete": Verb(
        "deployments.delete_deployment",
        _("Delete the selected"),
        _("They are deleted with their keys, versions and history. Usage stays in the ledger. This can't be undone."),
        _("Delete"),
        ngettext_lazy("%(n)s deployment was deleted.", "%(n)s deployments were deleted.", "n"),
        _delete,
        lambda deployment, by, _tag: operations.delete(deployment, by=by),
        dangerous=True,
    ),
}


def plan(verb: Verb, deployments: Iterable[Deployment], tag: str = "") -> Plan:
    """Which would be done, and which left out and why, as they are now."""
    found = Plan()
    for deployment in deployments:
        reason = verb.skips(deployment, tag)
        if reason:
            found.skipped.append((deployment, reason))
        else:
            found.doing.append(deployment)
    return found


def run(verb: Verb, deployments: Iterable[Deployment], *, by: User, tag: str = "") -> Plan:
    """Do it to each that it can be done to; one that refuses doesn't hold up the others."""
    asked = plan(verb, deployments, tag)
    done = Plan(skipped=asked.skipped)
    for deployment in asked.doing:
        try:
            verb.run(deployment, by, tag)
        except Problem as problem:
            done.skipped.append((deployment, str(problem)))
        else:
            done.doing.append(deployment)
    return done
