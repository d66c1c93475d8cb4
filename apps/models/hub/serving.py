"""Which runtimes could serve what would be downloaded. The deployments answer; this side doesn't know them."""

from collections.abc import Callable
from dataclasses import dataclass

from apps.models.hub.preflight import Preflight


@dataclass(frozen=True)
class Answer:
    """What one runtime says: its name, whether it could, why not or what to mind, and bytes of memory if known."""

    runtime: str
    usable: bool
    findings: tuple[str, ...] = ()
    memory: int | None = None
    device: str = ""


_ask: list[Callable[[Preflight], list[Answer]]] = []


def answered_by(function: Callable[[Preflight], list[Answer]]) -> None:
    """Called once, when the deployments are set up."""
    _ask[:] = [function]


def answers(found: Preflight) -> list[Answer]:
    """Those that can first; nothing if nobody can say."""
    return _ask[0](found) if _ask and found.taken else []
