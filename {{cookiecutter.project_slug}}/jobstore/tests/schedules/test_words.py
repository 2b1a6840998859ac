"""What words say of a schedule is what it does: they are read back, and compared with its times.

The reader below is written from the words alone. For each generated trigger it is compared with the
next thousand times: each of them must be meant, and nothing between them may be.
"""

import calendar
import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import pytest
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import given, settings
from hypothesis import strategies as st

from jobstore.admin.words import in_words
from jobstore.schedules.wording import describe

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = tuple(name.lower() for name in calendar.month_abbr[1:])
POSITIONS = ("1st", "2nd", "3rd", "4th", "5th")
START = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
TIMES = 1000

Meant = Callable[[dt.datetime], bool]


# --- Words, read back ----------------------------------------------------------------------------


def read(words: str) -> Meant | None:
    """Return what words say of a moment; None if they only repeat the fields."""
    if found := re.fullmatch(r"(.+?) at (\d\d:[\d:, and]+)", words):
        clocks = {_clock(one) for one in re.split(r", | and ", found[2])}
        is_day = _read_days(found[1])
        return lambda when: is_day(when) and (when.hour, when.minute, when.second) in clocks
    if not words.startswith("every "):
        return None
    times, _, days = words.partition(", ")
    past = ""
    if days.startswith("at :"):
        past, _, days = days.partition(", ")
    is_day = _read_days(days or "every day")
    is_time = _read_times(times, past.removeprefix("at "))
    return lambda when: is_day(when) and is_time(when)


def _read_times(text: str, past: str) -> Meant:
    found = re.fullmatch(
        r"every (?:(\d+) )?(second|minute|hour)s?(?: from ([\d:]+) to ([\d:]+))?", text
    )
    assert found, text
    number = int(found[1] or 1)
    if found[2] == "second":
        return lambda when: int(when.timestamp()) % number == 0
    begin, end = _clock(found[3] or "00:00"), _clock(found[4] or "23:59:59")
    if found[2] == "minute":
        return lambda when: (
            when.second == 0
            and int(when.timestamp()) // 60 % number == 0
            and begin <= (when.hour, when.minute, when.second) <= end
        )
    _, minute, second = _clock(f"00{past}") if past else begin
    return lambda when: (
        (int(when.timestamp()) // 3600 - (0 if past else begin[0])) % number == 0
        and (when.minute, when.second) == (minute, second)
        and begin[:1] <= (when.hour,) <= end[:1]
    )


def _read_days(text: str) -> Meant:
    year = re.search(r" in (\d{4})$", text)
    text = text[: year.start()] if year else text
    head, _, months = text.partition(" in ")
    is_month = _any(months, _read_month) if months else lambda when: True
    day, _, weekday = head.partition(" if it is ")
    if day.startswith("on "):
        is_day = _any(day.removeprefix("on "), _read_day)
    else:
        is_day, weekday = (lambda when: True), "" if day == "every day" else day
    is_weekday = _any(weekday, _read_weekday, ",") if weekday else lambda when: True
    return lambda when: (
        is_day(when)
        and is_weekday(when)
        and is_month(when)
        and (not year or when.year == int(year[1]))
    )


def _any(text: str, reader: Callable[[str], Meant], between: str = r", | and ") -> Meant:
    parts = [reader(one) for one in re.split(between, text)]
    return lambda when: any(part(when) for part in parts)


def _read_day(text: str) -> Meant:
    if text == "the last day":
        return lambda when: when.day == calendar.monthrange(when.year, when.month)[1]
    if found := re.fullmatch(r"days? (\d+)(?: to (\d+))?", text):
        first, last = int(found[1]), int(found[2] or found[1])
        return lambda when: first <= when.day <= last
    found = re.fullmatch(r"the (\w+) (\w{3})", text)
    assert found, text
    weekday = DAYS.index(found[2])
    if found[1] == "last":
        return lambda when: (
            when.weekday() == weekday
            and when.day + 7 > calendar.monthrange(when.year, when.month)[1]
        )
    position = POSITIONS.index(found[1])
    return lambda when: when.weekday() == weekday and (when.day - 1) // 7 == position


def _read_month(text: str) -> Meant:
    first, _, last = text.partition(" to ")
    ends = MONTHS.index(first) + 1, MONTHS.index(last or first) + 1
    return lambda when: ends[0] <= when.month <= ends[1]


def _read_weekday(text: str) -> Meant:
    first, _, last = text.partition("-")
    ends = DAYS.index(first), DAYS.index(last or first)
    return lambda when: ends[0] <= when.weekday() <= ends[1]


def _clock(text: str) -> tuple[int, int, int]:
    hour, minute, second = (int(one) for one in (text.split(":") + ["0"])[:3])
    return hour, minute, second


# --- Triggers ------------------------------------------------------------------------------------


def _listed(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    few = st.lists(number, min_size=1, max_size=3, unique=True)
    lists = few.map(lambda numbers: ",".join(map(str, sorted(numbers))))
    ranges = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    lengths = [one for one in (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30) if one <= most - least]
    steps = st.sampled_from(lengths).map(lambda one: f"*/{one}")
    return st.one_of(lists, ranges, steps, st.just("*"))


FIELDS = {
    "month": _listed(1, 12) | st.sampled_from(["jan", "mar-may", "feb,nov"]),
    "day": _listed(1, 28) | st.sampled_from(["last", "2nd fri", "last mon", "1,15,last"]),
    "day_of_week": st.sampled_from(["mon", "mon-fri", "sat,sun", "0", "1,3", "*/2", "tue-thu"]),
    "hour": _listed(0, 23) | st.sampled_from(["8-18", "9-17/2"]),
    "minute": _listed(0, 59) | st.sampled_from(["*/5", "*/15"]),
    "second": st.sampled_from(["0", "30", "*/10", "*"]),
}


@st.composite
def crons(draw: st.DrawFn) -> CronTrigger:
    """Return a trigger of two or three fields, as people write them."""
    names = draw(st.lists(st.sampled_from([*FIELDS]), min_size=1, max_size=3, unique=True))
    return CronTrigger(timezone=dt.UTC, **{name: draw(FIELDS[name]) for name in names})


def said(trigger: Any) -> str:
    """Return a trigger in words, without its zone, which they end with in other projects."""
    return in_words(describe(trigger)).removesuffix(" (UTC)")


def check(trigger: Any, times: int = TIMES) -> bool:
    """Compare words with the next times of a trigger; return whether they say more than fields."""
    words = said(trigger)
    meant = read(words)
    if meant is None:
        return False
    fires: list[dt.datetime] = []
    when = trigger.get_next_fire_time(None, START)
    while when is not None and len(fires) < times:
        fires.append(when)
        assert meant(when), f"{words!r} does not say {when}"
        when = trigger.get_next_fire_time(when, when)
    if not fires:
        return True
    # What is between them, in steps that no schedule with these words could fall between.
    second = dt.timedelta(seconds=1)
    step = second if "second" in words or re.search(r":\d\d:(?!00)\d\d", words) else second * 60
    known, at = set(fires), START
    for _ in range(3000):
        assert (at in known) == meant(at) or at > fires[-1], f"{words!r} is wrong about {at}"
        at += step
    return True


@settings(max_examples=150, deadline=None, derandomize=True)
@given(crons())
def test_words_say_when_a_schedule_runs(trigger: CronTrigger) -> None:
    check(trigger, 200)


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=1000, deadline=None)
@given(crons())
def test_words_of_a_thousand_schedules_say_their_next_thousand_times(trigger: CronTrigger) -> None:
    check(trigger, TIMES if trigger.fields[-1].is_default else 100)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 10**7))
