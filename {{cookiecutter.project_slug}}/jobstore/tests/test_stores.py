"""Several job stores on one scheduler, and several schedulers in one process."""

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apscheduler.events import (
    EVENT_JOB_EXECUTED,
    EVENT_JOB_SUBMITTED,
    JobExecutionEvent,
    JobSubmissionEvent,
)
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import connection

from jobstore.jobstores import DjangoJobStore, DjangoMemoryJobStore
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, SchedulerLease
from jobstore.tests import callables
from jobstore.tests.conftest import eventually

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
Role = SchedulerInstance.Role
Start = Callable[..., BackgroundScheduler]


@pytest.fixture
def start(transactional_db: None) -> Iterator[Start]:
    """Return a function that starts a scheduler with these stores, named by their aliases."""
    started: list[BackgroundScheduler] = []

    def run(**stores: Any) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(
            jobstores=stores, executors={"default": ThreadPoolExecutor(4)}, timezone="UTC"
        )
        scheduler.start()
        started.append(scheduler)
        if any(isinstance(store, DjangoJobStore) for store in stores.values()):
            eventually(lambda: SchedulerLease.objects.filter(epoch__gte=1).exists())
        return scheduler

    yield run
    for scheduler in started:
        if scheduler.running:
            # APScheduler cannot remove a one-off job from memory once it is shutting down.
            eventually(lambda scheduler=scheduler: not scheduler.get_jobs())  # type: ignore[misc]
            scheduler.shutdown()


def once(scheduler: BackgroundScheduler, job_id: str, alias: str) -> None:
    """Have a job run once, now."""
    scheduler.add_job(
        callables.note,
        "date",
        run_date=dt.datetime.now(dt.UTC),
        args=[job_id],
        id=job_id,
        jobstore=alias,
        misfire_grace_time=None,
    )


def history() -> list[tuple[str, str]]:
    return sorted(Run.objects.values_list("job_id", "status"))


def test_jobs_of_another_kind_of_store_leave_no_history_and_no_warning(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = start(
        default=DjangoJobStore(), memory=MemoryJobStore(), recorded=DjangoMemoryJobStore()
    )
    once(scheduler, "volatile", "memory")
    once(scheduler, "stored", "default")
    eventually(lambda: sorted(callables.calls) == ["stored", "volatile"])
    eventually(lambda: history() == [("stored", Run.SUCCESS)])
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert said == []


def test_jobs_of_two_stores_may_have_the_same_id_and_time(start: Start) -> None:
    scheduler = start(default=DjangoJobStore(), memory=MemoryJobStore())
    when = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=0.5)
    for seconds, alias in [(0.3, "memory"), (0.9, "default")]:
        scheduler.add_job(
            callables.sleep,
            "date",
            run_date=when,
            args=[seconds],
            max_instances=2,  # an executor counts by the id alone
            id="job",
            jobstore=alias,
            misfire_grace_time=None,
        )
    run = eventually(lambda: Run.objects.filter(status=Run.SUCCESS).first())
    assert callables.calls == ["slept", "slept"]
    assert run.duration is not None and run.duration >= 0.8


def test_a_memory_store_with_history_records_its_own_jobs_once(start: Start) -> None:
    scheduler = start(
        default=DjangoJobStore(), memory=DjangoMemoryJobStore(), other=DjangoMemoryJobStore()
    )
    for job_id, alias in [("a", "default"), ("b", "memory"), ("c", "other")]:
        once(scheduler, job_id, alias)
    eventually(lambda: history() == [(job_id, Run.SUCCESS) for job_id in "abc"])
    assert sorted(callables.calls) == ["a", "b", "c"]
    assert not DjangoJob.objects.exists()


def test_a_memory_store_records_failures_too(start: Start) -> None:
    scheduler = start(memory=DjangoMemoryJobStore())
    scheduler.add_job(callables.fail, id="bad", jobstore="memory")
    run = eventually(lambda: Run.objects.filter(status=Run.ERROR).first())
    assert (run.exception_type, run.exception) == ("ValueError", "broken")
    assert run.traceback and "callables.py" in run.traceback


