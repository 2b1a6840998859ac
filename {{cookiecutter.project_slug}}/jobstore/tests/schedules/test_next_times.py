"""The next time of a trigger is found at once, also where APScheduler would look for ever."""

import copy
import datetime as dt
import itertools
import time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobstore import api
from jobstore.claims.plan import plan
from jobstore.schedules import calendar_years, next_times
from jobstore.schedules.next_times import contradiction, first_run_time, following
from jobstore.tests import callables
from jobstore.tests.claims.test_plan import job

BERLIN = ZoneInfo("Europe/Berlin")
NOW = dt.datetime(2026, 6, 1, 12, tzinfo=BERLIN)
# Seconds within which a schedule that never fires is refused.
AT_ONCE = 0.05


def cron(zone: dt.tzinfo = BERLIN, **fields: Any) -> CronTrigger:
    return CronTrigger(timezone=zone, **fields)


def calendar(**options: Any) -> CalendarIntervalTrigger:
    return CalendarIntervalTrigger(timezone=BERLIN, **options)


def taken(trigger: BaseTrigger) -> float:
    """Return how many seconds a question takes that nothing was learnt of before."""
    lengths = []
    for _ in range(3):  # a loaded machine is slow by chance
        calendar_years._matching.cache_clear()
        began = time.perf_counter()
        first_run_time(trigger, NOW)
        contradiction(trigger)
        lengths.append(time.perf_counter() - began)
    return min(lengths)


# --- What never fires -----------------------------------------------------------------------------

NEVER = {
    "a day that no month has": (cron(month=2, day=31), "no day has month='2' and day='31'"),
    "the same on a weekday": (cron(month=2, day=30, day_of_week="mon"), "no day has"),
    "a month outside of a week": (cron(month=6, week=1), "no day has month='6' and week='1'"),
    "a week outside of a month": (cron(week=53, month=3, day_of_week="mon"), "no day has"),
    "a weekday that is another one": (cron(day="2nd fri", day_of_week="mon"), "no day has"),
    "the fifth week of February in week 20": (cron(month=2, day="5th mon", week=20), "no day has"),
    "a leap day in a year without": (cron(year=2100, month=2, day=29), "no day has year='2100'"),
    "a year that has passed": (cron(year=2020), ""),
    "an end before its start": (
        cron(hour=3, start_date="2031-01-01", end_date="2030-01-01"),
        "it ends before it begins",
    ),
    "hours that have nothing in common": (
        AndTrigger([cron(hour=3), cron(hour=4)]),
        "its parts have no time in common",
    ),
    "a part that never fires": (AndTrigger([cron(hour=3), cron(month=2, day=31)]), "no day has"),
    "days that have nothing in common": (
        AndTrigger([cron(month=6, hour=3), cron(week=1, hour=3)]),
        "",
    ),
    "a moment that has passed, and cron": (
        AndTrigger([DateTrigger(NOW - dt.timedelta(days=1)), cron(hour=3)]),
        "",
    ),
    "an interval that leads out of the calendar": (
        calendar(years=9000, start_date=dt.date(2020, 1, 1)),
        "",
    ),
}


@pytest.mark.parametrize("name", NEVER)
def test_what_never_fires_is_known_at_once_with_the_reason(name: str) -> None:
    trigger, why = NEVER[name]
    assert first_run_time(trigger, NOW) is None
    assert contradiction(trigger).startswith(why)
    assert taken(trigger) < AT_ONCE


@pytest.mark.parametrize(
    "trigger",
    [
        AndTrigger([IntervalTrigger(minutes=5, start_date=NOW, timezone=BERLIN), cron(second=7)]),
        AndTrigger([cron(hour=3), cron(ZoneInfo("Asia/Tokyo"), hour=9)]),
        AndTrigger([cron(day="1st mon"), cron(day="last fri")]),
    ],
)
def test_parts_that_do_not_meet_are_said_not_to(trigger: BaseTrigger) -> None:
    with pytest.raises(next_times.NeverMeet, match="have no common time"):
        first_run_time(trigger, NOW)
    with pytest.raises(next_times.NeverMeet):
        following(trigger, NOW, NOW)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        ({"month": 6, "week": 1}, "never fires: no day has month='6' and week='1'."),
        (OrTrigger([cron(hour=3), cron(month=6, week=1)]), "A part of or"),
        (AndTrigger([cron(hour=3), cron(hour=4)]), "never fires: its parts have no time in"),
        (AndTrigger([cron(hour=3, jitter=5), cron(day=1)]), "have no jitter of their own"),
        (AndTrigger([IntervalTrigger(minutes=7), cron(day=1)]), "Its parts have no common time"),
    ],
)
def test_what_never_fires_is_refused_before_it_is_stored(trigger: Any, text: str) -> None:
    fields = trigger if isinstance(trigger, dict) else {}
    given = "cron" if fields else trigger
    for operation in (api.preview, lambda *a, **b: api.add_job(callables.note, *a, **b)):
        calendar_years._matching.cache_clear()
        with pytest.raises(api.InvalidSchedule) as refused:
            operation(given, **fields)
        assert text in str(refused.value)


