"""Whatever the trigger and whenever the look: runs are those that APScheduler's own store gives.

The reference is APScheduler itself: its loop, its memory store (or its SQL store, where
REFERENCE_URL names a database) and an executor of its own, with the clock held still. These
differences are meant, and each has a test of its own:

- a run that is too late is recorded as missed even while too many others run;
- a job that was away for long catches up in portions;
- jitter is rolled once for each time, where APScheduler rolls again after the last one;
- jitter keeps to the second of two hours of one name, where APScheduler falls back to the first;
- a trigger that does not move on is refused, where APScheduler asks it for ever.
"""

import datetime as dt
import os
import random
import types
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler import events
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.job import Job
from apscheduler.jobstores.base import BaseJobStore
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jobstore.claims.plan import MAX_RUN_TIMES, plan
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, SchedulerLease
from jobstore.storage import serializer
from jobstore.tests import callables, strategies
from jobstore.tests.simulation import Loop, Process, by_hand, work

__all__ = ["by_hand"]  # a fixture

STARTED, MISSED, SKIPPED = "started", "missed", "skipped"
MICROSECOND = dt.timedelta(microseconds=1)
HOUR = dt.timedelta(hours=1)

derandomized = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    # Looking for the smallest failure takes minutes.
    phases=(Phase.explicit, Phase.generate),
)


@pytest.fixture(autouse=True)
def _one_roll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jitter be the same share of its range however often it is rolled."""
    monkeypatch.setattr(random, "uniform", lambda low, high: low + (high - low) * Clock.share)


class Clock(dt.datetime):
    """The time that APScheduler sees, held still."""

    at = dt.datetime.now(dt.UTC)
    share = 0.5

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        """Return the time that was set."""
        return cls.at.astimezone(tz)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("schedulers.base", "executors.base"):
        monkeypatch.setattr(f"apscheduler.{module}.datetime", Clock)


class AtOnce(BaseExecutor):  # type: ignore[misc]
    """Runs a job at once where it is submitted."""

    def _do_submit_job(self, job: Job, run_times: list[dt.datetime]) -> None:
        for event in run_job(job, job._jobstore_alias, run_times, "reference"):
            self._scheduler._dispatch_event(event)
        self._instances[job.id] -= 1


def reference_store() -> BaseJobStore:
    """Return a store of APScheduler's own, empty."""
    if url := os.environ.get("REFERENCE_URL"):
        from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore

        store = SQLAlchemyJobStore(url)
    else:
        store = MemoryJobStore()
    to_close.append(store)
    return store


to_close: list[BaseJobStore] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while to_close:
        to_close.pop().shutdown()


class Reference:
    """APScheduler with its memory store."""

    def __init__(self, trigger: BaseTrigger, first: dt.datetime, **limits: Any) -> None:
        self.loop = Loop(timezone="UTC")
        self.executor = AtOnce()
        self.loop.add_executor(self.executor)
        self.loop.add_jobstore(reference_store())
        self.loop.state = 1
        self.executor.start(self.loop, "default")
        for store in self.loop._jobstores.values():
            store.start(self.loop, "default")
        self.job = self.loop.add_job(
            callables.note, trigger, id="job", next_run_time=first, **limits
        )
        self.seen: list[tuple[str, dt.datetime]] = []
        kinds = {
            events.EVENT_JOB_EXECUTED: STARTED,
            events.EVENT_JOB_MISSED: MISSED,
            events.EVENT_JOB_MAX_INSTANCES: SKIPPED,
        }
        self.loop.add_listener(lambda event: self._note(kinds[event.code], event), sum(kinds))

    def _note(self, kind: str, event: Any) -> None:
        times = getattr(event, "scheduled_run_times", None) or [event.scheduled_run_time]
        self.seen += [(kind, time.astimezone(dt.UTC)) for time in times]

    def look(self, now: dt.datetime, running: int = 0) -> list[tuple[str, dt.datetime]]:
        """Let the loop look once, while so many instances run; return what became of each time."""
        Clock.at = now
        self.seen.clear()
        self.executor._instances["job"] = running
        self.loop._process_jobs()
        return sorted(self.seen)

    @property
    def due(self) -> dt.datetime | None:
        """When the job is due next, in UTC."""
        job = self.loop._jobstores["default"].lookup_job("job")
        return None if job is None else job.next_run_time.astimezone(dt.UTC)


