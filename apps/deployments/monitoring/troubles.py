"""What is wrong with gateway and files, in words that say what to do: for `/readyz`, the admin, `modelyard doctor`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import Error as DatabaseError
from django.db.models import Sum
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from apps.deployments.monitoring import snapshots
from apps.deployments.monitoring.snapshots import Snapshot
from apps.deployments.usage.models import Gap
from apps.models.installation import operations as installation

LATELY = timedelta(hours=24)
SETTING = "MODELYARD_REDIS_AWAY_SECONDS"
FULL = 0.8  # of the ledger's buffer


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong: what in a few words, how much, and what to do."""

    name: str
    title: str
    message: str
    mend: str
    subject: str = "gateway"


def troubles() -> list[Trouble]:
    """What is wrong in the web processes of this data directory, or was lately."""
    alive = [each for each in snapshots.read(settings.RUN_DIR) if each.alive]
    return [*_redis(alive), *_buffers(alive), *_gaps(), *_files()]


def _redis(alive: Sequence[Snapshot]) -> Iterator[Trouble]:
    away = max((each.redis_away for each in alive), default=0.0)
    if away:
        message = (
            _("The gateway hasn't heard it for %(seconds)s s.") % {"seconds": f"{away:.0f}"} + f" {without_redis(away)}"
        )
        yield Trouble("redis", _("Redis is away."), message, _("Start it again, or check MODELYARD_REDIS_URL."))


def without_redis(away: float) -> str:
    """What becomes of calls once Redis was away for so many seconds: the operator's choice."""
    most = settings.REDIS_AWAY_SECONDS
    if away >= most:
        refused = _("Calls are refused with 503: they are served for %(most)s s without it (%(setting)s).")
        return refused % {"most": most, "setting": SETTING}
    left = _(
        "Calls are answered for another %(left)s s (%(setting)s is %(most)s), then refused with 503. Until then each "
        "web process counts limits by itself, so several together may let more pass."
    )
    return left % {"left": f"{most - away:.0f}", "setting": SETTING, "most": most}


def _buffers(alive: Sequence[Snapshot]) -> Iterator[Trouble]:
    for each in alive:
        ledger = each.content["ledger"]
        waiting, most, dropped = ledger["waiting"], ledger["most"], ledger["untold"]
        if waiting <= most * FULL:
            continue
        figures = {"process": each.process, "waiting": _grouped(waiting), "most": _grouped(most)}
        waits = _("In web process %(process)s %(waiting)s calls wait for the database, of at most %(most)s.")
        already = _("%(dropped)s were dropped already.") % {"dropped": _grouped(dropped)}
        lost = already if dropped else _("What comes beyond is dropped.")
        mend = _("See whether the database answers, and fast enough; MODELYARD_USAGE_BUFFER lets more wait.")
        yield Trouble("buffer", _("The usage ledger can't keep up."), f"{waits % figures} {lost}", mend)


def _gaps() -> Iterator[Trouble]:
    recent = Gap.objects.filter(at__gte=timezone.now() - LATELY).order_by()
    try:
        lost = dict(recent.values_list("reason").annotate(Sum("lost")))
    except DatabaseError:
        return
    reasons = []
    mends = []
    if lost.get("killed"):
        reasons.append(_("%(n)s because a web process was killed") % {"n": _grouped(lost["killed"])})
        mends.append(_("See in its log and the kernel's why it was killed; memory is the usual reason."))
    if lost.get("full"):
        reasons.append(_("%(n)s because too many waited for the database") % {"n": _grouped(lost["full"])})
        mends.append(_("See whether the database was away or slow; MODELYARD_USAGE_BUFFER lets more wait."))
    if reasons:
        message = _("Lost in the last 24 hours: %(reasons)s. Sums of usage are that much too low.")
        said = message % {"reasons": _(" and ").join(reasons)}
        yield Trouble("gaps", _("Calls are missing in the usage ledger."), said, " ".join(mends))


def _files() -> Iterator[Trouble]:
    """Models on disk that are another database's."""
    try:
        if not installation.another():
            return
        own = installation.own()
    except DatabaseError:
        return
    marker = installation.marker()
    message = _("%(marker)s names another installation than this database, so nothing there is cleaned up.")
    mend = _(
        "Point MODELYARD_DATABASE_URL at the database that these files belong to, or restore it. If they shall belong "
        "to this one, write %(own)s into that file; models that it doesn't know are set aside then."
    )
    title = _("The files of models belong to another database.")
    yield Trouble("files", title, message % {"marker": marker}, mend % {"own": own}, "files")


def _grouped(number: int) -> str:
    return number_format(number, force_grouping=True)
