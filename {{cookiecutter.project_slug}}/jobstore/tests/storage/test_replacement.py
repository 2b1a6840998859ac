"""A schedule that nobody changed goes on; what somebody changed in it takes effect."""

import copy
import dataclasses
import datetime as dt
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import apscheduler.triggers.calendarinterval
import apscheduler.triggers.date
import apscheduler.triggers.interval
import pytest
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from jobstore import registry
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob
from jobstore.registry import scheduled
from jobstore.schedules import trigger_defaults
from jobstore.storage import replacement, serializer, signing
from jobstore.tests import callables
from jobstore.util import as_aware, get_django_internal_datetime

UTC = dt.UTC
FIRST = dt.datetime(2031, 3, 4, 5, 6, 7, 891234, tzinfo=UTC)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


# --- A clock that moves -------------------------------------------------------------------------


class _Moved(type):
    """Lets plain times pass for those of the class whose clock was moved."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, dt.datetime)


class Clock(dt.datetime, metaclass=_Moved):
    """The clock that triggers read when they are made."""

    at = FIRST

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        """Return the time that was set."""
        return cls.at.astimezone(tz)


class Calendar(dt.date):
    """The day on that clock."""

    @classmethod
    def today(cls) -> Any:
        """Return the day that was set."""
        return Clock.at.date()


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "at", FIRST)
    monkeypatch.setattr(apscheduler.triggers.interval, "datetime", Clock)
    monkeypatch.setattr(apscheduler.triggers.date, "datetime", Clock)
    monkeypatch.setattr(apscheduler.triggers.calendarinterval, "date", Calendar)


# --- Triggers as they are written in code --------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Written:
    """A trigger as code says it; each start of a process makes another object of it."""

    kind: Callable[..., BaseTrigger]
    options: tuple[tuple[str, Any], ...] = ()
    parts: tuple["Written", ...] = ()

    def make(self) -> BaseTrigger:
        """Return a new object."""
        parts = [part.make() for part in self.parts]
        return self.kind(*([parts] if parts else []), **dict(self.options))


def written(kind: Callable[..., BaseTrigger], **options: Any) -> Written:
    return Written(kind, tuple(sorted(options.items())))


zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"])
jitters = st.none() | st.integers(1, 300)
day = dt.datetime.fromisoformat
starts = st.none() | st.datetimes(
    day("2031-01-01"), day("2031-04-01"), timezones=st.sampled_from([None, UTC])
)
# Also as texts, and on whole seconds: nothing may rest on what a moment looks like.
whole = starts.map(lambda one: one and one.replace(microsecond=0))
moments: st.SearchStrategy[Any] = starts | whole
moments |= whole.map(lambda one: one and f"{one:%Y-%m-%d %H:%M:%S}")
days: st.SearchStrategy[Any] = st.none() | st.dates(dt.date(2031, 1, 1), dt.date(2031, 4, 1))
ends = st.none() | st.datetimes(day("2050-01-01"), day("2060-01-01"))

crons = st.builds(
    lambda **options: written(CronTrigger, **options),
    hour=st.integers(0, 23),
    day_of_week=st.sampled_from([None, "mon-fri", "sun"]),
    start_date=moments,
    end_date=ends,
    timezone=zones,
    jitter=jitters,
)
intervals = st.builds(
    lambda **options: written(IntervalTrigger, **options),
    minutes=st.integers(1, 5000),
    start_date=moments,
    end_date=ends,
    timezone=zones,
    jitter=jitters,
)
calendars = st.builds(
    lambda **options: written(CalendarIntervalTrigger, **options),
    days=st.integers(1, 10),
    hour=st.integers(0, 23),
    start_date=days,
    end_date=st.none() | st.just(dt.date(2050, 1, 1)),
    timezone=zones,
    jitter=jitters,
)
dates = st.builds(
    lambda **options: written(DateTrigger, **options),
    run_date=moments.filter(bool),
    timezone=zones,
) | st.just(written(DateTrigger))  # at once, in whichever zone
single = crons | intervals | calendars | dates
combined = st.builds(
    lambda kind, jitter, parts: Written(kind, (("jitter", jitter),), tuple(parts)),
    st.sampled_from([OrTrigger, AndTrigger]),
    jitters,
    st.lists(single, min_size=1, max_size=3),
)
any_trigger = (
    single
    | combined
    | st.builds(lambda one, other: Written(OrTrigger, (), (one, other)), combined, single)
)
pauses = st.timedeltas(dt.timedelta(microseconds=1), dt.timedelta(days=400))

thorough = hypothesis_settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def make_job(trigger: BaseTrigger, next_run_time: dt.datetime | None) -> Job:
    return Job(
        BackgroundScheduler(timezone="UTC"),
        id="job",
        func=callables.note,
        args=(),
        kwargs={},
        executor="default",
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
        trigger=trigger,
        next_run_time=next_run_time,
    )


def stored(job: Job) -> DjangoJob:
    """Return a job's row, as another process finds it."""
    next_run_time = get_django_internal_datetime(job.next_run_time)
    return DjangoJob(pk=job.id, next_run_time=next_run_time, **serializer.values(job))