def stored(job: Job, due: dt.datetime) -> DjangoJob:
    """Return the row of a job, as it would be stored."""
    return DjangoJob(pk=job.id, next_run_time=due.astimezone(dt.UTC), **serializer.values(job))


@st.composite
def looks(draw: st.DrawFn, due: dt.datetime, trigger: BaseTrigger) -> dt.datetime:
    """A time at which somebody looks: at, just before or after one of the next run times."""
    time = due
    for _ in range(draw(st.integers(0, 12))):
        time = trigger.get_next_fire_time(time, time + MICROSECOND) or time
    offset = draw(
        st.sampled_from([dt.timedelta(0), MICROSECOND, -MICROSECOND, HOUR, HOUR / 2])
        | st.timedeltas(dt.timedelta(0), dt.timedelta(seconds=90))
    )
    return max(due, time.astimezone(dt.UTC) + offset)


@st.composite
def stories(draw: st.DrawFn) -> tuple[BaseTrigger, dt.datetime, dict[str, Any]]:
    """A trigger, the first time that it gives, and the limits of its job."""
    trigger = draw(strategies.triggers())
    now = draw(strategies.moments)
    Clock.share = draw(st.sampled_from([0.0, 0.25, 0.999]))
    first = trigger.get_next_fire_time(None, now.astimezone(dt.UTC)) or now
    return trigger, first, draw(strategies.limits)


@derandomized
@given(st.data())
def test_a_look_finds_what_apscheduler_finds(data: st.DataObject) -> None:
    trigger, first, limits = data.draw(stories())
    reference = Reference(trigger, first, **limits)
    row = stored(reference.job, first)
    for _ in range(3):
        if reference.due is None or row.next_run_time is None:
            break
        now = data.draw(looks(reference.due, trigger))
        running = data.draw(st.sampled_from([0, 0, 1, limits["max_instances"]]))
        planned = plan(serializer.restore(row, reference.loop), 1, now, running=running)
        expected = reference.look(now, running)
        if running >= limits["max_instances"]:
            expected = [(SKIPPED, time) for _, time in expected]
            planned.skipped, planned.missed = sorted(planned.skipped + planned.missed), []
        found = [(STARTED, time) for time in planned.start]
        found += [(MISSED, time) for time in planned.missed]
        found += [(SKIPPED, time) for time in planned.skipped]
        assert sorted(found) == expected
        row.next_run_time = planned.next_run_time
        assert row.next_run_time == reference.due


@settings(derandomized, max_examples=25)
@given(st.data())
@pytest.mark.django_db
@pytest.mark.usefixtures("by_hand")
def test_history_holds_what_apscheduler_would_have_run(data: st.DataObject) -> None:
    for model in (DjangoJobExecution, DjangoJob, SchedulerLease, SchedulerInstance):
        model._base_manager.all().delete()
    trigger, first, limits = data.draw(stories())
    reference = Reference(trigger, first, **limits)
    process = ours(first)
    process.store.add_job(reference.job)
    expected = []
    for _ in range(3):
        if reference.due is None:
            break
        process.world.now = data.draw(looks(reference.due, trigger))
        expected += reference.look(process.world.now)
        process.schedule()
        process.finish()
        names = {"Executed": STARTED, "Missed!": MISSED}
        history = DjangoJobExecution.objects.order_by("run_time").values_list(
            "status", "run_time", "last_run_time", "times"
        )
        rows = [(names[status], first, last or first, n) for status, first, last, n in history]
        assert rows == in_rows(expected)
        assert DjangoJob.objects.values_list("next_run_time", flat=True).first() == reference.due


def in_rows(
    expected: list[tuple[str, dt.datetime]],
) -> list[tuple[str, dt.datetime, dt.datetime, int]]:
    """Return the rows that tell of these outcomes: times missed in a row share one."""
    rows: list[tuple[str, dt.datetime, dt.datetime, int]] = []
    for status, time in sorted(expected, key=lambda one: one[1]):
        if rows and rows[-1][0] == status == MISSED:
            _, first, _, times = rows.pop()
            rows.append((status, first, time, times + 1))
        else:
            rows.append((status, time, time, 1))
    return rows


def ours(now: dt.datetime) -> Process:
    """Return a real scheduler process that looks when it is told to, and holds the lease."""
    world: Any = types.SimpleNamespace(
        now=now,
        random=random.Random(0),  # noqa: S311 - any will do
        is_calm=True,
        chance=lambda probability: False,
        checker=types.SimpleNamespace(start=lambda *args: None, end=lambda *args: None),
    )
    process = Process(world)
    process.store.elector.step()
    return process


