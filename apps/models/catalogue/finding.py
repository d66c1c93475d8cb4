"""The catalogue's filters: for its page and for the API alike."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.utils.translation import gettext_lazy as _

from apps.models.catalogue import memory
from apps.models.catalogue.schema import Task
from apps.models.catalogue.shelf import Offer
from modelyard.runtimes import Host

SIZES = {
    "tiny": (0, 1e9), "small": (1e9, 5e9), "medium": (5e9, 20e9), "large": (20e9, float("inf")),
}  # fmt: skip
"""Parameters, from and below."""
SIZE_WORDS = {
    "tiny": _("under 1 billion"), "small": _("1 to 5 billion"), "medium": _("5 to 20 billion"),
    "large": _("20 billion and more"),
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What somebody looks for; empty is anything."""

    search: str = ""
    task: str = ""
    licence: str = ""
    runtime: str = ""
    size: str = ""
    here: bool = False
    local: bool = False
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.search.casefold().split()))


def matching(offers: Iterable[Offer], wanted: Wanted, host: Host) -> list[Offer]:
    """The offers that are wanted."""
    return [offer for offer in offers if _matches(offer, wanted, host)]


def _matches(offer: Offer, wanted: Wanted, host: Host) -> bool:
    entry = offer.entry
    plain = (
        wanted.task in ("", entry.task)
        and wanted.licence in ("", entry.licence.value if entry.licence else None)
        and wanted.runtime in ("", entry.runtime)
        and (not wanted.local or offer.bundle is not None)
    )
    return plain and _sized(offer, wanted.size) and _found(offer, wanted) and (
        not wanted.here or memory.fits(entry, host) is True
    )  # fmt: skip


def _sized(offer: Offer, size: str) -> bool:
    if not size:
        return True
    low, high = SIZES.get(size, (0, 0))
    return offer.entry.parameters is not None and low <= offer.entry.parameters.value < high


def _found(offer: Offer, wanted: Wanted) -> bool:
    entry = offer.entry
    said = " ".join((entry.id, entry.name, entry.summary, entry.repository, entry.task, *entry.languages)).casefold()
    return all(word in said for word in wanted.words)


def choices(offers: Iterable[Offer]) -> dict[str, list[str]]:
    """What there is to choose from: tasks, licences and runtimes that occur."""
    found = list(offers)
    tasks = {offer.entry.task for offer in found}
    return {
        "tasks": [str(task) for task in Task if task in tasks],
        "licences": sorted({offer.entry.licence.value for offer in found if offer.entry.licence}, key=str.casefold),
        "runtimes": sorted({offer.entry.runtime for offer in found if offer.entry.runtime}),
    }
