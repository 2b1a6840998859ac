"""When a trigger fires next, found in bounded time.

APScheduler looks until it finds a time, or until the year 9999. Some triggers keep it looking for
seconds, others for ever, while all other jobs wait:

- cron fields that contradict each other, such as June in the first week of the year;
- triggers that are joined by `and`: after a first time it asks its parts for the same times again
  and again, unless all of them have the same times;
- intervals of the calendar that began long ago, or whose next year is not in the calendar.

What other triggers answer is theirs.
"""

import calendar
import copy
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.cron.expressions import (
    LastDayOfMonthExpression,
    WeekdayPositionExpression,
)
from apscheduler.triggers.date import DateTrigger
from django.utils.translation import gettext_noop as _

from jobstore.schedules import trigger_defaults
from jobstore.schedules.calendar_years import DAY_FIELDS, fires, values_of, years_from
from jobstore.schedules.crontab import ranges
from jobstore.sentences import said

# Times that parts of an `and` that cannot be compared field by field are asked for. Two of them
# that meet do so within days; each question takes some ten microseconds.
MOST_QUESTIONS = 500
MICROSECOND = dt.timedelta(microseconds=1)
# The fields of cron that a day has.
DAYS = ("year", *DAY_FIELDS)


class NeverMeet(ValueError):
    """Parts of an `and` of which no common time was found."""