def nominal(zone: ZoneInfo, year: int, hour: int | None, minute: int) -> list[dt.datetime]:
    """Return every instant of a year at which a clock on the wall there shows this time."""
    quarter = dt.timedelta(minutes=15)
    instants = [
        dt.datetime(year, 1, 1, tzinfo=dt.UTC) + number * quarter for number in range(35040)
    ]
    return [
        instant
        for instant in instants
        if (local := instant.astimezone(zone)).minute == minute and hour in {None, local.hour}
    ]


def runs_of_a_year(trigger: CronTrigger, year: int) -> list[dt.datetime]:
    """Return what runs when somebody looks at irregular times, each time on what is due since."""
    now, end = (dt.datetime(year + more, 1, 1, tzinfo=dt.UTC) for more in (0, 1))
    gaps = random.Random(year)  # noqa: S311 - repeats what it did
    first = trigger.get_next_fire_time(None, now)
    job = Reference(trigger, first, coalesce=False, misfire_grace_time=None).job
    started: list[dt.datetime] = []
    while now < end:
        now = min(end - MICROSECOND, now + HOUR * gaps.choice([0.1, 0.5, 1, 3, 24, 300]))
        planned = plan(job, 1, now)
        started += planned.start
        if planned.next_run_time is None or now == end - MICROSECOND:
            break
        job.next_run_time = planned.next_run_time.astimezone(trigger.timezone)
    return started


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe"])
def test_each_hour_of_a_year_runs_once(zone: str) -> None:
    runs = runs_of_a_year(CronTrigger(minute=30, timezone=zone), 2026)
    assert runs == nominal(ZoneInfo(zone), 2026, None, 30)


@pytest.mark.parametrize(
    ("zone", "hour", "minute", "in_the_gap"),
    [
        ("Europe/Berlin", 2, 30, ["2026-03-29T01:30Z"]),
        ("America/New_York", 2, 0, ["2026-03-08T07:00Z"]),
        ("Australia/Lord_Howe", 2, 0, ["2026-10-03T15:30Z"]),
        ("America/New_York", 1, 45, []),
        ("Pacific/Apia", 3, 0, []),
    ],
)
def test_a_time_that_a_day_lacks_runs_once_and_one_that_it_has_twice_runs_twice(
    zone: str, hour: int, minute: int, in_the_gap: list[str]
) -> None:
    runs = runs_of_a_year(CronTrigger(hour=hour, minute=minute, timezone=zone), 2026)
    extra = [dt.datetime.fromisoformat(text) for text in in_the_gap]
    assert runs == sorted(nominal(ZoneInfo(zone), 2026, hour, minute) + extra)


@derandomized
@given(strategies.triggers(), st.lists(strategies.plain_values), strategies.limits)
def test_a_job_comes_back_from_its_signed_state_as_it_was(
    trigger: BaseTrigger, args: list[Any], limits: dict[str, Any]
) -> None:
    first = dt.datetime(2026, 3, 29, 1, 0, 0, 7, tzinfo=dt.UTC)
    loop = Loop(timezone="UTC")
    job = loop.add_job(
        work, trigger, args=args, kwargs={"more": args}, id="job", next_run_time=first
    )
    job._modify(executor="default", **limits)
    restored = serializer.restore(stored(job, first), loop)
    before, after = job.__getstate__(), restored.__getstate__()
    old, new = before.pop("trigger"), after.pop("trigger")
    assert before == after
    assert type(old) is type(new) and repr(old) == repr(new)
    for previous in (None, first):
        assert old.get_next_fire_time(previous, first) == new.get_next_fire_time(previous, first)


# --- Jitter ------------------------------------------------------------------------------------


@derandomized
@given(strategies.crons("UTC"), strategies.moments, st.floats(0, 1))
def test_jitter_only_delays_and_by_no_more_than_it_may(
    trigger: CronTrigger, now: dt.datetime, share: float
) -> None:
    jitter, trigger.jitter = trigger.jitter or 0, None
    exact = trigger.get_next_fire_time(None, now)
    trigger.jitter, Clock.share = jitter, share
    moved = trigger.get_next_fire_time(None, now)
    if exact is None:
        assert moved is None
    else:
        delay = moved.astimezone(dt.UTC) - exact.astimezone(dt.UTC)
        assert dt.timedelta(0) <= delay <= dt.timedelta(seconds=jitter)


