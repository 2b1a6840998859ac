"""A job that was away for months is due as if each of its times had been asked for, but at once."""

import datetime as dt
import time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from jobstore.claims.plan import Plan, plan
from jobstore.schedules import catch_up
from jobstore.tests import strategies
from jobstore.tests.claims.test_plan import job

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
MONTH = dt.timedelta(days=30)


@st.composite
def absences(draw: st.DrawFn) -> tuple[BaseTrigger, dt.datetime]:
    """A trigger of any kind, and how long nobody ran its job."""
    zone = draw(strategies.zones)
    one = strategies.crons(zone) | strategies.intervals(zone) | strategies.calendars(zone)
    crons = st.lists(strategies.crons(zone), min_size=1, max_size=2).map(OrTrigger)
    seconds = st.builds(
        IntervalTrigger,
        seconds=st.sampled_from([47, 60.000001, 3599.999999, 86400]),
        start_date=strategies.moments,
        timezone=st.just(zone),
    )
    trigger = draw(one | crons | seconds)
    begin = draw(strategies.moments) - draw(st.timedeltas(dt.timedelta(), dt.timedelta(days=6)))
    return trigger, begin


def planned(
    trigger: BaseTrigger, due: dt.datetime, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> tuple[Plan, Plan]:
    """Return what is planned, and what would be if each time were asked for."""
    quick = plan(job(trigger, due), 1, now)
    with monkeypatch.context() as patch:
        patch.setattr(catch_up, "close_to", lambda trigger, due, now: due)
        slow = plan(job(trigger, due), 1, now)
    return quick, slow


@pytest.mark.parametrize("use_tz", [True, False], ids=["USE_TZ", "naive"])
@hypothesis_settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(absences(), st.timedeltas(dt.timedelta(), dt.timedelta(days=9)))
def test_the_same_is_due_as_if_each_time_had_been_asked_for(
    use_tz: bool,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    absence: tuple[BaseTrigger, dt.datetime],
    away: dt.timedelta,
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Europe/Berlin"
    trigger, begin = absence
    if getattr(trigger, "jitter", None) or any(
        part.jitter for part in getattr(trigger, "triggers", [])
    ):
        return  # nothing is skipped, which test_jitter_is_rolled_for_each_time sees
    due = trigger.get_next_fire_time(None, begin)
    if due is None:
        return
    now = due.astimezone(dt.UTC) + away
    quick, slow = planned(trigger, due, now, monkeypatch)
    assert (quick.start, quick.missed, quick.next_run_time) == (
        slow.start,
        slow.missed,
        slow.next_run_time,
    )


@pytest.mark.parametrize(
    "trigger",
    [
        IntervalTrigger(seconds=1, timezone="UTC"),
        IntervalTrigger(seconds=1, timezone="Europe/Berlin", end_date="2026-11-20"),
        CronTrigger(second="*", timezone="Europe/Berlin"),
        OrTrigger([CronTrigger(second="*/2", timezone="UTC"), CronTrigger(hour=3, timezone="UTC")]),
    ],
)
def test_a_job_of_each_second_that_was_away_for_half_a_year_is_planned_at_once(
    trigger: BaseTrigger,
) -> None:
    now = NOON + 6 * MONTH + dt.timedelta(microseconds=7)
    began = time.perf_counter()  # asking for each of the times takes minutes
    found = plan(job(trigger, NOON), 1, now)
    assert time.perf_counter() - began < 10
    [run_time] = found.start
    end = getattr(trigger, "end_date", None) or now
    assert dt.timedelta() <= min(now, end) - run_time < dt.timedelta(seconds=2)


def test_an_interval_with_a_fraction_keeps_its_beat_for_years() -> None:
    beat = dt.timedelta(seconds=0.7, microseconds=1)
    trigger = IntervalTrigger(seconds=beat.total_seconds(), timezone="Europe/Berlin")
    found = plan(job(trigger, NOON), 1, NOON + 60 * MONTH)
    assert found.next_run_time is not None
    assert (found.next_run_time - NOON) % beat == dt.timedelta()


def test_around_a_change_of_clocks_each_time_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = ZoneInfo("America/New_York")
    trigger = OrTrigger(
        [CronTrigger(minute="30", timezone=zone), CronTrigger(minute="0,45", timezone=zone)]
    )
    due = dt.datetime(2026, 10, 29, 2, 30, tzinfo=zone)
    # Where an hour comes twice, APScheduler takes the later of two times for the earlier one.
    now = dt.datetime(2026, 11, 1, 6, 3, tzinfo=dt.UTC)
    quick, slow = planned(trigger, due, now, monkeypatch)
    assert (quick.start, quick.next_run_time) == (slow.start, slow.next_run_time)


@pytest.mark.parametrize("kind", [IntervalTrigger, CronTrigger])
def test_jitter_is_rolled_for_each_time(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"minutes": 1} if kind is IntervalTrigger else {"minute": "*"}
    trigger = kind(**options, jitter=5, timezone="UTC")
    assert catch_up.close_to(trigger, NOON, NOON + MONTH) == NOON


@pytest.mark.parametrize(
    "trigger",
    [IntervalTrigger(minutes=1, timezone="UTC"), CronTrigger(minute="*", timezone="UTC")],
)
def test_an_hour_that_cannot_be_stored_is_not_the_last_due_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, trigger: BaseTrigger
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Berlin"
    due = dt.datetime(2026, 10, 20, tzinfo=dt.UTC)
    now = dt.datetime(2026, 10, 25, 1, 30, tzinfo=dt.UTC)  # in the second of two equal hours
    quick, slow = planned(trigger, due, now, monkeypatch)
    assert quick.start == slow.start
    assert quick.start[0].astimezone(ZoneInfo("Europe/Berlin")).fold == 0


@pytest.mark.parametrize(
    "trigger",
    [
        CronTrigger(minute="*", timezone="UTC"),
        OrTrigger([CronTrigger(minute="*", timezone="UTC")]),
        IntervalTrigger(minutes=1, timezone="UTC"),
    ],
)
def test_a_job_goes_on_after_an_hour_that_cannot_be_stored(
    settings: Settings, trigger: BaseTrigger
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Berlin"
    due = dt.datetime(2026, 10, 25, 0, 59, tzinfo=dt.UTC)  # a minute before clocks are set back
    found = plan(job(trigger, due), 1, due)
    assert found.next_run_time == dt.datetime(2026, 10, 25, 2, 0, tzinfo=dt.UTC)
