"""When windows begin: minutes by Redis' clock alone, days and months by the calendar of MODELYARD_TIME_ZONE."""

import time
from datetime import datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from django.conf import settings


class Period(Enum):
    """How long a window is."""

    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"


class Calendar:
    """The beginnings (seconds since the epoch) of the windows around now, for Redis to choose from."""

    def __init__(self) -> None:
        self.skew = 0.0  # seconds that Redis' clock is ahead of this process'
        self._known: dict[Period, tuple[int, ...]] = {}

    def around(self, period: Period) -> tuple[int, ...]:
        """Beginnings of the last, this, the next and the second next window; none for minutes."""
        if period is Period.MINUTE:
            return ()
        now = time.time() + self.skew
        known = self._known.get(period)
        if known is None or not known[1] <= now < known[2]:
            known = self._known[period] = beginnings(period, now)
        return known

    def left(self, period: Period) -> float:
        """Seconds of this window that are left, by this process' clock."""
        now = time.time() + self.skew
        return 60 - now % 60 if period is Period.MINUTE else self.around(period)[2] - now


def beginnings(period: Period, now: float) -> tuple[int, ...]:
    """Of the last, this, the next and the second next window, in the zone of the installation."""
    day = datetime.fromtimestamp(now, ZoneInfo(settings.TIME_ZONE)).replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.DAY:
        starts = [day + timedelta(days=offset) for offset in range(-1, 3)]
    else:
        starts = [_month(day, offset) for offset in range(-1, 3)]
    return tuple(int(start.timestamp()) for start in starts)


def _month(day: datetime, offset: int) -> datetime:
    months = day.year * 12 + day.month - 1 + offset
    return day.replace(year=months // 12, month=months % 12 + 1, day=1)