def replaced(old: BaseTrigger, new: BaseTrigger) -> Job:
    """Return the job that replaces one which is due at a time that only its row knows."""
    job = make_job(new, FIRST + 1000 * DAY)
    replacement.keep_schedule(job, stored(make_job(old, FIRST + HOUR)))
    return job


@thorough
@given(any_trigger, pauses)
def test_a_trigger_that_is_made_again_on_another_day_means_the_same(
    trigger: Written, later: dt.timedelta
) -> None:
    Clock.at = FIRST
    old = trigger.make()
    Clock.at = FIRST + later
    new = trigger.make()
    assert replacement.identity(new) == replacement.identity(old)
    job = replaced(old, new)
    assert job.next_run_time == FIRST + HOUR
    # Nor does it begin anew after the next pause.
    assert repr(job.trigger) == repr(old)


@thorough
@given(any_trigger, any_trigger, pauses)
def test_a_trigger_that_is_written_otherwise_takes_effect(
    old: Written, new: Written, later: dt.timedelta
) -> None:
    Clock.at = FIRST
    first = old.make()
    assume(repr(first) != repr(new.make()))
    Clock.at = FIRST + later
    job = replaced(first, new.make())
    assert job.next_run_time == FIRST + 1000 * DAY


@st.composite
def _moment_changes(draw: st.DrawFn) -> tuple[Written, Written]:
    trigger = draw(single.filter(lambda one: one.options))
    options = dict(trigger.options)
    names = sorted(options.keys() & {"start_date", "end_date", "run_date"})
    name = draw(st.sampled_from(names))
    strategy: st.SearchStrategy[Any] = ends if name == "end_date" else moments
    if trigger.kind is CalendarIntervalTrigger:
        strategy = days if name == "start_date" else st.just(dt.date(2051, 1, 1))
    changed = dataclasses.replace(
        trigger, options=tuple(sorted((options | {name: draw(strategy)}).items()))
    )
    assume(repr(trigger.make()) != repr(changed.make()))
    if draw(st.booleans()):
        trigger, changed = (Written(OrTrigger, (), (one,)) for one in (trigger, changed))
    return trigger, changed


@thorough
@given(_moment_changes(), pauses)
def test_a_moment_that_is_given_taken_away_or_changed_takes_effect(
    change: tuple[Written, Written], later: dt.timedelta
) -> None:
    Clock.at = FIRST
    old = change[0].make()
    Clock.at = FIRST + later
    new = change[1].make()
    assert replacement.identity(new) != replacement.identity(old)
    assert replaced(old, new).next_run_time == FIRST + 1000 * DAY


@thorough
@given(any_trigger, pauses)
def test_a_trigger_that_was_stored_many_times_means_the_same(
    trigger: Written, later: dt.timedelta
) -> None:
    Clock.at = FIRST
    old = trigger.make()
    row = stored(make_job(old, FIRST + HOUR))
    for _ in range(2):  # as a job is that somebody modifies
        row = stored(serializer.restore(row))
    Clock.at = FIRST + later
    job = make_job(trigger.make(), FIRST + 1000 * DAY)
    replacement.keep_schedule(job, row)
    assert job.next_run_time == FIRST + HOUR


@thorough
@given(any_trigger, pauses)
def test_a_trigger_that_older_code_stored_means_the_same(
    trigger: Written, later: dt.timedelta
) -> None:
    Clock.at = FIRST
    old = make_job(trigger.make(), FIRST + HOUR)
    row = stored(old)
    pickled = pickle.dumps(old.__getstate__())
    row.job_state = signing.sign("job", pickled, serializer.columns(old))
    Clock.at = FIRST + later
    job = make_job(trigger.make(), FIRST + 1000 * DAY)
    replacement.keep_schedule(job, row)
    assert job.next_run_time == FIRST + HOUR


# --- Marks ----------------------------------------------------------------------------------------

