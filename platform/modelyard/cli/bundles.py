"""`modelyard bundle` and `modelyard import-bundle`: models carried to where there is no network."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.cli import output, setup
from modelyard.cli.output import Stop
from modelyard.problems import Problem

if TYPE_CHECKING:
    from apps.models.catalogue.shelf import Offer


def make(names: Sequence[str], target: Path) -> None:
    """Write the bundle. Stop, in one line, if it can't be made."""
    setup.prepare_django()
    with setup.using_database():
        from apps.deployments import portable
        from apps.models.bundles import making

        try:
            models = [portable.named(name) for name in dict.fromkeys(names)]
            items = [making.Item(model, portable.of_model(model)) for model in models]
            said = making.make(items, target.expanduser().absolute(), _Progress())
        except Problem as problem:
            raise Stop(str(problem)) from None
    output.step(f"{target} has {len(items)} model{'s' if len(items) > 1 else ''}")
    output.note("There: set MODELYARD_CATALOGUE to the folder, or run modelyard import-bundle.")
    output.plain(f"SHA-256 of its manifest: {said}")


class _Progress:
    """A line for each file that is begun."""

    def __init__(self) -> None:
        self.last = ""

    def __call__(self, path: str, _done: int) -> None:
        if path != self.last:
            self.last = path
            output.note(path)


def take(folder: Path, wanted: Sequence[str], sha256: str) -> int:
    """Import from the bundle; 1 if an import failed. Stop, in one line, if it can't be begun."""
    setup.prepare_django()
    with setup.using_database():
        try:
            offers = _offers(folder.expanduser().absolute(), wanted, sha256)
        except Problem as problem:
            raise Stop(str(problem)) from None
        failed = [offer for offer in offers if not _import(offer)]
    return 1 if failed else 0


def _offers(root: Path, wanted: Sequence[str], sha256: str) -> "list[Offer]":
    """What of a bundle is to be imported. A Problem if it isn't the one that was meant, or can't be used."""
    from apps.models.bundles import manifest
    from apps.models.catalogue.reading import read
    from apps.models.catalogue.shelf import Offer

    try:
        whole = manifest.load(root)
        found = hashlib.sha256((root / manifest.NAME).read_bytes()).hexdigest()
        listed = hashlib.sha256((root / manifest.CATALOGUE).read_bytes()).hexdigest()
    except manifest.Broken as error:
        raise Problem("broken_bundle", f"{root} is no bundle that can be used: {error}.", "Copy it again.") from None
    except OSError as error:
        raise Problem(
            "broken_bundle", f"{error.filename} can't be read ({error.strerror}).", "Copy it again."
        ) from None
    if sha256 and found != sha256.strip().lower():
        step = "Don't import it: ask for it again where it was made."
        raise Problem("other_bundle", f"The manifest's SHA-256 is {found}, not the one you gave.", step)
    if listed != whole.catalogue.sha256:
        said = f"{manifest.CATALOGUE} isn't the manifest's: its SHA-256 is another."
        raise Problem("broken_bundle", said, "Copy it again.")
    entries, mistakes = read(root / manifest.CATALOGUE)
    if mistakes:
        raise Problem("broken_bundle", f"{mistakes[0]}.", "Make the bundle again.")
    offers = {entry.id: Offer(entry, root / manifest.CATALOGUE, root) for entry in entries if entry.directory}
    missing = [name for name in wanted if name not in offers]
    if missing:
        raise Problem("unknown_model", f"The bundle has no model {missing[0]!r}.", f"It has {', '.join(offers)}.")
    return [offers[name] for name in wanted or offers]


def _import(offer: "Offer") -> bool:
    """One model, here and now, as a worker would; true if it is Ready."""
    from apps.models import pipeline
    from apps.models.catalogue import operations
    from apps.models.models import Model, Status

    started = time.monotonic()
    model = Model.objects.filter(name=offer.entry.name).first()
    if model is not None and model.status == Status.READY:
        output.note(f"{model.name} is there already ({model.pk})")
        return True
    try:
        model = model or operations.begin(offer, by=None)
        if model.status == Status.IMPORT_FAILED:
            operations.again(model, offer, by=None)
    except Problem as problem:
        output.fail(str(problem))
        return False
    pipeline.run(model.pk)
    model.refresh_from_db()
    if model.status == Status.IMPORT_FAILED:
        output.fail(f"{model.name} ({model.failure_code}): {model.failure} {model.next_step}")
    elif model.status == Status.READY:
        output.step(f"{model.name} is Ready ({model.pk})", started)
    else:
        output.warn(f"{model.name} is being imported by a worker; look at the list of models")
    return model.status == Status.READY
