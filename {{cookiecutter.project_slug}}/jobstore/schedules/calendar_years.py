"""Whether cron fields can ever match: found from the calendar, not by looking at each of its days.

The days of a year depend on three things: the weekday of its first of January, whether it is a leap
year, and (for the number of the week in which it begins) whether the year before was one. These
kinds of years come again in each 400, after which the calendar repeats itself. So what matches no
day in one year of each kind matches none at all. APScheduler finds that out by walking through the
days up to the year 9999, which takes four seconds.
"""

import bisect
import calendar
import datetime as dt
import functools
from collections.abc import Iterator
from typing import Any

from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.cron.fields import MAX_VALUES, MIN_VALUES

CYCLE = 400
# The first year of a cycle whose years before and after are in the calendar as well.
BEGIN = 2000
DAY_FIELDS = ("month", "day", "week", "day_of_week")

Kind = tuple[int, bool, bool]


def years_from(trigger: CronTrigger, first: int) -> Iterator[int]:
    """Yield the years, from one on, that have a day on which a cron trigger fires.

    :param first: a year.
    """
    fields = {one.name: one for one in trigger.fields}
    kinds = _matching(tuple(str(fields[name]) for name in DAY_FIELDS))
    if not kinds:
        return
    years = _years(str(fields["year"]))
    for position in range(bisect.bisect_left(years, first), len(years)):
        if kind_of(years[position]) in kinds:
            yield years[position]


def fires(trigger: CronTrigger, since: dt.datetime) -> bool:
    """Tell whether a cron trigger has any time left from a moment on.

    It may say yes of the present year although the day has passed in it.

    :param since: aware.
    """
    end = trigger.end_date
    if end is not None and end < since:
        return False
    first = next(years_from(trigger, since.astimezone(trigger.timezone).year), None)
    return first is not None and (end is None or first <= end.year)


def values_of(field: Any) -> set[int]:
    """Return the numbers that a field of a cron trigger means, other than positions in a month."""
    least, most = MIN_VALUES[field.name], MAX_VALUES[field.name]
    found: set[int] = set()
    for one in field.expressions:
        last = getattr(one, "last", None)
        first = getattr(one, "first", least)
        found.update(range(first, (most if last is None else last) + 1, one.step or 1))
    return found


def kind_of(year: int) -> Kind:
    """Return what the days of a year depend on."""
    return calendar.weekday(year, 1, 1), calendar.isleap(year), calendar.isleap(year - 1)


@functools.lru_cache(maxsize=1)
def _kinds() -> dict[Kind, int]:
    """Return all kinds of years, with one year of each."""
    return {kind_of(year): year for year in range(BEGIN, BEGIN + CYCLE)}


@functools.lru_cache(maxsize=64)
def _years(text: str) -> tuple[int, ...]:
    return tuple(sorted(values_of(CronTrigger.FIELDS_MAP["year"]("year", text))))


@functools.lru_cache(maxsize=512)
def _matching(texts: tuple[str, ...]) -> frozenset[Kind]:
    """Return the kinds of years that have a day which matches month, day, week and weekday."""
    given = dict(zip(DAY_FIELDS, texts, strict=True))
    fields = {name: CronTrigger.FIELDS_MAP[name](name, text) for name, text in given.items()}
    months, weeks, weekdays = (values_of(fields[name]) for name in ("month", "week", "day_of_week"))
    return frozenset(
        kind
        for kind, year in _kinds().items()
        if any(
            day.weekday() in weekdays and day.isocalendar().week in weeks
            for month in months
            for day in _days(fields["day"], year, month)
        )
    )


def _days(field: Any, year: int, month: int) -> Iterator[dt.date]:
    """Yield the days of a month that a field of days means."""
    last = calendar.monthrange(year, month)[1]
    number = 1
    while number <= last:
        found = field.get_next_value(dt.date(year, month, number))
        if found is None:
            return
        yield dt.date(year, month, found)
        number = found + 1
