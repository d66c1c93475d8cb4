"""Platform hosted in the admin: cards with filters, and a page of each model with all facts and their sources."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from apps.models.catalogue import memory, operations
from apps.models.catalogue.api import wanted
from apps.models.catalogue.finding import SIZE_WORDS, Wanted, choices, matching
from apps.models.catalogue.shelf import Offer, find, shelf
from apps.models.models import Model
from modelyard import console
from modelyard.launchers.host import this_host
from modelyard.problems import Problem
from modelyard.runtimes import Host

MAY = "models.import_model"


@dataclass(frozen=True)
class Card:
    """An offer as the pages show it."""

    offer: Offer
    size: str
    needs: str
    fits: bool | None

    @property
    def entry(self) -> Any:
        """What the catalogue says."""
        return self.offer.entry


def catalogue(request: HttpRequest) -> HttpResponse:
    """The cards of what is wanted."""
    console.require(request, MAY)
    host, everything = this_host(), shelf()
    try:
        asked = wanted(request.GET)
    except Problem as problem:
        messages.error(request, str(problem))
        asked = Wanted()
    found = matching(everything.offers, asked, host)
    context = {
        **admin.site.each_context(request),
        "title": _("Import a model"),
        "opts": Model._meta,
        "source": "catalogue",
        "cards": [_card(offer, host) for offer in found],
        "count": len(everything.offers),
        "asked": asked,
        "choices": choices(everything.offers),
        "sizes": SIZE_WORDS.items(),
        "room": filesizeformat(memory.room(host)),
        "gpus": bool(host.gpus),
        "mistakes": len(everything.mistakes),
        "any_here": any(offer.bundle for offer in everything.offers),
    }
    return TemplateResponse(request, "models/admin/catalogue.html", context)


def entry(request: HttpRequest, entry_id: str) -> HttpResponse:
    """One model; a POST imports it where its files are here."""
    console.require(request, MAY)
    try:
        offer = find(entry_id)
    except Problem as problem:
        raise Http404(str(problem)) from None
    if request.method == "POST":
        return _import(request, offer)
    host = this_host()
    context = {
        **admin.site.each_context(request),
        "title": offer.entry.name,
        "opts": Model._meta,
        "card": _card(offer, host),
        "facts": _facts(offer),
        "options": sorted(offer.entry.options.items()),
        "room": filesizeformat(memory.room(host)),
        "hub": operations.hub_address(offer.entry),
        "command": operations.download_command(offer.entry) if offer.entry.repository else "",
        "same": Model.objects.filter(name=offer.entry.name).first(),
        "form_id": console.form_id(),
    }
    return TemplateResponse(request, "models/admin/catalogue_entry.html", context)


def _import(request: HttpRequest, offer: Offer) -> HttpResponse:
    """To the page of the model, which shows how far its import is."""
    made: list[Model] = []
    by, name = console.person(request), request.POST.get("name", "")
    if console.once(request):
        console.attempt(request, lambda: made.append(operations.start(offer.entry.id, by=by, name=name)), "")
    if made:
        return redirect("admin:models_model_change", made[0].pk)
    return redirect("admin:models_model_catalogue_entry", offer.entry.id)


def _card(offer: Offer, host: Host) -> Card:
    parameters, needed = offer.entry.parameters, memory.least(offer.entry)
    return Card(
        offer,
        counted(parameters.value) if parameters else "",
        filesizeformat(needed.value) if needed else "",
        memory.fits(offer.entry, host),
    )


def counted(number: int) -> str:
    """A number of weights as people say it: 22.7 M, 7.61 B."""
    value, unit = (number / 1e9, "B") if number >= 1e9 else (number / 1e6, "M")
    return f"{value:.3g} {unit}"


def _facts(offer: Offer) -> list[tuple[str, str, str]]:
    """Each fact: what, how much, and where that is from; nothing where nobody said it."""
    entry, needed = offer.entry, memory.least(offer.entry)
    unpinned = _("not pinned: the newest is resolved") if entry.repository else ""
    rows: list[tuple[str, Any, str]] = [
        (_("Revision"), entry.revision, entry.revision.value if entry.revision else unpinned),
        (_("Parameters"), entry.parameters, f"{entry.parameters.value:,}" if entry.parameters else ""),
        (_("Weights are stored as"), entry.dtype, str(entry.dtype.value) if entry.dtype else ""),
        (_("Licence"), entry.licence, entry.licence.value if entry.licence else ""),
        (_("Its owner asks for an agreement"), entry.gated, _("yes") if entry.gated and entry.gated.value else ""),
        (
            _("Context length"),
            entry.context_length,
            _("%(count)s tokens") % {"count": f"{entry.context_length.value:,}"} if entry.context_length else "",
        ),
        (_("Least memory"), needed, filesizeformat(needed.value) if needed else ""),
    ]
    return [(name, said, figure.source if figure else "") for name, figure, said in rows if said]