def test_words_say_the_length_of_an_interval(length: int) -> None:
    words = in_words(describe(IntervalTrigger(seconds=length, timezone=dt.UTC)))
    units = {"day": 86_400, "hour": 3600, "minute": 60, "second": 1}
    parts = re.findall(r"(?:(\d+) )?(day|hour|minute|second)s?", words.removeprefix("every "))
    assert sum(int(number or 1) * units[unit] for number, unit in parts) == length


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hour": 3}, "every day at 03:00"),
        ({"hour": 3, "minute": "0,30"}, "every day at 03:00 and 03:30"),
        ({"hour": "1,13", "minute": 30, "day_of_week": "mon-fri"}, "mon-fri at 01:30 and 13:30"),
        ({"minute": "*/5"}, "every 5 minutes"),
        ({"minute": "*/5", "hour": "8-18"}, "every 5 minutes from 08:00 to 18:55"),
        ({"minute": "*/10", "hour": "22"}, "every 10 minutes from 22:00 to 22:50"),
        ({"minute": 15}, "every hour, at :15"),
        ({"hour": "*/2", "day_of_week": "sat,sun"}, "every 2 hours, sat,sun"),
        ({"hour": "8-18", "minute": 30}, "every hour from 08:30 to 18:30"),
        ({"second": "*/10"}, "every 10 seconds"),
        ({}, "every second"),
        ({"day": "last", "hour": 3}, "on the last day at 03:00"),
        ({"day": "1,15"}, "on day 1 and day 15 at 00:00"),
        ({"day": "2nd fri", "month": "1-3"}, "on the 2nd fri in jan to mar at 00:00"),
        ({"day": 13, "day_of_week": "fri"}, "on day 13 if it is fri at 00:00"),
        ({"year": 2031}, "on day 1 in jan in 2031 at 00:00"),
        ({"minute": "*/7"}, "minute */7"),
        ({"week": 5}, "week 5"),
    ],
)
def test_a_schedule_is_said_as_a_person_would(fields: dict[str, Any], words: str) -> None:
    assert said(CronTrigger(timezone="UTC", **fields)) == words


def test_most_schedules_that_people_write_are_said_in_words() -> None:
    common: list[dict[str, Any]] = [
        *({"minute": f"*/{n}"} for n in (1, 2, 5, 10, 15, 20, 30)),
        *({"hour": hour, "minute": minute} for hour in (0, 3, "*/6", "9-17") for minute in (0, 30)),
        *({"day_of_week": day, "hour": 6} for day in ("mon", "mon-fri", "sat,sun")),
        *({"day": day, "hour": 6} for day in (1, "last", "1st mon", "1,15")),
    ]
    assert all(check(CronTrigger(timezone=dt.UTC, **fields)) for fields in common)