def test_jitter_longer_than_the_period_passes_over_times() -> None:
    """As in APScheduler: the next time is looked for after the delayed one."""
    noon = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
    Clock.share = 0.75
    trigger = CronTrigger(minute="*", jitter=120, timezone="UTC")
    first = trigger.get_next_fire_time(None, noon)
    reference = Reference(trigger, first, coalesce=False, misfire_grace_time=None)
    planned = plan(reference.job, 1, noon + HOUR / 6)
    gaps = {later - sooner for sooner, later in zip(planned.start, planned.start[1:], strict=False)}
    assert gaps == {dt.timedelta(minutes=2)}
    assert reference.look(noon + HOUR / 6) == [(STARTED, time) for time in planned.start]


# --- Differences that are meant -------------------------------------------------------------------

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


def every_minute() -> IntervalTrigger:
    return IntervalTrigger(minutes=1, start_date=NOON)


def test_a_late_run_counts_as_missed_even_while_too_many_run() -> None:
    reference = Reference(every_minute(), NOON, misfire_grace_time=1)
    late = NOON + HOUR / 100
    planned = plan(reference.job, 1, late, running=1)
    assert (planned.missed, planned.skipped) == ([NOON], [])
    assert reference.look(late, running=1) == [(SKIPPED, NOON)]


def test_a_long_absence_is_caught_up_in_portions_where_apscheduler_takes_all_at_once() -> None:
    reference = Reference(every_minute(), NOON, coalesce=False, misfire_grace_time=None)
    now, portions = NOON + 30 * HOUR, []
    job = serializer.restore(stored(reference.job, NOON), reference.loop)
    while job.next_run_time <= now:
        planned = plan(job, 1, now)
        portions.append(planned.start)
        job.next_run_time = planned.next_run_time
    assert [len(portion) for portion in portions] == [MAX_RUN_TIMES, 801]
    assert reference.look(now) == [(STARTED, time) for portion in portions for time in portion]


def test_jitter_is_rolled_once_where_apscheduler_rolls_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rolls = iter([10.0, 20.0, 30.0])
    monkeypatch.setattr(random, "uniform", lambda low, high: next(rolls))
    trigger = IntervalTrigger(minutes=1, start_date=NOON, jitter=60)
    reference = Reference(trigger, NOON)
    assert plan(reference.job, 1, NOON).next_run_time == NOON + dt.timedelta(seconds=70)
    reference.look(NOON)
    assert reference.due == NOON + dt.timedelta(seconds=90)  # asked twice: the second answer


@pytest.mark.parametrize("seconds", [5, 15, 55])
def test_jitter_does_not_lead_back_from_a_repeated_hour_into_the_first(seconds: int) -> None:
    """APScheduler adds jitter by the clock on the wall: it would ask for the same time for ever."""
    trigger = CronTrigger(minute=0, jitter=60, timezone="Europe/Berlin")
    Clock.share = seconds / 60
    start = dt.datetime(2026, 10, 24, 22, tzinfo=dt.UTC)
    first = trigger.get_next_fire_time(None, start)
    Clock.share = (seconds + 3) % 60 / 60
    job = Reference(trigger, first, coalesce=False, misfire_grace_time=None).job
    runs = plan(job, 1, start + 5.5 * HOUR).start
    assert [time.replace(second=0) for time in runs] == [start + n * HOUR for n in range(6)]


def test_a_job_keeps_to_its_triggers_zone_whatever_zone_its_first_time_was_given_in() -> None:
    """A calendar interval goes by the date, which is another in another zone."""
    zone = ZoneInfo("America/New_York")
    trigger = CalendarIntervalTrigger(
        days=1, hour=23, start_date="2026-06-01", timezone="America/New_York"
    )
    due = dt.datetime(2026, 6, 1, 23, tzinfo=zone)
    reference = Reference(trigger, due.astimezone(dt.UTC))
    row = stored(reference.job, due)
    runs = []
    for days in range(3):
        now = due + dt.timedelta(days=days)
        planned = plan(serializer.restore(row, reference.loop), 1, now)
        runs += [time.astimezone(zone).day for time in planned.start]
        row.next_run_time = planned.next_run_time
    assert runs == [1, 2, 3]
