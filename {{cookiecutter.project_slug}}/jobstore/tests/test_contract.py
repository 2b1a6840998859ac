"""What APScheduler and its users expect of any job store, of ours before and after its start."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apscheduler.job import Job
from apscheduler.jobstores.base import ConflictingIdError, JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob, DjangoJobExecution, database_now
from jobstore.tests import callables
from jobstore.tests.conftest import eventually

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)
MICROSECOND = dt.timedelta(microseconds=1)
NOW = dt.datetime.now(dt.UTC)
Run = DjangoJobExecution
ADA = callables.Greeter("Ada")


@pytest.fixture(params=["not started", "started"])
def store(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[DjangoJobStore]:
    """A store as scripts use it, and one of a scheduler that leaves the looking to the test."""
    one = DjangoJobStore()
    if request.param == "not started":
        yield one
        return
    scheduler = BackgroundScheduler(jobstores={"default": one}, timezone="UTC")
    scheduler.start(paused=True)
    eventually(lambda: one.get_due_jobs(NOW) or (one.elector is not None and one.elector.term))
    yield one
    scheduler.shutdown()


def make(job_id: str, next_run_time: dt.datetime | None, func: Any = None, **options: Any) -> Job:
    """Return a job that is stored nowhere, complete but for its next run."""
    settings: dict[str, Any] = {
        "args": (),
        "kwargs": {},
        "executor": "default",
        "coalesce": True,
        "max_instances": 1,
        "misfire_grace_time": None,
    }
    scheduler = BackgroundScheduler(timezone="UTC")
    trigger = scheduler._create_trigger("interval", {"hours": 1, "start_date": NOW})
    settings |= {"id": job_id, "trigger": trigger, "next_run_time": next_run_time}
    return Job(scheduler, func=func or callables.note, **settings | options)


def found(store: DjangoJobStore, job_id: str) -> Job:
    job = store.lookup_job(job_id)
    assert job is not None
    return job


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


@pytest.mark.parametrize(
    ("func", "options", "outcome"),
    [
        pytest.param(callables.note, {"args": ["grüß"]}, "grüß", id="function"),
        pytest.param(callables.note, {"kwargs": {"text": "named"}}, "named", id="keyword"),
        pytest.param(ADA.greet, {"args": ["Hello"]}, "Hello Ada", id="method"),
        pytest.param(callables.Greeter.greet, {"args": [ADA, "Hi"]}, "Hi Ada", id="unbound"),
    ],
)
def test_a_job_comes_back_and_can_be_called(
    store: DjangoJobStore, func: Any, options: dict[str, Any], outcome: str
) -> None:
    store.add_job(make("job", NOW + HOUR, func, name="grüner Täter", **options))
    job = found(store, "job")
    assert (job.name, job.next_run_time) == ("grüner Täter", NOW + HOUR)
    job.func(*job.args, **job.kwargs)
    assert callables.calls == [outcome]


def test_every_option_of_a_job_comes_back(store: DjangoJobStore) -> None:
    options = {"coalesce": False, "max_instances": 3, "misfire_grace_time": 7, "executor": "other"}
    store.add_job(make("job", NOW + HOUR, **options))
    job = found(store, "job")
    assert {name: getattr(job, name) for name in options} == options
    assert str(job.trigger) == "interval[1:00:00]"


def test_a_job_that_was_found_equals_the_one_that_was_stored(store: DjangoJobStore) -> None:
    job = make("job", NOW + HOUR)
    store.add_job(job)
    assert found(store, "job") == job


@pytest.mark.parametrize("job_id", ["задание", "ジョブ", "job 🕰", "with space", "x" * 255])
def test_an_id_may_be_any_text(store: DjangoJobStore, job_id: str) -> None:
    store.add_job(make(job_id, NOW + HOUR))
    assert ids(store.get_all_jobs()) == [job_id]
    store.remove_job(job_id)
    assert store.lookup_job(job_id) is None


def test_ids_that_differ_in_case_accent_or_space_are_different_jobs(store: DjangoJobStore) -> None:
    different = ["report", "Report", "répört", "report ", " report"]
    for job_id in different:
        store.add_job(make(job_id, NOW + HOUR, name=f"<{job_id}>"))
    assert [found(store, job_id).name for job_id in different] == [f"<{one}>" for one in different]
    store.remove_job("Report")
    assert sorted(ids(store.get_all_jobs())) == sorted(set(different) - {"Report"})


def test_an_unknown_id_is_not_found(store: DjangoJobStore) -> None:
    assert store.lookup_job("nothing") is None


def test_the_same_id_again_is_a_conflict_and_changes_nothing(store: DjangoJobStore) -> None:
    store.add_job(make("job", NOW + HOUR, name="first"))
    with pytest.raises(ConflictingIdError):
        store.add_job(make("job", NOW + HOUR, name="second"))
    assert found(store, "job").name == "first"


def test_what_is_unknown_cannot_be_changed_or_removed(store: DjangoJobStore) -> None:
    with pytest.raises(JobLookupError):
        store.update_job(make("job", NOW))
    with pytest.raises(JobLookupError):
        store.remove_job("job")


def test_all_jobs_come_in_the_order_of_their_next_run_and_paused_ones_last(
    store: DjangoJobStore,
) -> None:
    times = {"paused": None, "third": NOW + 2 * HOUR, "first": NOW + HOUR}
    times["second"] = NOW + HOUR + MICROSECOND
    for job_id, when in times.items():
        store.add_job(make(job_id, when))
    assert ids(store.get_all_jobs()) == ["first", "second", "third", "paused"]


@pytest.mark.parametrize(
    ("when", "order"),
    [
        pytest.param(NOW + 30 * MINUTE, ["job", "other"], id="earlier"),
        pytest.param(NOW + 3 * HOUR, ["other", "job"], id="later"),
        pytest.param(None, ["other", "job"], id="paused"),
    ],
)
def test_an_update_moves_a_job(
    store: DjangoJobStore, when: dt.datetime | None, order: list[str]
) -> None:
    store.add_job(make("job", NOW + 90 * MINUTE))
    store.add_job(make("other", NOW + 100 * MINUTE))
    job = found(store, "job")
    job._modify(next_run_time=when)
    store.update_job(job)
    assert ids(store.get_all_jobs()) == order
    assert found(store, "job").next_run_time == when


def test_an_update_changes_function_trigger_and_arguments(store: DjangoJobStore) -> None:
    store.add_job(make("job", NOW + HOUR))
    trigger = BackgroundScheduler(timezone="UTC")._create_trigger("cron", {"hour": 3})
    job = found(store, "job")
    job._modify(func=callables.fail, trigger=trigger, args=["x"], name="another")
    store.update_job(job)
    job = found(store, "job")
    assert (job.func, str(job.trigger), list(job.args), job.name) == (
        callables.fail,
        "cron[hour='3']",
        ["x"],
        "another",
    )


def test_due_jobs_come_in_order_without_those_that_are_paused_or_not_yet_due(
    store: DjangoJobStore,
) -> None:
    past = NOW - HOUR
    times = {"paused": None, "second": past + MICROSECOND, "not yet": NOW + HOUR, "first": past}
    for job_id, when in times.items():
        store.add_job(make(job_id, when))
    due = eventually(lambda: store.get_due_jobs(NOW))
    assert ids(due) == ["first", "second"]


def test_the_next_run_time_is_that_of_the_first_job_that_can_run(store: DjangoJobStore) -> None:
    def seconds() -> float | None:
        when = store.get_next_run_time()
        return None if when is None else (when - NOW).total_seconds()

    assert seconds() is None
    store.add_job(make("paused", None))
    store.add_job(make("broken", NOW - HOUR))
    DjangoJob.objects.filter(pk="broken").update(job_state=b"rubbish")
    # Looking is what finds out. Before a started store looks again, it waits for a moment.
    assert store.get_due_jobs(NOW) == []
    if store.elector is None:  # who reads decides about nothing
        assert seconds() == pytest.approx(-HOUR.total_seconds(), abs=30)
        DjangoJob.objects.filter(pk="broken").retire()
    assert seconds() is None
    store.add_job(make("later", NOW + 2 * HOUR))
    store.add_job(make("sooner", NOW + HOUR))
    # A running scheduler is told when by its own clock, which may differ from the database's.
    assert seconds() == pytest.approx(HOUR.total_seconds(), abs=30)


def test_a_function_that_is_gone_does_not_hide_other_jobs(
    store: DjangoJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_job(make("broken", NOW - HOUR, callables.fail))
    store.add_job(make("good", NOW - MINUTE))
    monkeypatch.delattr(callables, "fail")
    assert ids(store.get_all_jobs()) == ["good"]
    assert store.lookup_job("broken") is None
    assert ids(eventually(lambda: store.get_due_jobs(NOW))) == ["good"]
    kept = DjangoJob.objects.get(pk="broken")
    if store.elector is None:  # who reads decides about nothing
        assert kept.quarantined_at is None
    else:
        assert kept.quarantined_at is not None and "fail" in kept.quarantine_reason


def test_removing_all_jobs_leaves_none(store: DjangoJobStore) -> None:
    for number in range(3):
        store.add_job(make(f"job-{number}", NOW + HOUR))
    store.remove_all_jobs()
    assert store.get_all_jobs() == []
    assert store.get_next_run_time() is None


def test_a_store_tells_what_it_is(store: DjangoJobStore) -> None:
    assert repr(store).startswith("<DjangoJobStore (pickle_protocol=")


# --- What a program writes again at each of its starts -------------------------------------------


Program = Callable[..., BackgroundScheduler]


@pytest.fixture(params=["before the start", "after the start"])
def program(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Program]:
    """Return a function that ends the program and starts it again.

    It adds its job with `replace_existing=True`, before or after it starts its scheduler.
    """
    running: list[BackgroundScheduler] = []

    def end() -> None:
        while running:
            if (scheduler := running.pop()).running:
                scheduler.shutdown()

    def start(trigger: BaseTrigger | None = None, **options: Any) -> BackgroundScheduler:
        end()
        scheduler = BackgroundScheduler(jobstores={"default": DjangoJobStore()}, timezone="UTC")
        if request.param == "after the start":
            scheduler.start()
        scheduler.add_job(
            callables.note,
            trigger or IntervalTrigger(hours=1),
            id="job",
            misfire_grace_time=3600,
            replace_existing=True,
            **options,
        )
        if request.param == "before the start":
            scheduler.start()
        running.append(scheduler)
        return scheduler

    yield start
    end()


def stored() -> DjangoJob:
    job: DjangoJob = DjangoJob.objects.get(pk="job")
    return job


TRIGGERS = [
    pytest.param(lambda: IntervalTrigger(hours=1), id="interval"),
    pytest.param(lambda: IntervalTrigger(hours=1, jitter=60), id="jitter"),
    pytest.param(lambda: CronTrigger(month=1, day=1), id="cron"),
    pytest.param(lambda: DateTrigger(NOW + 24 * HOUR), id="date"),
    pytest.param(lambda: OrTrigger([CronTrigger(day=1), IntervalTrigger(days=9)]), id="or"),
]


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_paused_job_stays_paused_when_it_is_added_again(
    program: Program, trigger: Callable[[], BaseTrigger]
) -> None:
    program(trigger()).pause_job("job")
    assert stored().next_run_time is None
    program(trigger())
    assert stored().next_run_time is None


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_job_that_is_added_again_keeps_its_next_run(
    program: Program, trigger: Callable[[], BaseTrigger]
) -> None:
    program(trigger())
    planned = stored().next_run_time
    program(trigger(), name="renamed", args=["new"])
    assert (stored().next_run_time, stored().name) == (planned, "renamed")


def test_a_run_missed_while_nothing_ran_is_due_when_the_job_is_added_again(
    program: Program,
) -> None:
    program().shutdown()
    missed = database_now("default") - 10 * MINUTE
    DjangoJob.objects.update(next_run_time=missed)
    program()
    run = eventually(lambda: Run.objects.filter(status=Run.SUCCESS).first())
    assert run.run_time == missed
    assert callables.calls == ["ran"]


def test_another_trigger_takes_effect_when_the_job_is_added_again(program: Program) -> None:
    program()
    program(CronTrigger(month=1, day=1, hour=3, timezone="UTC"))
    planned = stored().next_run_time
    assert planned is not None
    assert (planned.month, planned.day, planned.hour) == (1, 1, 3)


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("when", [NOW + 90 * MINUTE, None])
def test_a_next_run_time_that_the_program_gives_is_honoured(
    program: Program, when: dt.datetime | None, *, paused: bool
) -> None:
    scheduler = program()
    if paused:
        scheduler.pause_job("job")
    program(next_run_time=when)
    assert stored().next_run_time == when


def test_an_operator_in_the_program_itself_can_pause_move_and_resume(program: Program) -> None:
    scheduler = program()
    scheduler.pause_job("job")
    assert stored().next_run_time is None
    scheduler.resume_job("job")
    assert stored().next_run_time is not None
    scheduler.reschedule_job("job", trigger=CronTrigger(month=1, day=1, timezone="UTC"))
    moved = stored().next_run_time
    assert moved is not None and (moved.month, moved.day) == (1, 1)
    scheduler.modify_job("job", next_run_time=NOW + 5 * HOUR)
    assert stored().next_run_time == NOW + 5 * HOUR
