"""The card on top of every tab when something went wrong: what happened, why, and the button that mends it."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.deployments.models import Deployment, Version
from apps.deployments.statuses import RETRIGGERABLE, Outcome, Status
from modelyard import console

DEPLOY = "deployments.deploy_deployment"
SIZE = frozenset({
    "out_of_memory", "gpu_out_of_memory", "kv_cache_too_small", "killed", "too_few_gpus", "no_gpu", "needs_gpu",
})  # fmt: skip
"""Failures that other hardware or options with less memory mend."""
OPTIONS = frozenset({
    "bad_options", "bad_argument", "bad_parser", "bad_adapter", "lora_rank", "quantization_unsupported", "remote_code",
    "attention_unsupported", "pooling_unsupported", "invalid_options", "not_convertible", "start_timeout", "too_slow",
    "context_too_long", "bad_command", "shard_start_failed", "body_too_large",
})  # fmt: skip
MODEL = frozenset({
    "graph_missing", "graph_invalid", "graph_unsupported", "external_data_missing", "tokenizer_invalid", "no_weights",
    "damaged_model", "model_incomplete", "no_gguf", "bad_model", "no_config", "wrong_format", "several_graphs",
    "inference_failed", "download_failed", "architecture_unsupported", "not_found",
})  # fmt: skip
"""Failures that lie in the model's files."""
RUNTIME = frozenset({
    "not_installed", "vllm_missing", "package_missing", "missing_package", "interpreter_missing", "engine_missing",
    "interpreter_unusable", "installation_incomplete", "unknown_runtime", "broken_runtime", "illegal_instruction",
    "processor", "no_container_daemon",
})  # fmt: skip
"""Failures of what the engine is installed with."""


@dataclass(frozen=True)
class Button:
    """What mends it: an address to go to, or one to send the page's form to after asking."""

    label: str
    address: str
    confirm: str = ""
    primary: bool = False

    @property
    def posts(self) -> bool:
        """Whether it does something at once."""
        return bool(self.confirm)


@dataclass(frozen=True)
class Card:
    """What went wrong."""

    title: str
    message: str
    next_step: str
    code: str
    at: Any
    buttons: list[Button]
    serving: bool = False


def card(request: HttpRequest, deployment: Deployment) -> Card | None:
    """The failure that a deployment is in, or that of a newer version while an older one goes on serving."""
    if deployment.status == Status.FAILED:
        title = _("It has failed, and takes no calls.")
        code = deployment.failure_code
        cause = deployment.failure or _("Its engine could not be brought up.")
        step = deployment.next_step or _("Look at the end of the log, then re-trigger it.")
        buttons = _buttons(request, deployment, _cause(deployment, code))
        return Card(title, cause, step, code, deployment.status_at, buttons)
    failed = _newest_failed(deployment)
    if failed is None:
        return None
    live = deployment.live_version
    event = deployment.events.filter(code="rolled_back", at__gte=failed.started_at or failed.created_at).first()
    title = _("%(failed)s failed; %(live)s goes on serving.") % {"failed": failed, "live": live}
    step = (event.next_step if event else "") or _("Look at the log, then re-deploy with other settings.")
    code = str(event.detail.get("cause", event.code)) if event else ""
    at = failed.ended_at or failed.created_at
    return Card(title, failed.reason, step, code, at, _buttons(request, deployment, code), serving=True)


def _newest_failed(deployment: Deployment) -> Version | None:
    """A version that failed beside the one that serves, if nothing newer was made since."""
    live = deployment.live_version
    if deployment.status != Status.DEPLOYED or live is None:
        return None
    newest = deployment.versions.order_by("-number").first()
    failed = newest is not None and newest.outcome == Outcome.FAILED and newest.number > live.number
    return newest if failed else None


def _cause(deployment: Deployment, code: str) -> str:
    """A crash loop's cause is that of its last death."""
    if code != "crash_loop":
        return code
    died = deployment.events.filter(code="engine_died").first()
    return str(died.detail.get("cause", code)) if died else code


def _buttons(request: HttpRequest, deployment: Deployment, code: str) -> list[Button]:
    """The one that mends this kind of failure comes first."""
    found = [*_mending(request, deployment, code), *_again(request, deployment, first=code not in KINDS)]
    found.sort(key=lambda button: not button.primary)
    logs = reverse("admin:deployments_deployment_logs", args=[deployment.pk])
    events = reverse("admin:deployments_deployment_events", args=[deployment.pk])
    return [*found, Button(_("Read the log"), logs), Button(_("Timeline"), events)]


def _mending(request: HttpRequest, deployment: Deployment, code: str) -> list[Button]:
    redeploy = reverse("admin:deployments_deployment_redeploy", args=[deployment.pk])
    if code in SIZE | OPTIONS and console.may(request, DEPLOY):
        label = _("Change hardware or options") if code in SIZE else _("Change the options")
        return [Button(label, redeploy, primary=True)]
    if code in MODEL:
        model = reverse("admin:models_model_change", args=[deployment.model_id])
        buttons = [Button(_("Open the model's report"), model)]
        if console.may(request, "models.import_model"):
            buttons.insert(0, Button(_("Import it again"), reverse("admin:models_model_import"), primary=True))
        return buttons
    if code in RUNTIME:
        return [Button(_("Look at the runtimes"), reverse("admin:runtimes"), primary=True)]
    return []


def _again(request: HttpRequest, deployment: Deployment, *, first: bool) -> list[Button]:
    if deployment.status not in RETRIGGERABLE or not console.may(request, DEPLOY):
        return []
    address = reverse("admin:deployments_deployment_do", args=[deployment.pk, "retrigger"])
    confirm = _("Re-trigger it? It is deployed again with the configuration it has.")
    return [Button(_("Re-trigger"), address, confirm, primary=first)]


KINDS = SIZE | OPTIONS | MODEL | RUNTIME