def test_an_end_that_is_told_before_its_start_is_kept() -> None:
    when = dt.datetime.now(dt.UTC)
    submitted = JobSubmissionEvent(EVENT_JOB_SUBMITTED, "job", "memory", [when])
    ended = JobExecutionEvent(EVENT_JOB_EXECUTED, "job", "memory", when)
    DjangoMemoryJobStore.handle_execution_event(ended)
    DjangoMemoryJobStore.handle_submission_event(submitted)
    assert history() == [("job", Run.SUCCESS)]


def test_an_end_that_is_told_while_its_start_is_written_is_kept() -> None:
    when = dt.datetime.now(dt.UTC)
    submitted = JobSubmissionEvent(EVENT_JOB_SUBMITTED, "job", "memory", [when])
    ended = JobExecutionEvent(EVENT_JOB_EXECUTED, "job", "memory", when)
    writing: list[str] = []

    def interrupt(execute: Any, sql: str, *args: Any) -> Any:
        if "INSERT" in sql and not writing:
            writing.append(sql)
            DjangoMemoryJobStore.handle_submission_event(submitted)
        return execute(sql, *args)

    with connection.execute_wrapper(interrupt):
        DjangoMemoryJobStore.handle_execution_event(ended)
    assert writing
    assert history() == [("job", Run.SUCCESS)]


def test_two_stores_on_one_scheduler_are_one_process_and_run_each_job_once(start: Start) -> None:
    scheduler = start(default=DjangoJobStore(), second=DjangoJobStore())
    heard: list[Any] = []
    scheduler.add_listener(heard.append, EVENT_JOB_SUBMITTED | EVENT_JOB_EXECUTED)
    once(scheduler, "a", "default")
    once(scheduler, "b", "second")
    eventually(lambda: history() == [("a", Run.SUCCESS), ("b", Run.SUCCESS)])
    eventually(lambda: len(heard) >= 4)
    assert sorted(callables.calls) == ["a", "b"]
    assert sorted(event.job_id for event in heard) == ["a", "a", "b", "b"]
    [process] = SchedulerInstance.objects.all()
    assert process.role == Role.ACTIVE


def test_the_second_store_goes_on_when_the_first_is_taken_away(start: Start) -> None:
    scheduler = start(default=DjangoJobStore(), second=DjangoJobStore())
    once(scheduler, "before", "second")
    eventually(lambda: history() == [("before", Run.SUCCESS)])
    scheduler.remove_jobstore("default")
    once(scheduler, "after", "second")
    eventually(lambda: ("after", Run.SUCCESS) in history())
    assert callables.calls == ["before", "after"]


def test_a_store_that_is_taken_away_leaves_the_lease_to_others(start: Start) -> None:
    first = start(default=DjangoJobStore())
    second = start(default=DjangoJobStore())
    first.remove_jobstore("default")
    once(second, "job", "default")
    eventually(lambda: history() == [("job", Run.SUCCESS)])
    assert sorted(SchedulerInstance.objects.values_list("role", flat=True)) == [
        Role.ACTIVE,
        Role.STOPPED,
    ]


def test_a_store_can_join_a_running_scheduler(start: Start) -> None:
    scheduler = start(memory=MemoryJobStore())
    scheduler.add_jobstore(DjangoJobStore(), "django")
    once(scheduler, "job", "django")
    eventually(lambda: history() == [("job", Run.SUCCESS)])


def test_a_scheduler_that_starts_later_does_not_disturb_the_history_of_the_first(
    start: Start,
) -> None:
    first = start(default=DjangoJobStore())
    first.add_job(callables.sleep, args=[1], id="slow", misfire_grace_time=None)
    eventually(lambda: callables.calls == ["slept"])
    second = start(default=DjangoJobStore(), memory=DjangoMemoryJobStore())
    once(second, "volatile", "memory")
    eventually(lambda: history() == [("slow", Run.SUCCESS), ("volatile", Run.SUCCESS)])
    second.shutdown()
    once(first, "next", "default")
    eventually(lambda: ("next", Run.SUCCESS) in history())
