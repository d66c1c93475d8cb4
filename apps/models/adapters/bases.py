"""Which of the models here an adapter is for."""

from django.db.models import Q

from apps.models.models import USABLE, Format, Kind, Model, Status
from modelyard.language import english
from modelyard.problems import Problem


def offered() -> list[Model]:
    """What an adapter can be served on, with where it came from."""
    rows = Model.objects.filter(kind=Kind.BASE, status__in=USABLE, format=Format.SAFETENSORS)
    return list(rows.select_related("hub_origin").order_by("name"))


def chosen(wanted: str) -> Model | None:
    """The base that somebody chose by its ID or name; None for none. A Problem if it can't be one."""
    if not wanted:
        return None
    rows = Model.objects.filter(Q(pk=wanted) | Q(name=wanted)) if wanted.isprintable() else Model.objects.none()
    found: Model | None = min(rows, key=lambda row: row.pk != wanted, default=None)  # an ID before a name
    if found is None:
        step = "Choose one of the models that are here."
        raise Problem("unknown_model", f"There is no model {wanted!r:.120}.", step, status=400)
    if reason := unfit(found):
        raise Problem("invalid_base", reason, "Choose a base model with safetensors weights that is Ready.", status=400)
    return found


def unfit(base: Model) -> str:
    """Why it can't be anybody's base; empty if it can."""
    if base.kind != Kind.BASE:
        return f"{base.name} is an adapter itself."
    if base.status not in USABLE:
        return f"{base.name} isn't Ready: its import is {english(Status(base.status).label).lower()}."
    if base.format != Format.SAFETENSORS:
        return f"{base.name} has no safetensors weights, and adapters are served on those only."
    return ""


def named(name: str) -> Model | None:
    """The model here that an adapter means by the name of a repository or a model; None if that isn't clear."""
    if not name:
        return None
    rows = offered()
    wanted = name.rstrip("/").casefold()
    short = wanted.rsplit("/", 1)[-1]
    by_repository = [row for row in rows if _repository(row) == wanted]
    by_name = [row for row in rows if row.name.casefold() in {wanted, short}]
    found = by_repository or by_name or [row for row in rows if _repository(row).rsplit("/", 1)[-1] == short]
    return found[0] if len(found) == 1 else None


def _repository(row: Model) -> str:
    origin = getattr(row, "hub_origin", None)
    return origin.repository.casefold() if origin else ""