WITHOUT_MOMENT = [
    written(IntervalTrigger, hours=1, timezone="UTC"),
    written(DateTrigger, timezone="UTC"),
    written(CalendarIntervalTrigger, days=1, timezone="UTC"),
]


@pytest.mark.parametrize("trigger", WITHOUT_MOMENT, ids=lambda one: one.kind.__name__)
def test_a_stored_state_holds_plain_times_that_older_code_can_read(trigger: Written) -> None:
    pickled = pickle.dumps(make_job(trigger.make(), FIRST).__getstate__())
    assert b"jobstore" not in pickled.replace(b"jobstore.tests.", b"")


@pytest.mark.parametrize("trigger", WITHOUT_MOMENT, ids=lambda one: one.kind.__name__)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_still_known_to_count_from_when_it_was_made(
    trigger: Written, copied: Callable[[Any], Any]
) -> None:
    assert trigger_defaults.has_default_moment(copied(trigger.make()))


@pytest.mark.parametrize("trigger", WITHOUT_MOMENT, ids=lambda one: one.kind.__name__)
def test_a_start_taken_from_another_trigger_was_given(trigger: Written) -> None:
    name = trigger_defaults.moment_of(trigger.make())
    options = dict(trigger.options) | {name: getattr(trigger.make(), name)}
    assert not trigger_defaults.has_default_moment(trigger.kind(**options))


def test_a_start_that_is_given_by_position_was_given() -> None:
    assert not trigger_defaults.has_default_moment(IntervalTrigger(0, 0, 1, 0, 0, "2031-01-01"))
    assert not trigger_defaults.has_default_moment(DateTrigger("2031-01-01"))


class OwnInterval(IntervalTrigger):  # type: ignore[misc]
    """A trigger that a project derives."""

    def __init__(self) -> None:
        super().__init__(hours=1)


def test_a_derived_trigger_without_a_start_means_the_same() -> None:
    first = OwnInterval()
    Clock.at += DAY
    assert replacement.identity(first) == replacement.identity(OwnInterval())


class Plain:
    """A value without text of its own: its repr shows where it lies in memory."""

    def __init__(self, value: object) -> None:
        self.value = value


class OwnTrigger(BaseTrigger):  # type: ignore[misc]
    """A trigger of a project, with state of every kind."""

    def __init__(self, *values: object) -> None:
        self.values = values
        self.function = callables.note

    def get_next_fire_time(self, previous_fire_time: Any, now: Any) -> Any:
        """Run a minute later."""
        return now + dt.timedelta(minutes=1)


class SlottedTrigger(OwnTrigger):
    """A trigger whose state is in slots."""

    __slots__ = ("other",)

    def __init__(self, value: object) -> None:
        self.other = value


@pytest.mark.parametrize("value", [Plain(1), [Plain({"a": 1})], {"a", "b", "c"}, len, Plain])
@pytest.mark.parametrize("kind", [OwnTrigger, SlottedTrigger])
def test_a_trigger_of_a_project_is_recognised_in_another_process(
    kind: type[OwnTrigger], value: object
) -> None:
    one, other = kind(value), kind(copy.deepcopy(value))
    assert replacement.identity(one) == replacement.identity(other)
    assert " at 0x" not in replacement.identity(one)
    assert replacement.identity(kind(Plain(2))) != replacement.identity(one)


def test_triggers_are_recognised_whatever_the_seed_of_hashes() -> None:
    code = (
        "import django; django.setup()\n"
        "from jobstore.tests.storage.test_replacement import OwnTrigger\n"
        "from jobstore.storage.replacement import identity\n"
        "print(identity(OwnTrigger({'a', 'b', 'c', 'd'}, {'x': frozenset('abc')})))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "DJANGO_SETTINGS_MODULE": "tests.settings"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


# --- In the database ------------------------------------------------------------------------------


@pytest.fixture
def _only_these(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})


def sync() -> list[str]:
    changes = registry.sync(DjangoJobStore(), BackgroundScheduler(timezone="UTC"))
    registry._declared.clear()
    return [change.action for change in changes]


AS_OBJECTS = [
    *WITHOUT_MOMENT,
    Written(OrTrigger, (), tuple(WITHOUT_MOMENT)),
    Written(OrTrigger, (("jitter", 5),), (WITHOUT_MOMENT[0], written(CronTrigger, hour=3))),
    written(IntervalTrigger, hours=1, jitter=30, timezone="Asia/Tokyo"),
]


