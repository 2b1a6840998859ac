"""What becomes of a due job is what APScheduler's own store and executor make of it."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from jobstore.claims.plan import MAX_RUN_TIMES, UnusableTrigger, plan
from jobstore.tests import callables

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


def job(trigger: BaseTrigger, due: dt.datetime, **options: Any) -> Job:
    defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    return Job(
        BackgroundScheduler(timezone="UTC"),
        id="job",
        func=callables.note,
        args=(),
        kwargs={},
        executor="default",
        trigger=trigger,
        next_run_time=due,
        **(defaults | options),
    )


def every_minute(**options: Any) -> Job:
    return job(IntervalTrigger(minutes=1, start_date=NOON), NOON, **options)


def test_a_job_that_is_due_runs_at_its_time_and_moves_on() -> None:
    planned = plan(every_minute(), 1, NOON)
    assert (planned.start, planned.next_run_time) == ([NOON], NOON + MINUTE)


def test_overdue_times_coalesce_into_the_last() -> None:
    planned = plan(every_minute(), 1, NOON + 3.5 * MINUTE)
    assert planned.start == [NOON + 3 * MINUTE]
    assert planned.next_run_time == NOON + 4 * MINUTE


def test_overdue_times_all_run_without_coalescing() -> None:
    planned = plan(every_minute(coalesce=False), 1, NOON + 2.5 * MINUTE)
    assert planned.start == [NOON, NOON + MINUTE, NOON + 2 * MINUTE]


def test_times_beyond_the_grace_are_missed_and_the_others_run() -> None:
    late = every_minute(coalesce=False, misfire_grace_time=90)
    planned = plan(late, 1, NOON + 2.5 * MINUTE)
    assert planned.missed == [NOON]
    assert planned.start == [NOON + MINUTE, NOON + 2 * MINUTE]


def test_waiting_for_a_free_worker_is_not_a_misfire() -> None:
    late = every_minute(misfire_grace_time=1)
    planned = plan(late, 1, NOON + MINUTE / 2, saturated_since=NOON)
    assert planned.start == [NOON]


def test_being_late_already_when_workers_became_scarce_is_a_misfire() -> None:
    late = every_minute(misfire_grace_time=1)
    planned = plan(late, 1, NOON + MINUTE / 2, saturated_since=NOON + MINUTE / 4)
    assert planned.missed == [NOON]


def test_a_job_with_too_many_runs_is_skipped_and_moves_on() -> None:
    planned = plan(every_minute(), 1, NOON, running=1)
    assert (planned.start, planned.skipped) == ([], [NOON])
    assert planned.next_run_time == NOON + MINUTE


def test_the_last_run_has_no_next_time() -> None:
    ends = IntervalTrigger(minutes=1, start_date=NOON, end_date=NOON)
    assert plan(job(ends, NOON), 1, NOON).next_run_time is None


def test_jitter_is_rolled_once() -> None:
    class Counting(IntervalTrigger):  # type: ignore[misc]
        asked = 0

        def get_next_fire_time(self, *args: Any) -> dt.datetime:
            Counting.asked += 1
            return super().get_next_fire_time(*args)  # type: ignore[no-any-return]

    planned = plan(job(Counting(minutes=1, start_date=NOON, jitter=30), NOON), 1, NOON)
    assert Counting.asked == 1
    assert planned.next_run_time is not None


def test_a_long_absence_is_caught_up_in_portions() -> None:
    planned = plan(every_minute(coalesce=False), 1, NOON + 10 * MAX_RUN_TIMES * MINUTE)
    assert len(planned.start) == MAX_RUN_TIMES
    assert planned.next_run_time == NOON + MAX_RUN_TIMES * MINUTE


class Stuck(BaseTrigger):  # type: ignore[misc]
    def get_next_fire_time(self, previous: dt.datetime | None, now: dt.datetime) -> dt.datetime:
        return NOON


class Broken(BaseTrigger):  # type: ignore[misc]
    def get_next_fire_time(self, previous: dt.datetime | None, now: dt.datetime) -> dt.datetime:
        raise RuntimeError("no idea")


@pytest.mark.parametrize(("trigger", "text"), [(Stuck(), "advance"), (Broken(), "no idea")])
def test_a_trigger_that_cannot_be_used_is_refused(trigger: BaseTrigger, text: str) -> None:
    with pytest.raises(UnusableTrigger, match=text):
        plan(job(trigger, NOON), 1, NOON)


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        pytest.param(dt.datetime(2026, 10, 25, tzinfo=BERLIN), 25, id="fold"),
        pytest.param(dt.datetime(2026, 3, 29, tzinfo=BERLIN), 23, id="gap"),
    ],
)
def test_every_hour_of_a_day_with_a_clock_change_runs_once(day: dt.datetime, expected: int) -> None:
    hourly = job(CronTrigger(minute=0, timezone=BERLIN), day, coalesce=False)
    end = (day + dt.timedelta(days=1) - MINUTE).astimezone(dt.UTC)
    times = [time.astimezone(dt.UTC) for time in plan(hourly, 1, end).start]
    assert len(times) == len(set(times)) == expected


def test_a_job_due_in_the_repeated_hour_is_known_by_its_instant() -> None:
    second = dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)
    planned = plan(job(CronTrigger(minute=30, timezone=BERLIN), second), 1, second)
    assert planned.due == planned.start[0] == dt.datetime(2026, 10, 25, 1, 30, tzinfo=dt.UTC)
