"""How fast and when a PACS is asked, so that its own work goes first."""

import time
from collections.abc import Callable
from datetime import datetime
from datetime import time as time_of_day

from spine_monai.pacs.config import Hours

LONGEST_SLEEP_S = 30.0  # a clock may be set meanwhile


class Throttle:
    """Lets so many things a second pass on average, and at most one second's worth at once.

    Args:
        per_s: how many; ``None`` for all.
    """

    def __init__(self, per_s: float | None) -> None:
        self.per_s = per_s
        self._most = max(1.0, per_s or 1.0)
        self._left, self._seen = self._most, time.monotonic()

    def take(self) -> None:
        """Wait until the next thing may pass."""
        if self.per_s is None:
            return
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._seen) * self.per_s)
        self._seen = now
        self._left -= 1
        if self._left < 0:
            time.sleep(-self._left / self.per_s)


def wait_for(hours: Hours | None, tell: Callable[[str], object]) -> None:
    """Wait until the hours have come; at once where there are none.

    Args:
        hours: the part of the day.
        tell: is told until when.
    """
    is_told = False
    while hours is not None and not hours.holds(now := datetime.now().time()):
        if not is_told:
            tell(f"{hours.start:%H:%M} to {hours.end:%H:%M}: waiting until {hours.start:%H:%M}")
            is_told = True
        time.sleep(min(LONGEST_SLEEP_S, max(0.05, seconds_until(hours, now))))


def seconds_until(hours: Hours, now: time_of_day) -> float:
    """Return how long it is from a time of the day until the hours begin."""
    start, moment = (
        one.hour * 3600 + one.minute * 60 + one.second + one.microsecond / 1e6
        for one in (hours.start, now)
    )
    return (start - moment) % 86400.0