@pytest.mark.django_db
@pytest.mark.usefixtures("_only_these")
@pytest.mark.parametrize("trigger", AS_OBJECTS, ids=lambda one: one.kind.__name__)
def test_a_declared_trigger_is_unchanged_after_a_restart_on_another_day(trigger: Written) -> None:
    scheduled(trigger.make(), id="job")(callables.note)
    sync()
    before = DjangoJob.objects.values().get()
    Clock.at += 40 * DAY
    scheduled(trigger.make(), id="job")(callables.note)
    assert sync() == []
    assert DjangoJob.objects.values().get() == before


@pytest.mark.django_db
@pytest.mark.usefixtures("_only_these")
@pytest.mark.parametrize(
    ("trigger", "name", "old", "new"),
    [
        (CronTrigger, "start_date", "2040-01-01", "2041-01-01"),
        (IntervalTrigger, "start_date", "2040-01-01", "2041-01-01"),
        (CalendarIntervalTrigger, "start_date", "2040-01-01", "2041-01-01"),
        (DateTrigger, "run_date", "2040-01-01", "2041-01-01"),
        ("cron", "start_date", "2040-01-01", "2041-01-01"),
        ("interval", "start_date", "2040-01-01", "2041-01-01"),
        ("calendarinterval", "start_date", "2040-01-01", "2041-01-01"),
        ("date", "run_date", "2040-01-01", "2041-01-01"),
    ],
)
def test_a_changed_start_of_a_declaration_moves_its_next_run(
    trigger: Any, name: str, old: str, new: str
) -> None:
    extra = {"cron": {"hour": 3}, "interval": {"days": 3}, "calendarinterval": {"days": 3}}
    kind = trigger if isinstance(trigger, str) else trigger.__name__.lower()[: -len("trigger")]
    for moment, expected in ((old, "add"), (new, "update")):
        options: dict[str, Any] = extra.get(kind, {}) | {name: moment, "timezone": "UTC"}
        if isinstance(trigger, str):
            scheduled(trigger, id="job", **options)(callables.note)
        else:
            scheduled(trigger(**options), id="job")(callables.note)
        assert sync() == [expected]
        next_run_time = DjangoJob.objects.get().next_run_time
        assert next_run_time is not None and next_run_time.year == int(moment[:4])


@pytest.mark.django_db
@pytest.mark.usefixtures("_only_these")
def test_an_interval_without_a_start_counts_from_the_database_s_time() -> None:
    scheduled(IntervalTrigger(hours=1), id="job")(callables.note)  # the clock here is years ahead
    sync()
    next_run_time = DjangoJob.objects.get().next_run_time
    assert next_run_time is not None
    assert abs(as_aware(next_run_time) - dt.datetime.now(UTC) - HOUR) < dt.timedelta(minutes=5)


@pytest.mark.django_db
@pytest.mark.usefixtures("_only_these")
def test_another_time_zone_of_the_project_moves_what_was_declared_without_one(
    settings: Settings,
) -> None:
    for zone, expected in (("UTC", ["add"]), ("Asia/Tokyo", ["update"]), ("Asia/Tokyo", [])):
        settings.TIME_ZONE = zone
        scheduled("cron", id="job", hour=3)(callables.note)
        scheduler = BackgroundScheduler(timezone=zone)
        changes = registry.sync(DjangoJobStore(), scheduler)
        registry._declared.clear()
        assert [change.action for change in changes] == expected
        next_run_time = DjangoJob.objects.get().next_run_time
        assert next_run_time is not None
        assert as_aware(next_run_time).astimezone(ZoneInfo(zone)).hour == 3


@pytest.mark.django_db
@pytest.mark.usefixtures("_only_these")
def test_another_default_grace_reaches_what_was_declared_without_one(settings: Settings) -> None:
    for grace in (100, 200):
        settings.SCHEDULER_MISFIRE_GRACE_SECONDS = grace
        scheduled("cron", id="job", hour=3)(callables.note)
        sync()
        assert DjangoJob.objects.get().misfire_grace_time == grace


@pytest.mark.usefixtures("_only_these")
@pytest.mark.parametrize("trigger", [IntervalTrigger, CronTrigger])
def test_a_trigger_that_is_given_the_moment_of_the_start_is_refused(trigger: Any) -> None:
    now = dt.datetime.now(UTC)
    options = {"hours": 1} if trigger is IntervalTrigger else {"hour": 3}
    combined = OrTrigger([trigger(**options, start_date=now)])
    for one in (trigger(**options, start_date=now), trigger(**options, end_date=now), combined):
        scheduled(one, id="job")(callables.note)
        found = registry.collect(BackgroundScheduler(timezone="UTC"))
        registry._declared.clear()
        assert "holds the time of the start" in str(found.fatal)


