"""The time of a trigger after another one, for a bounded number of questions.

APScheduler's "and" asks its parts until they agree, for ever if they do not; and parts that are
cron triggers of different times never agree again after a first time. A page must have an end.
"""

import datetime as dt
from typing import Any

from apscheduler.triggers.combining import AndTrigger, OrTrigger

# Questions to parts that one page, or one job on it, may cost.
MAX_QUESTIONS = 500


class TooManyQuestions(ValueError):
    """No time was found with as many questions as may be asked."""


class Questions:
    """Counts how many may still be asked."""

    def __init__(self, number: int = MAX_QUESTIONS) -> None:
        self.left = number

    def next_time(self, trigger: Any, former: dt.datetime, now: dt.datetime) -> dt.datetime | None:
        """Return a trigger's time after another one as APScheduler does.

        :raises TooManyQuestions: if it takes more questions than are left.
        """
        kind = type(trigger)
        if kind is AndTrigger:
            return self._agreed(trigger, former, now)
        if kind is OrTrigger:
            times = [self.next_time(one, former, now) for one in trigger.triggers]
            first = min((one for one in times if one is not None), default=None)
            return _jittered(trigger, first, now)
        self.left -= 1
        if self.left < 0:
            raise TooManyQuestions
        moment: dt.datetime | None = trigger.get_next_fire_time(former, now)
        return moment

    def _agreed(self, trigger: Any, former: dt.datetime, now: dt.datetime) -> dt.datetime | None:
        while True:
            times = [self.next_time(one, former, now) for one in trigger.triggers]
            known = [one for one in times if one is not None]
            if len(known) < len(times) or not known:
                return None
            if min(known) == max(known):
                return _jittered(trigger, known[0], now)
            now = max(known)


def _jittered(trigger: Any, moment: dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
    found: dt.datetime | None = trigger._apply_jitter(moment, trigger.jitter, now)
    return found
