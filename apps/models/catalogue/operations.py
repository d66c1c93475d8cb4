"""What people do with the catalogue's models: import one whose files are here, or be led to where they are."""

import logging
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.db import transaction
from django.urls import NoReverseMatch, reverse

from apps.models import operations
from apps.models.adapters import bases
from apps.models.bundles.models import BundleOrigin
from apps.models.catalogue.schema import Entry
from apps.models.catalogue.shelf import Offer, find
from apps.models.models import Model, Source
from modelyard.problems import Problem

HUB_PAGE = "admin:models_model_hub"
"""The page that imports from Hugging Face: takes `repository`, `revision`, `files` (repeated), `name` and `entry`."""
logger = logging.getLogger(__name__)


def start(entry_id: str, *, by: User | None, name: str = "") -> Model:
    """Import a model of the catalogue whose files lie in a bundle here; a worker does it."""
    model = begin(find(entry_id), by=by, name=name)
    operations.enqueue(model.pk)
    return model


def begin(offer: Offer, *, by: User | None, name: str = "") -> Model:
    """The model in Importing, with where its files are; nobody has been asked to do it yet."""
    entry = offer.entry
    if offer.bundle is None:
        step = "Import it from Hugging Face, or bring a bundle that has it (`modelyard bundle`)."
        raise Problem("not_here", f"The files of {entry.name} aren't on this machine.", step)
    with transaction.atomic():
        model = operations.begin(
            operations.name_of(f"{name or entry.name}.zip"), by=by, source=Source.PLATFORM_HOSTED,
            description=entry.summary, if_taken="Choose another name, or use the model that is there.",
            base_model=bases.named(entry.base_model),
        )  # fmt: skip
        BundleOrigin.objects.create(
            model=model, root=str(offer.bundle), directory=entry.directory, entry=entry.id,
            runtime=entry.runtime, options=entry.options,
        )  # fmt: skip
    logger.info("%s is imported from the bundle in %s by %s", model.name, offer.bundle, by or "the system")
    return model


def again(model: Model, offer: Offer, *, by: User | None) -> Model:
    """Import a failed one once more, from where the bundle is now."""
    BundleOrigin.objects.filter(model=model).update(root=str(offer.bundle), directory=offer.entry.directory)
    return operations.retry(model, by=by)


def hub_address(entry: Entry) -> str:
    """The page that imports an entry from Hugging Face, filled in; empty where there is no such page."""
    try:
        page = reverse(HUB_PAGE)
    except NoReverseMatch:
        return ""
    asked = [("repository", entry.repository), ("name", entry.name), ("entry", entry.id)]
    if entry.revision:
        asked.append(("revision", entry.revision.value))
    return f"{page}?{urlencode([*asked, *(('files', pattern) for pattern in entry.files)])}"


def download_command(entry: Entry) -> str:
    """How to fetch an entry by hand, on a machine with a network."""
    words = ["hf download", entry.repository]
    if entry.revision:
        words += ["--revision", entry.revision.value]
    words += [f"--include '{pattern}'" for pattern in entry.files]
    return " ".join([*words, "--local-dir", entry.id])
