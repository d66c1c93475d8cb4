"""What the command search (Ctrl+K) finds: pages, deployments, models and keys that this person may see."""

import time
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from unfold.dataclasses import SearchResult

from apps.apikeys.models import ApiKey
from apps.deployments.listing import WORDS
from apps.deployments.models import Deployment
from apps.deployments.statuses import Status
from apps.models.models import Model
from modelyard import console

A_PAGE = 100
MOST = 8  # of each kind
SHORT = 2  # letters from which on names are looked through


def answer(request: HttpRequest) -> HttpResponse:
    """In the place of unfold's own view, which keeps what it found for minutes, whatever is made or deleted since."""
    text, begun = request.GET.get("s", "").strip(), time.monotonic()
    if not text:
        return HttpResponse()
    pages = Paginator(found(request, text), A_PAGE)
    page = pages.get_page(request.GET.get("page"))
    context = {
        "search_term": text, "page_obj": pages, "results": page, "page_counter": page.start_index() - 1,
        "execution_time": time.monotonic() - begun, "command_show_history": False,
    }  # fmt: skip
    return TemplateResponse(request, "unfold/helpers/command_results.html", context, headers={"HX-Trigger": "search"})


def found(request: HttpRequest, text: str) -> list[SearchResult]:
    """Pages first, then what carries the text in its name, or has it as its ID."""
    results = list(_pages(request, text.lower()))
    if len(text) < SHORT:
        return results
    for permission, find in (
        ("deployments.view_deployment", _deployments),
        ("models.view_model", _models),
        ("apikeys.view_apikey", _keys),
    ):
        if console.may(request, permission):
            results += find(text)
    return results


def _pages(request: HttpRequest, text: str) -> Iterator[SearchResult]:
    """What the sidebar leads to, and what can be begun."""
    more = [
        (_("Deploy a model"), "admin:deployments_deployment_add", "rocket_launch", "deployments.add_deployment"),
        (_("Import a model from a file"), "admin:models_model_import", "folder_zip", "models.import_model"),
        (_("Import a model from Hugging Face"), "admin:models_model_hub", "cloud_download", "models.import_model"),
        (_("Platform hosted models"), "admin:models_model_catalogue", "storefront", "models.import_model"),
    ]
    site: Any = admin.site
    for group in site.get_sidebar_list(request):
        for item in group["items"]:
            if item["has_permission"] and text in str(item["title"]).lower():
                yield SearchResult(str(item["title"]), _("Page"), str(item["link"]), item["icon"])
    for title, name, icon, permission in more:
        if text in title.lower() and console.may(request, permission):
            yield SearchResult(title, _("Page"), reverse(name), icon)


def _named(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """As it was typed: SQLite takes only A to Z for the same in capitals and small."""
    return rows.filter(Q(pk=text.lower()) | Q(name__icontains=text)).order_by("name")[:MOST]


def _deployments(text: str) -> list[SearchResult]:
    return [
        SearchResult(row.name, f"{_('Deployment')} · {WORDS[Status(row.status)]}",
                     reverse("admin:deployments_deployment_detail", args=[row.pk]), "rocket_launch")
        for row in _named(Deployment.objects.all(), text)
    ]  # fmt: skip


def _models(text: str) -> list[SearchResult]:
    return [
        SearchResult(row.name, _("Model"), reverse("admin:models_model_change", args=[row.pk]), "deployed_code")
        for row in _named(Model.objects.all(), text)
    ]


def _keys(text: str) -> list[SearchResult]:
    return [
        SearchResult(row.name, _("Key of %(deployment)s") % {"deployment": row.deployment.name},
                     reverse("admin:deployments_deployment_key", args=[row.deployment_id, row.pk]), "key")
        for row in _named(ApiKey.objects.select_related("deployment"), text)
    ]  # fmt: skip
