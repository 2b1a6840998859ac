"""Triggers, moments and jobs as people write them, above all around changes of the clock."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import strategies as st

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")

# When clocks change there: by an hour, by half an hour, and by a whole day.
CHANGES = [
    dt.datetime.fromisoformat(text)
    for text in (
        "2026-03-29T01:00Z", "2026-10-25T01:00Z", "2026-03-08T07:00Z", "2026-11-01T06:00Z",
        "2026-04-04T15:00Z", "2026-10-03T15:30Z", "2011-09-24T14:00Z", "2011-12-30T10:00Z",
    )
]  # fmt: skip

zones = st.sampled_from(ZONES)
moments = st.builds(
    lambda change, minutes: change + dt.timedelta(minutes=minutes),
    st.sampled_from(CHANGES),
    st.integers(-180, 180) | st.integers(-3000, 3000),
)


def jitters(zone: str) -> st.SearchStrategy[int | None]:
    """Jitter, where clocks do not change: in a repeated hour APScheduler asks itself for ever."""
    return st.none() | st.sampled_from([1, 30, 600, 7200] if zone == "UTC" else [None])


# Each finds a day within a year: a trigger that has to search for long would only be slow.
days = st.sampled_from(
    [
        {}, {}, {"day": "*"}, {"day": "*/2"}, {"day": "last"}, {"day": "2nd sun"},
        {"day_of_week": "fri-sun"}, {"day_of_week": "sun"}, {"week": "*/2"}, {"month": "3,4,10-12"},
        {"year": "2011-2026"}, {"month": "*", "day": "1,24-30"},
    ]
)  # fmt: skip
# A minute is always given: otherwise it is every second, which is caught up in portions.
times = st.fixed_dictionaries(
    {"minute": st.sampled_from(["*", "*/15", "30", "59", 0])},
    optional={
        "hour": st.sampled_from(["*", "*/3", "1-3", "2", 0, 23]),
        "second": st.sampled_from(["*/20", "30", 0]),
    },
)


def _bounds(start: dt.datetime, days_left: int | None) -> dict[str, dt.datetime | None]:
    end = None if days_left is None else start + dt.timedelta(days=days_left, hours=7)
    return {"start_date": start, "end_date": end}


bounds = st.builds(_bounds, moments, st.none() | st.integers(0, 3))


@st.composite
def crons(draw: st.DrawFn, zone: str) -> BaseTrigger:
    """Cron triggers with every field, bounded or not."""
    options: dict[str, Any] = draw(days) | draw(times) | draw(bounds | st.just({}))
    return CronTrigger(timezone=zone, jitter=draw(jitters(zone)), **options)


@st.composite
def intervals(draw: st.DrawFn, zone: str) -> BaseTrigger:
    """Intervals of seconds to weeks, with fractions."""
    unit = draw(st.sampled_from(["seconds", "minutes", "hours", "days", "weeks"]))
    # Not so short that an hour holds more of them than are caught up at once.
    count = draw(st.integers(10, 40) | st.just(12.5) if unit == "seconds" else st.integers(1, 40))
    return IntervalTrigger(
        **{unit: count}, **draw(bounds), timezone=zone, jitter=draw(jitters("UTC"))
    )


@st.composite
def calendars(draw: st.DrawFn, zone: str) -> BaseTrigger:
    """Intervals of the calendar, at times of day that some days do not have."""
    start = draw(moments).date()
    return CalendarIntervalTrigger(
        **{draw(st.sampled_from(["days", "weeks", "months"])): draw(st.integers(1, 3))},
        hour=draw(st.sampled_from([0, 1, 2, 12, 23])),
        minute=draw(st.sampled_from([0, 30])),
        start_date=start,
        end_date=draw(st.none() | st.just(start + dt.timedelta(days=40))),
        timezone=zone,
        jitter=draw(jitters(zone)),
    )


@st.composite
def dates(draw: st.DrawFn, zone: str) -> BaseTrigger:
    """A single moment, with a zone or without."""
    moment = draw(moments).astimezone(ZoneInfo(zone))
    naive = moment.replace(tzinfo=None)
    return DateTrigger(draw(st.sampled_from([moment, naive])), timezone=zone)


@st.composite
def triggers(draw: st.DrawFn) -> BaseTrigger:
    """Any trigger.

    Those that are combined share a zone: a job that is stored knows only one, and an interval of
    the calendar goes by the date of the run before, in whichever zone that is given.
    """
    zone = draw(zones)
    one = crons(zone) | intervals(zone) | calendars(zone) | dates(zone)
    kind = draw(st.sampled_from(["one", "one", "one", "or", "and"]))
    if kind == "or":
        return OrTrigger(draw(st.lists(one, min_size=1, max_size=3)), jitter=draw(jitters(zone)))
    if kind == "and":
        # Triggers that never agree would search for ever, in any scheduler.
        plain = CronTrigger(timezone=zone, **draw(days), **draw(times))
        return AndTrigger([plain, plain], jitter=draw(jitters(zone)))
    return draw(one)


limits = st.fixed_dictionaries(
    {
        "coalesce": st.booleans(),
        "misfire_grace_time": st.none() | st.sampled_from([1, 60, 5400, 10**6]),
        "max_instances": st.integers(1, 3),
    }
)

plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.frozensets(st.text()),
    max_leaves=8,
)
