"""A line of a crontab means what it means to cron."""

import datetime as dt
import pickle
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.base import BaseTrigger
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from jobstore.registry import crontab

UTC = dt.UTC
LONGEST = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
day = dt.datetime.fromisoformat


def runs(trigger: BaseTrigger, start: str, count: int = 5) -> list[str]:
    """Return the first run times of a trigger after a day."""
    now = dt.datetime.fromisoformat(start).replace(tzinfo=UTC) - dt.timedelta(microseconds=1)
    times: list[str] = []
    previous = None
    while len(times) < count:
        now = previous = trigger.get_next_fire_time(previous, now)
        times.append(f"{previous:%a %Y-%m-%d %H:%M}")
    return times


# --- An oracle that looks at each minute --------------------------------------------------------


def _numbers(text: str, least: int, most: int, names: list[str], zero: int) -> set[int]:
    found: set[int] = set()
    for item in text.split(","):
        body, _, step = item.partition("/")
        first, _, last = body.partition("-")
        bounds = [
            names.index(one) + zero if one in names else int(one)
            for one in (first, last)
            if one != "*" and one
        ]
        low = least if first == "*" else bounds[0]
        high = most if first == "*" or (step and not last) else bounds[-1]
        if high < low:
            high += 7
        found |= set(range(low, high + 1, int(step or 1)))
    return found


def is_due(expression: str, minute: dt.datetime) -> bool:
    """Tell as cron's manual does whether a minute is one of an expression."""
    minutes, hours, days, months, weekdays = expression.split()
    if minute.minute not in _numbers(minutes, 0, 59, [], 0):
        return False
    if minute.hour not in _numbers(hours, 0, 23, [], 0):
        return False
    if minute.month not in _numbers(months, 1, 12, MONTHS, 1):
        return False
    tomorrow = minute + dt.timedelta(days=1)
    by_day = by_weekday = False
    for item in days.split(","):
        is_last = tomorrow.day == 1
        by_day |= is_last if item == "L" else minute.day in _numbers(item, 1, 31, [], 0)
    weekday = minute.isoweekday() % 7
    for item in weekdays.split(","):
        if "#" in item:
            day, _, nth = item.partition("#")
            is_nth = (minute.day - 1) // 7 + 1 == int(nth)
            by_weekday |= is_nth and weekday in {
                one % 7 for one in _numbers(day, 0, 7, WEEKDAYS, 0)
            }
        elif item.endswith("L"):
            in_a_week = minute + dt.timedelta(days=7)
            wanted = {one % 7 for one in _numbers(item[:-1], 0, 7, WEEKDAYS, 0)}
            by_weekday |= in_a_week.month != minute.month and weekday in wanted
        else:
            by_weekday |= weekday in {one % 7 for one in _numbers(item, 0, 7, WEEKDAYS, 0)}
    if days.startswith("*") or weekdays.startswith("*"):
        return by_day and by_weekday
    return by_day or by_weekday


def _items(least: int, most: int, names: list[str], zero: int = 0) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    value = number.map(str) | (st.sampled_from(names) if names else st.nothing())
    ranges = st.tuples(number, number).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    stepped = st.tuples(st.integers(least, least + 1), st.integers(1, 3)).map(
        lambda pair: f"{pair[0]}-{most}/{pair[1]}"
    )
    some = value | ranges | stepped | st.integers(1, 3).map(lambda step: f"*/{step}")
    return st.lists(some, min_size=1, max_size=3).map(",".join) | st.just("*")


wrapping = st.tuples(st.sampled_from(WEEKDAYS), st.sampled_from(WEEKDAYS[1:])).map("-".join)
in_month = st.tuples(
    st.sampled_from([*WEEKDAYS, *"01234567"]), st.sampled_from(["#1", "#2", "#5", "L"])
)
weekday_items = _items(0, 7, WEEKDAYS) | wrapping | in_month.map("".join)


def _is_refused(expression: str) -> bool:
    """Tell whether an expression is one of the few that cron takes and that are refused here."""
    _, _, days, months, weekdays = expression.split()
    in_the_month = {31} if "*" in months else _numbers(months, 1, 12, MONTHS, 1)
    if days != "*" and days.startswith("*") and any(one in weekdays for one in "#L"):
        return True
    either = not days.startswith("*") and not weekdays.startswith("*")
    if either or "L" in days or any(one in weekdays for one in "#L"):
        return False
    longest = max(31 if month == 31 else LONGEST[month - 1] for month in in_the_month)
    return min(_numbers(days, 1, 31, [], 0)) > longest