@pytest.fixture
def scheduler(transactional_db: None) -> Any:
    scheduler = BackgroundScheduler(timezone="UTC", jobstores={"default": DjangoJobStore()})
    scheduler.start(paused=True)
    yield scheduler
    scheduler.shutdown()


@pytest.mark.parametrize("trigger", AS_OBJECTS, ids=lambda one: one.kind.__name__)
def test_a_program_that_adds_its_job_again_keeps_its_schedule(
    scheduler: BackgroundScheduler, trigger: Written
) -> None:
    scheduler.add_job(callables.note, trigger.make(), id="job", replace_existing=True)
    before = DjangoJob.objects.get()
    Clock.at += 40 * DAY
    scheduler.add_job(callables.note, trigger.make(), id="job", replace_existing=True)
    after = DjangoJob.objects.get()
    assert after.next_run_time == before.next_run_time
    assert repr(serializer.restore(after).trigger) == repr(serializer.restore(before).trigger)


@pytest.mark.parametrize("kind", ["interval", "cron", "calendarinterval", "date"])
def test_a_program_that_changes_a_start_changes_the_next_run(
    scheduler: BackgroundScheduler, kind: str
) -> None:
    extra = {"cron": {"hour": 3}, "interval": {"days": 3}, "calendarinterval": {"days": 3}}
    name = "run_date" if kind == "date" else "start_date"
    for year in (2040, 2041, 2039):
        options = extra.get(kind, {}) | {name: f"{year}-01-01"}
        scheduler.add_job(callables.note, kind, id="job", replace_existing=True, **options)
        next_run_time = DjangoJob.objects.get().next_run_time
        assert next_run_time is not None and next_run_time.year == year


@pytest.mark.parametrize(
    "trigger",
    [
        DateTrigger("2040-01-01"),
        CalendarIntervalTrigger(days=1, start_date="2030-01-01"),
        IntervalTrigger(days=1, start_date="2030-01-01", jitter=60),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_next_run_that_a_program_sets_by_hand_is_kept(
    scheduler: BackgroundScheduler, trigger: BaseTrigger
) -> None:
    scheduler.add_job(callables.note, trigger, id="job", replace_existing=True)
    by_hand = dt.datetime(2042, 2, 2, 14, 15, tzinfo=UTC)
    scheduler.add_job(
        callables.note, trigger, id="job", replace_existing=True, next_run_time=by_hand
    )
    assert DjangoJob.objects.get().next_run_time == get_django_internal_datetime(by_hand)


def test_a_job_that_is_due_now_runs_although_its_moment_was_filled_in(
    transactional_db: None,
) -> None:
    Clock.at = dt.datetime.now(UTC)
    store = DjangoJobStore()
    trigger = DateTrigger()
    store.add_job(make_job(trigger, trigger.get_next_fire_time(None, Clock.at)))
    found = DjangoJob.objects.get().next_run_time
    assert found is not None and as_aware(found) == Clock.at


# --- What must not outlive a job ------------------------------------------------------------------


@pytest.mark.django_db
def test_nothing_of_a_retired_job_passes_to_a_new_one_of_its_id() -> None:
    store = DjangoJobStore()
    own = {
        field.attname
        for field in DjangoJob._meta.concrete_fields
        if field.attname not in serializer.columns(make_job(IntervalTrigger(hours=1), FIRST))
        and field.name not in ("id", "version", "job_state", "next_run_time")
    }
    store.add_job(make_job(IntervalTrigger(hours=1), FIRST))
    fresh = DjangoJob.all_objects.values(*own).get()
    assert own >= {"on_lost", "declaration", "retired_at"}
    DjangoJob.all_objects.update(on_lost="rerun", declaration="digest", quarantine_reason="bad")
    store.remove_job("job")
    store.add_job(make_job(IntervalTrigger(hours=1), FIRST))
    assert DjangoJob.all_objects.values(*own).get() == fresh


@pytest.mark.django_db
@pytest.mark.usefixtures("_only_these")
def test_a_declaration_that_comes_back_begins_with_the_defaults() -> None:
    scheduled("interval", id="job", hours=1, on_lost="rerun")(callables.note)
    sync()
    assert sync() == ["retire"]
    scheduled("interval", id="job", hours=1)(callables.note)
    assert sync() == ["add"]
    assert DjangoJob.objects.get().on_lost == "record"