# --- What fires -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "first"),
    [
        (cron(month=2, day=29, day_of_week="mon"), "2044-02-29"),
        (cron(month=1, day=1, week=53), "2027-01-01"),
        (cron(year=2400, month=2, day=29), "2400-02-29"),
        (cron(day=31, week=53), "2026-12-31"),
        (calendar(days=1, start_date=dt.date(1900, 1, 1)), "2026-06-02"),
        (calendar(months=1, start_date=dt.date(1900, 1, 31)), "2026-07-31"),
        (calendar(years=1, start_date=dt.date(1904, 2, 29)), "2028-02-29"),
        (calendar(years=100, start_date=dt.date(2000, 2, 29)), "2400-02-29"),
        (
            OrTrigger([calendar(days=1, start_date=dt.date(1970, 1, 1)), cron(month=12)]),
            "2026-06-02",
        ),
        (OrTrigger([cron(month=6, week=1), cron(month=12)]), "2026-12-01"),
    ],
)
def test_what_fires_seldom_or_began_long_ago_is_found_at_once(
    trigger: BaseTrigger, first: str
) -> None:
    found = first_run_time(trigger, NOW)
    assert found is not None
    assert f"{found:%Y-%m-%d}" == first
    assert taken(trigger) < AT_ONCE


def test_a_part_that_never_fires_does_not_delay_the_next_time_of_the_others() -> None:
    trigger = OrTrigger([cron(month=6, week=1), cron(hour=3)])
    lengths = []
    for _ in range(3):
        calendar_years._matching.cache_clear()
        began = time.perf_counter()
        found = following(trigger, NOW, NOW)
        lengths.append(time.perf_counter() - began)
    assert found == dt.datetime(2026, 6, 2, 3, tzinfo=BERLIN)
    assert min(lengths) < AT_ONCE


fields_of_days = st.fixed_dictionaries(
    {},
    optional={
        "month": st.sampled_from(["*", "2", "1-3", "6", "12", "*/5", "feb", "4,9"]),
        "day": st.sampled_from(["29", "30", "31", "1-7", "last", "5th sun", "1st mon,15", "*/9"]),
        "week": st.sampled_from(["1", "53", "9-10", "*/17", "22,52"]),
        "day_of_week": st.sampled_from(["mon", "sat,sun", "3", "tue-thu"]),
    },
)


@hypothesis_settings(derandomize=True, deadline=None, database=None, max_examples=60)
@given(fields_of_days)
def test_a_day_is_said_to_exist_if_one_of_four_hundred_years_has_it(fields: dict[str, str]) -> None:
    trigger = cron(BERLIN, **fields)
    walked = copy.copy(trigger)
    walked.end_date = NOW.replace(year=NOW.year + calendar_years.CYCLE)
    first = walked.get_next_fire_time(None, NOW)
    assert calendar_years.fires(trigger, NOW) == (first is not None)
    if first is not None:
        years = itertools.takewhile(first.year.__ge__, calendar_years.years_from(trigger, 2026))
        assert set(years) <= {2026, first.year}


# --- Joined by `and` ------------------------------------------------------------------------------


def test_a_job_whose_triggers_are_joined_by_and_is_due_again() -> None:
    trigger = AndTrigger([cron(hour=3, minute=0), cron(day_of_week="mon", hour="3-5", minute=0)])
    monday = dt.datetime(2026, 6, 1, 3, tzinfo=BERLIN)
    planned = plan(job(trigger, monday), 1, monday.astimezone(dt.UTC))
    assert planned.next_run_time == dt.datetime(2026, 6, 8, 3, tzinfo=BERLIN)


def test_a_job_whose_triggers_do_not_meet_again_is_unusable() -> None:
    trigger = AndTrigger([cron(hour=3), cron(ZoneInfo("Asia/Tokyo"), hour=9)])
    with pytest.raises(Exception, match="have no common time"):
        plan(job(trigger, NOW), 1, NOW.astimezone(dt.UTC))


ofs = st.fixed_dictionaries(
    {"hour": st.sampled_from(["*", "*/3", "3,4", "2-9"])},
    optional={
        "month": st.sampled_from(["6-12", "*/2"]),
        "day": st.sampled_from(["*/2", "1-20", "last", "2nd fri", "last,3"]),
        "day_of_week": st.sampled_from(["mon-fri", "sat,sun"]),
        "week": st.sampled_from(["*/2"]),
    },
)


@hypothesis_settings(derandomize=True, deadline=None, database=None, max_examples=40)
@given(ofs, ofs)
def test_times_in_common_are_those_that_each_part_has(
    one: dict[str, str], other: dict[str, str]
) -> None:
    parts = [cron(BERLIN, **one), cron(BERLIN, **other)]
    end = NOW + dt.timedelta(days=100)
    wanted = sorted(set(times_of(parts[0], end)) & set(times_of(parts[1], end)))
    try:
        assert times_of(AndTrigger(parts), end)[: len(wanted) + 1] == wanted
    except next_times.NeverMeet:
        assert len(wanted) < 2


def times_of(trigger: BaseTrigger, end: dt.datetime) -> list[dt.datetime]:
    found, time = [], first_run_time(trigger, NOW)
    while time is not None and time <= end:
        found.append(time.astimezone(dt.UTC))
        time = following(trigger, time, time)
    return found