expressions = (
    st.tuples(
        _items(0, 59, []),
        _items(0, 23, []),
        _items(1, 31, []) | st.sampled_from(["L", "1,L", "15", "*/2"]),
        _items(1, 12, MONTHS) | st.just("*"),
        weekday_items
        | st.lists(weekday_items.filter(lambda one: "*" not in one), max_size=2, min_size=2).map(
            ",".join
        ),
    )
    .map(" ".join)
    .filter(lambda one: not _is_refused(one))
)


@settings(derandomize=True, deadline=None, database=None, max_examples=300)
@given(
    expressions,
    st.lists(st.datetimes(day("2030-01-01"), day("2033-12-31")), min_size=30, max_size=60),
)
def test_an_expression_is_due_when_cron_says(expression: str, moments: list[dt.datetime]) -> None:
    trigger = crontab(expression, "UTC")
    for moment in moments:
        minute = moment.replace(second=0, microsecond=0, tzinfo=UTC)
        # The first minute of its day and hour, and then itself: sparse expressions are met as well.
        for one in (minute.replace(hour=0, minute=0), minute.replace(minute=0), minute):
            following = trigger.get_next_fire_time(None, one)
            assert (following == one) is is_due(expression, one), one
            assert following is None or is_due(expression, following)


# --- Examples -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 2 * * 0", "cron[day_of_week='sun', hour='2', minute='0']"),
        ("0 2 * * 7", "cron[day_of_week='sun', hour='2', minute='0']"),
        ("0 2 * * sun", "cron[day_of_week='sun', hour='2', minute='0']"),
        ("0 2 * * 1", "cron[day_of_week='mon', hour='2', minute='0']"),
        ("0 2 * * 1-5", "cron[day_of_week='mon-fri', hour='2', minute='0']"),
        ("0 2 * * 5-7", "cron[day_of_week='fri-sun', hour='2', minute='0']"),
        ("0 2 * * fri-mon", "cron[day_of_week='mon,fri-sun', hour='2', minute='0']"),
        ("0 2 * * FRI-MON", "cron[day_of_week='mon,fri-sun', hour='2', minute='0']"),
        ("0 2 * * 6,0", "cron[day_of_week='sat,sun', hour='2', minute='0']"),
        ("0 2 * * */2", "cron[day_of_week='tue,thu,sat,sun', hour='2', minute='0']"),
        ("0 2 * * 1-5/2", "cron[day_of_week='mon,wed,fri', hour='2', minute='0']"),
        ("0 2 * * 0-6", "cron[hour='2', minute='0']"),
        ("*/15 * * * *", "cron[minute='*/15']"),
        ("5/15 * * * *", "cron[minute='5,20,35,50']"),
        ("0 9-17/2 * jan,jul *", "cron[month='1,7', hour='9,11,13,15,17', minute='0']"),
        ("0 0 L * *", "cron[day='last', hour='0', minute='0']"),
        ("0 0 1,L * *", "cron[day='1,last', hour='0', minute='0']"),
        ("0 0 * * 5L", "cron[day='last fri', hour='0', minute='0']"),
        ("0 0 * * friL", "cron[day='last fri', hour='0', minute='0']"),
        ("0 0 * * 1#2", "cron[day='2nd mon', hour='0', minute='0']"),
        ("0 0 * * 0#1,7L", "cron[day='1st sun,last sun', hour='0', minute='0']"),
        ("  @daily ", "cron[hour='0', minute='0']"),
        ("@midnight", "cron[hour='0', minute='0']"),
        ("@hourly", "cron[minute='0']"),
        ("@weekly", "cron[day_of_week='sun', hour='0', minute='0']"),
        ("@monthly", "cron[day='1', hour='0', minute='0']"),
        ("@yearly", "cron[month='1', day='1', hour='0', minute='0']"),
        (
            "0 0 13 * 5",
            "or[cron[day='13', hour='0', minute='0'], "
            "cron[day_of_week='fri', hour='0', minute='0']]",
        ),
        ("0 0 */2 * 5", "cron[day='*/2', day_of_week='fri', hour='0', minute='0']"),
        (
            "0 0 30 2 5",
            "or[cron[month='2', day='30', hour='0', minute='0'], "
            "cron[month='2', day_of_week='fri', hour='0', minute='0']]",
        ),
    ],
)
def test_an_expression_in_apscheduler_s_words(expression: str, expected: str) -> None:
    trigger = crontab(expression, "UTC")
    assert str(trigger) == expected
    assert all(part.timezone is UTC for part in getattr(trigger, "triggers", [trigger]))