def following(trigger: Any, previous: dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
    """Return what `trigger.get_next_fire_time` is to return, in bounded time.

    :param previous: the time before; None for the first one.
    :raises NeverMeet: if triggers that are joined by `and` have no time in common for long.
    """
    kind = type(trigger)
    if kind is OrTrigger:
        since = now if previous is None else previous
        parts = [one for one in trigger.triggers if _may_fire(one, since)]
        return _earliest(trigger, (following(one, previous, now) for one in parts), now)
    if kind is AndTrigger:
        since = now if previous is None else previous.astimezone(dt.UTC) + MICROSECOND
        return _jittered(trigger, _common(trigger.triggers, previous, since), now)
    if kind is CalendarIntervalTrigger and previous is not None and _leaves(trigger, previous):
        return None
    if kind is CronTrigger and previous is None and not fires(trigger, now):
        return None
    found: dt.datetime | None = trigger.get_next_fire_time(previous, now)
    return found


def first_run_time(trigger: Any, at: dt.datetime) -> dt.datetime | None:
    """Return the first time of a trigger from a moment on; None if there is none.

    An interval of the calendar would begin with its start, however long ago that is.

    :raises NeverMeet: as `following` does.
    """
    if type(trigger) is OrTrigger:
        return _earliest(trigger, (first_run_time(one, at) for one in trigger.triggers), at)
    if isinstance(trigger, CalendarIntervalTrigger):
        return _first_of_calendar(trigger, at)
    return following(trigger, None, at)


def contradiction(trigger: Any) -> str:
    """Return which part of a trigger can never fire, and why; nothing if all can."""
    for part in trigger_defaults.parts(trigger):
        if type(part) is CronTrigger and not any(years_from(part, dt.MINYEAR)):
            texts = {one.name: str(one) for one in part.fields if not one.is_default}
            days = [f"{name}={text!r}" for name, text in texts.items() if name in DAYS]
            fields = days[0]
            for day in days[1:]:
                fields = said(_("%(first)s and %(last)s"), first=fields, last=day)
            return said(_("no day has %(fields)s"), fields=fields)
    for part in trigger_defaults.parts(trigger):
        start, end = (getattr(part, name, None) for name in ("start_date", "end_date"))
        if start and end and end < start and not trigger_defaults.has_default_moment(part):
            return said(_("it ends before it begins"))
    if type(trigger) is AndTrigger and _merged(trigger.triggers) == NOTHING:
        return said(_("its parts have no time in common"))
    return ""


# --- One or another -----------------------------------------------------------------------------


def _earliest(
    trigger: Any, times: Iterable[dt.datetime | None], now: dt.datetime
) -> dt.datetime | None:
    known = [one for one in times if one is not None]
    first = min(known, key=lambda one: one.astimezone(dt.UTC), default=None)
    return _jittered(trigger, first, now)


def _may_fire(trigger: Any, since: dt.datetime) -> bool:
    return type(trigger) is not CronTrigger or fires(trigger, since)


def _jittered(trigger: Any, found: dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
    if found is None:
        return None
    moved: dt.datetime = trigger._apply_jitter(found, trigger.jitter, now)
    return moved


# --- All together -------------------------------------------------------------------------------

NOTHING = "nothing"
POSITIONS = (WeekdayPositionExpression, LastDayOfMonthExpression)


def _common(
    triggers: Sequence[Any], previous: dt.datetime | None, since: dt.datetime
) -> dt.datetime | None:
    """Return the first time that all triggers have."""
    if len(triggers) == 1:
        return following(triggers[0], previous, since)
    merged = _merged(triggers)
    if isinstance(merged, str):
        return None
    if merged is not None:
        return following(merged, None, since.astimezone(merged.timezone))
    parts = [_exact(one) for one in triggers]
    if not all(_may_fire(one, since) for one in parts):
        return None
    for __ in range(MOST_QUESTIONS):
        times = []
        for part in parts:
            found = _from_on(part, since)
            if found is None or (type(part) is DateTrigger and found < since):
                return None  # it has ended
            times.append(found)
        latest = max(times, key=lambda one: one.astimezone(dt.UTC))
        if all(one.astimezone(dt.UTC) == latest.astimezone(dt.UTC) for one in times):
            return times[0]
        since = latest
    text = _(
        "its parts have no common time among the first %(number)s; write one schedule that says "
        "when it runs"
    )
    raise NeverMeet(said(text, number=MOST_QUESTIONS))


def _from_on(trigger: Any, since: dt.datetime) -> dt.datetime | None:
    if type(trigger) is not CronTrigger:
        return first_run_time(trigger, since)
    found: dt.datetime | None = trigger.get_next_fire_time(None, since)
    return found


def _merged(triggers: Sequence[Any]) -> Any:
    """Return one cron trigger with the times that several have in common.

    :returns: NOTHING if they have none; None if this cannot be said by one.
    """
    if any(type(one) is not CronTrigger for one in triggers):
        return None
    if len({str(one.timezone) for one in triggers}) > 1:
        return None
    texts: dict[str, str] = {}
    for position, name in enumerate(CronTrigger.FIELD_NAMES):
        fields = [one.fields[position] for one in triggers]
        given = {str(one) for one in fields} - {"*"}
        if len(given) <= 1:
            texts[name] = next(iter(given), "*")
        elif name == "day" and any(map(_has_positions, fields)):
            return None
        else:
            numbers = set.intersection(*map(values_of, fields))
            if not numbers:
                return NOTHING
            texts[name] = ranges(numbers)
    starts = [one.start_date for one in triggers if one.start_date]
    ends = [one.end_date for one in triggers if one.end_date]
    return CronTrigger(
        timezone=triggers[0].timezone,
        start_date=max(starts, default=None),
        end_date=min(ends, default=None),
        **texts,
    )


def _has_positions(field: Any) -> bool:
    return any(isinstance(one, POSITIONS) for one in field.expressions)


def _exact(trigger: Any) -> Any:
    """Return a trigger without its jitter: times that chance has moved meet by chance."""
    if not getattr(trigger, "jitter", None):
        return trigger
    found = copy.copy(trigger)
    found.jitter = None
    return found


# --- Intervals of the calendar ------------------------------------------------------------------


def _first_of_calendar(trigger: Any, at: dt.datetime) -> dt.datetime | None:
    previous = _shortly_before(trigger, at) if type(trigger) is CalendarIntervalTrigger else None
    found = following(trigger, previous, at)
    while found is not None and found.astimezone(dt.UTC) < at.astimezone(dt.UTC):
        later = following(trigger, found, at)
        if later is not None and later.astimezone(dt.UTC) <= found.astimezone(dt.UTC):
            return found
        found = later
    return found


def _shortly_before(trigger: Any, at: dt.datetime) -> dt.datetime | None:
    """Return a time of an interval that is not long before a moment; None to begin at its start.

    Intervals of days, and those of months, are counted. One of both is walked through.
    """
    start, today = trigger.start_date, at.astimezone(trigger.timezone).date()
    days, months = trigger.days + 7 * trigger.weeks, trigger.months + 12 * trigger.years
    found = None
    if days and not months:
        steps = (today - start).days // days - 1
        found = start + steps * dt.timedelta(days) if steps > 0 else None
    elif months and not days:
        first = 12 * start.year + start.month - 1
        steps = (12 * today.year + today.month - 1 - first) // months - 1
        while steps > 0 and found is None:
            year, month = divmod(first + steps * months, 12)
            if start.day <= calendar.monthrange(year, month + 1)[1]:
                found = dt.date(year, month + 1, start.day)
            steps -= 1
    return dt.datetime.combine(found, trigger._time) if found else None


def _leaves(trigger: Any, previous: dt.datetime) -> bool:
    """Tell whether the next date of an interval is not in the calendar."""
    months = 12 * previous.year + previous.month - 1
    step = trigger.months + 12 * trigger.years
    while True:
        months += step
        year, month = divmod(months, 12)
        if year > dt.MAXYEAR:
            return True
        if previous.day <= calendar.monthrange(year, month + 1)[1]:
            break
    try:
        # A day beside, since its time is converted from and to UTC.
        days = dt.timedelta(days=trigger.days + 7 * trigger.weeks + 2)
        dt.date(year, month + 1, previous.day) + days
    except OverflowError:
        return True
    return False
