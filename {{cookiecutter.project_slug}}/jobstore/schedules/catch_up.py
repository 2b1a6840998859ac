"""After a long absence: finds the last due times of a job without asking for each one before.

An interval of a second that nobody ran for a month has 2.6 million due times, of which a job that
coalesces needs the last. Asking its trigger for each takes minutes, in which no job runs.
"""

import datetime as dt
import itertools
from typing import Any

from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from jobstore.schedules.next_times import following
from jobstore.util import is_storable

# How long before now a due time is looked for at first; the span then grows.
SHORTEST = dt.timedelta(minutes=1)
GROWTH = 4
# Around a clock change, the next time of a trigger depends on the time that came before.
CALM = dt.timedelta(days=2)
# From here on (in 2106) seconds with a fraction, as triggers count, are not exact to a microsecond.
EXACT_UNTIL = 2.0**32


def close_to(trigger: Any, due: dt.datetime, now: dt.datetime) -> dt.datetime:
    """Return a due time of a trigger that is close to the last one before `now`.

    Asking for each time in turn would reach it, too. If that is not certain (with jitter, for other
    kinds of triggers) or not worth it (a short absence), it is `due` itself.

    :param due: a due time that has passed.
    """
    if type(trigger) is IntervalTrigger and not trigger.jitter:
        return _interval(trigger, due, now)
    return _memoryless(trigger, due, now) if _is_memoryless(trigger) else due


def _interval(trigger: Any, due: dt.datetime, now: dt.datetime) -> dt.datetime:
    end = min(now, trigger.end_date) if trigger.end_date else now
    if end.timestamp() >= EXACT_UNTIL:
        return due
    steps = (end.astimezone(dt.UTC) - due.astimezone(dt.UTC)) // trigger.interval - 1
    back = 0
    while steps - back > 1:
        moment = due.astimezone(dt.UTC) + (steps - back) * trigger.interval
        if is_storable(moment):
            zoned: dt.datetime = moment.astimezone(trigger.timezone)
            return zoned
        back = GROWTH * back + 1
    return due


def _is_memoryless(trigger: Any) -> bool:
    """Tell whether the next time of a trigger does not depend on which time came before it."""
    if type(trigger) is OrTrigger and not trigger.jitter:
        return all(map(_is_memoryless, trigger.triggers))
    return type(trigger) is CronTrigger and not trigger.jitter


def _memoryless(trigger: Any, due: dt.datetime, now: dt.datetime) -> dt.datetime:
    zones = {part.timezone for part in _crons(trigger)}
    for power in itertools.count():
        moment = now.astimezone(dt.UTC) - SHORTEST * GROWTH**power
        if moment <= due.astimezone(dt.UTC) + CALM:
            return due
        if not all(_is_calm(moment, zone) for zone in zones):
            continue
        found = following(trigger, moment.astimezone(due.tzinfo), now)
        if found is not None and found.astimezone(dt.UTC) <= now and is_storable(found):
            return found
    raise AssertionError("unreachable")


def _crons(trigger: Any) -> list[Any]:
    if type(trigger) is OrTrigger:
        return [one for part in trigger.triggers for one in _crons(part)]
    return [trigger]


def _is_calm(moment: dt.datetime, zone: dt.tzinfo) -> bool:
    """Tell whether clocks in a zone do not change around a moment."""
    around = [moment + days * CALM for days in (-1, 0, 1)]
    return len({one.astimezone(zone).utcoffset() for one in around}) == 1