def test_friday_the_13th_means_the_13th_and_fridays_as_in_cron() -> None:
    assert runs(crontab("0 0 13 * 5", "UTC"), "2031-05-01", 4) == [
        "Fri 2031-05-02 00:00",
        "Fri 2031-05-09 00:00",
        "Tue 2031-05-13 00:00",
        "Fri 2031-05-16 00:00",
    ]


def test_the_last_day_of_a_month_is_found_in_each() -> None:
    assert runs(crontab("30 6 L * *", "UTC"), "2032-01-15", 3) == [
        "Sat 2032-01-31 06:30",
        "Sun 2032-02-29 06:30",
        "Wed 2032-03-31 06:30",
    ]


def test_a_trigger_counts_in_the_project_s_zone_unless_another_is_given(
    settings: Settings,
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    assert crontab("0 2 * * *").timezone == ZoneInfo("Asia/Tokyo")
    assert crontab("0 2 * * *", timezone="Europe/Berlin").timezone == ZoneInfo("Europe/Berlin")
    assert crontab("0 2 * * *", ZoneInfo("Europe/Oslo")).timezone == ZoneInfo("Europe/Oslo")


def test_a_trigger_can_be_stored() -> None:
    trigger = crontab("0 0 13 * 5")
    assert str(pickle.loads(pickle.dumps(trigger))) == str(trigger)  # noqa: S301


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("", "0 fields instead of five"),
        ("0 2 * *", "4 fields instead of five"),
        ("0 0 2 * * 0", r"6 fields .* CronTrigger"),
        ("0 2 * * * /usr/bin/backup", "6 fields"),
        ("60 2 * * *", "minute 60 is not from 0 to 59"),
        ("0 24 * * *", "hour 24 is not from 0 to 23"),
        ("0 2 0 * *", "day of month 0 is not from 1 to 31"),
        ("0 2 * 13 *", "month 13 is not from 1 to 12"),
        ("0 2 * * 8", "day of week 8 is not from 0 to 7"),
        ("0 2 * * sonntag", "'sonntag' is not understood: it takes 0-7 and the names sun, mon"),
        ("0 2 * * monday", "'monday' is not understood"),
        ("0 2 * januar *", "'januar' is not understood"),
        ("0 2 ? * 1", r"write \* instead of \?"),
        ("0 2 15W * *", "day of month '15w' is not understood"),
        ("0 2 L-3 * *", "day of month 'l' is not understood"),
        ("0 2 * * L", "day of week 'l' is not understood"),
        ("0 2 * * 1-3L", "'3l' is not understood"),
        ("0 2 * * 5#6", "the first to the fifth"),
        ("0 2 * * 5#0", "the first to the fifth"),
        ("0 2 * * 5#", "not understood"),
        ("0 22-2 * * *", "goes backwards; write two ranges, 22-23,0-2"),
        ("*/90 * * * *", "a step that is longer than its range"),
        ("*/0 * * * *", "a step that is not a number above 0"),
        ("*/x * * * *", "a step that is not a number above 0"),
        ("1,,2 * * * *", "minute '' is not understood"),
        ("-5 * * * *", "minute '-5' is not understood"),
        ("1.5 * * * *", "minute '1.5' is not understood"),
        ("H * * * *", "minute 'h' is not understood"),
        ("*-5 * * * *", r"\* cannot be a part of a range"),
        ("٣ * * * *", "is not understood"),
        ("0 0 30 2 *", "it would never run"),
        ("0 0 31 4,6 *", "it would never run"),
        ("0 0 */2 * 5#1", "declare two jobs"),
        ("@reboot", "run_at_start=True"),
        ("@dayly", "@dayly is not known; there are @yearly"),
        (5, "pass one text"),
        (None, "pass one text"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(expression: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        crontab(expression)
    assert str(caught.value).startswith(f"crontab({expression!r}): ")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "Europe", "../../etc/passwd", 5, "\0"])
def test_a_zone_that_is_not_known_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"the time zone .* is not known"):
        crontab("0 2 * * *", zone)
