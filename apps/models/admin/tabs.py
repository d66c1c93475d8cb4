"""What all pages of one model share: its head with what can be done with it, and the tabs below."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.models import operations
from apps.models.adapters import bases
from apps.models.adapters.fitting import MENDED_BY_BASE
from apps.models.admin import progress
from apps.models.models import USABLE, WORKING, Model, Status
from apps.models.overrides import pages as overrides
from modelyard import console

TABS = (
    ("deployments", _("Deployments"), ""),
    ("card", _("Card"), "admin:models_model_change"),
    ("files", _("Files"), "admin:models_model_files"),
    ("report", _("Report"), "admin:models_model_report"),
    ("fit", _("Fit"), "admin:deployments_deployment_model_fit"),
    ("lineage", _("Licence and lineage"), "admin:models_model_lineage"),
    ("edit", _("Edit"), "admin:models_model_edit"),
)


def deployments_of(model: Model) -> str:
    """The address of a model's Deployments page."""
    return f"{reverse('admin:deployments_deployment_changelist')}?model__id__exact={model.pk}"


def find(request: HttpRequest, pk: str) -> Any:
    """The model with what its pages show; 403 for people who may not look, 404 for none."""
    console.require(request, "models.view_model")
    return get_object_or_404(Model.objects.for_head(), pk=pk)


def page(request: HttpRequest, model: Model, here: str, context: dict[str, Any], template: str = "") -> HttpResponse:
    """One tab of a model, as a page; its template is the tab's, unless another app brings one."""
    everything = {
        **admin.site.each_context(request),
        "title": model.name,
        "opts": Model._meta,
        "model": model,
        "here": here,
        **context,
    }
    return TemplateResponse(request, template or f"models/admin/{here}.html", everything)


def head(request: HttpRequest, model: Model, here: str) -> dict[str, Any]:
    """The head of all of a model's pages; buttons only for what makes sense now and this person may do."""
    may = console.person(request).has_perm
    hub = getattr(model, "hub_origin", None)
    may_import, usable = may("models.import_model"), model.status in USABLE
    return {
        "model": model,
        "here": here,
        "badge": console.badge(str(Status(model.status).label), progress.STATUS_TONES[Status(model.status)]),
        "tabs": _tabs(model, here, may),
        "working": model.status in WORKING,
        "cancels": model.status in WORKING - USABLE,
        "failure": progress.failure(model) if model.failure else None,
        "choose_base": may_import
        and model.status == Status.IMPORT_FAILED
        and operations.retryable(model)
        and model.failure_code in MENDED_BY_BASE,
        "bases": bases.offered() if model.failure_code in MENDED_BY_BASE else [],
        "override": overrides.context(request, model),
        "progress": progress.context(model),
        "live_url": reverse("admin:models_model_progress", args=[model.pk]) if here != "deployments" else "",
        "may_import": may_import,
        "may_delete": may("models.delete_model"),
        "may_deploy": usable and may("deployments.add_deployment"),
        "may_export": usable and may("models.export_model"),
        "may_pause": may_import and hub and model.status == Status.IMPORTING,
        "may_resume": may_import and model.status == Status.PAUSED,
        "may_cancel_update": may_import and model.status == Status.UPDATING,
        "may_update": may_import and hub and model.status == Status.READY,
    }


def _tabs(model: Any, here: str, may: Any) -> list[tuple[str, Any, bool, str]]:
    """Address, name, whether it is this one, and a number or word beside the name."""
    marks = {"deployments": str(model.deployment_count), "report": str(model.finding_count or "")}
    shown = {
        "deployments": may("deployments.view_deployment"),
        "fit": may("deployments.view_deployment") and model.status in USABLE,
        "edit": may("models.change_model") or may("models.delete_model"),
    }
    return [
        (reverse(address, args=[model.pk]) if address else deployments_of(model), label, name == here,
         marks.get(name, ""))
        for name, label, address in TABS
        if shown.get(name, True)
    ]  # fmt: skip


def hub_page(model: Model) -> str:
    """The address of the model's repository at the hub; empty where it isn't from there."""
    origin = getattr(model, "hub_origin", None)
    return f"{settings.HUB_ENDPOINT}/{origin.repository}" if origin else ""


def hub_files(model: Model) -> str:
    """The address below which the hub shows the files of the commit that is here."""
    origin = getattr(model, "hub_origin", None)
    return f"{hub_page(model)}/blob/{origin.commit}/" if origin else ""
