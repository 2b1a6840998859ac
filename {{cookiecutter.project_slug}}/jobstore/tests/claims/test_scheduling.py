"""Real schedulers on the real store: runs happen once, are recorded, and nothing ends the loop."""

import asyncio
import datetime as dt
import importlib
import logging
import threading
import time
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, EVENT_JOB_REMOVED
from apscheduler.executors.pool import ProcessPoolExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.combining import AndTrigger
from apscheduler.triggers.cron import CronTrigger
from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from pytest_django.fixtures import Settings

from jobstore import api
from jobstore.claims import claim
from jobstore.history import recorder
from jobstore.jobstores import DjangoJobStore, DjangoMemoryJobStore
from jobstore.leadership.lease import NotHolder
from jobstore.models import (
    DjangoJob,
    DjangoJobExecution,
    SchedulerInstance,
    SchedulerLease,
    database_now,
)
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

SOON = dt.timedelta(milliseconds=300)
Run = DjangoJobExecution


def soon() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + SOON


def the_run(status: str) -> DjangoJobExecution:
    return eventually(lambda: Run.objects.filter(status=status).first())  # type: ignore[no-any-return]


def test_a_one_off_job_runs_and_leaves_its_history(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    removed: list[Any] = []
    scheduler.add_listener(removed.append, EVENT_JOB_REMOVED)
    scheduler.add_job(callables.note, "date", run_date=soon(), id="once")
    run = the_run(Run.SUCCESS)
    assert callables.calls == ["ran"]
    assert (run.job_id, run.requested_by) == ("once", "")
    assert not DjangoJob.objects.exists()
    assert [event.job_id for event in removed] == ["once"]


def test_triggers_that_are_joined_by_and_do_not_stop_the_other_jobs(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    both = AndTrigger([CronTrigger(second="*"), CronTrigger(second="*/2")])
    scheduler.add_job(callables.note, both, id="both", args=["both"])
    scheduler.add_job(callables.note, "interval", seconds=0.3, id="other", args=["other"])
    eventually(lambda: callables.calls.count("both") >= 2)
    so_far = callables.calls.count("other")
    eventually(lambda: callables.calls.count("other") > so_far)


def test_waiting_and_running_are_told_apart(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler(threads=1)
    first = soon()
    scheduler.add_job(callables.sleep, "date", run_date=first, args=[0.5], id="slow")
    later = first + dt.timedelta(milliseconds=10)
    scheduler.add_job(callables.note, "date", run_date=later, id="quick", misfire_grace_time=1)
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).count() == 2)
    quick = Run.objects.get(job_id="quick")
    assert quick.start_delay is not None and quick.duration is not None
    assert quick.start_delay >= dt.timedelta(milliseconds=300)
    assert quick.duration < 0.3


def test_an_exception_is_recorded_with_its_type_text_and_traceback(
    start_scheduler: StartScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    # pytest-xdist cannot send such text to its main process.
    caplog.set_level(logging.CRITICAL, logger="apscheduler")
    text = "NUL \x00 and surrogate \udc80 " + "x" * 3000
    start_scheduler().add_job(callables.fail, "date", run_date=soon(), args=[text], id="bad")
    run = the_run(Run.ERROR)
    assert run.exception_type == "ValueError"
    assert run.exception is not None and run.exception.endswith("x" * 3000)
    assert run.traceback is not None and "callables.py" in run.traceback


def test_a_failing_job_runs_again_at_its_next_time(start_scheduler: StartScheduler) -> None:
    start_scheduler().add_job(callables.fail, "interval", seconds=1, id="bad")
    eventually(lambda: Run.objects.filter(status=Run.ERROR).count() >= 2)


def test_a_run_that_ends_while_a_skipped_one_is_announced_is_recorded(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()

    def let_go(_: object) -> None:
        callables.release.set()
        time.sleep(0.5)

    scheduler.add_listener(let_go, EVENT_JOB_MAX_INSTANCES)
    scheduler.add_job(callables.block, "interval", seconds=1, id="slow", max_instances=1)
    assert the_run(Run.SUCCESS).job_id == "slow"


def test_two_schedulers_run_each_time_once(start_scheduler: StartScheduler) -> None:
    first, _ = start_scheduler(), start_scheduler()
    first.add_job(callables.note, "interval", seconds=1, id="tick")
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).count() >= 4)
    first.pause()
    assert len(callables.calls) == Run.objects.exclude(claimed_at=None).count()


def test_a_scheduler_that_was_started_paused_keeps_no_other_from_running_jobs(
    start_scheduler: StartScheduler,
) -> None:
    web = BackgroundScheduler(jobstores={"default": DjangoJobStore()}, timezone="UTC")
    web.start(paused=True)
    try:
        web.add_job(callables.note, "date", run_date=soon(), id="added by the web")
        time.sleep(0.5)
        assert SchedulerLease.objects.filter(holder__isnull=False).count() == 0
        start_scheduler()
        assert the_run(Run.SUCCESS).job_id == "added by the web"
    finally:
        web.shutdown()


def test_the_second_scheduler_goes_on_when_the_first_stops(start_scheduler: StartScheduler) -> None:
    first = start_scheduler()
    eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
    start_scheduler().add_job(callables.note, "interval", seconds=1, id="tick")
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS, epoch=1).exists())
    first.shutdown()
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS, epoch=2).exists())


def test_a_shutdown_waits_for_running_jobs_and_writes_their_results(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.sleep, "date", run_date=soon(), args=[1], id="slow")
    eventually(lambda: callables.calls)
    scheduler.shutdown()
    assert Run.objects.get().status == Run.SUCCESS
    assert SchedulerInstance.objects.get().role == SchedulerInstance.Role.STOPPED


def test_a_job_added_by_another_process_is_noticed(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
    scheduler.add_job(callables.note, "interval", hours=1, id="tick")
    row = DjangoJob.objects.get()
    DjangoJob.objects.filter(pk=row.pk).update(next_run_time=database_now("default"))
    eventually(lambda: callables.calls)


def test_a_requested_run_happens_at_once_and_says_who_asked(
    start_scheduler: StartScheduler,
) -> None:
    start_scheduler().add_job(callables.note, "interval", hours=1, id="tick")
    before = DjangoJob.objects.get().next_run_time
    DjangoJob.objects.get().request_run("ada")
    run = the_run(Run.SUCCESS)
    assert run.requested_by == "ada"
    assert DjangoJob.objects.get().next_run_time == before


def test_a_paused_job_runs_on_request_and_stays_paused(start_scheduler: StartScheduler) -> None:
    start_scheduler().add_job(callables.note, "interval", hours=1, id="tick", next_run_time=None)
    DjangoJob.objects.get().request_run("ada")
    the_run(Run.SUCCESS)
    assert DjangoJob.objects.get().next_run_time is None


def test_a_request_for_a_job_that_is_running_is_refused(start_scheduler: StartScheduler) -> None:
    start_scheduler().add_job(callables.block, "interval", hours=1, id="tick")
    job = DjangoJob.objects.get()
    job.request_run("ada")
    eventually(lambda: callables.calls)
    second = job.request_run("ada")
    eventually(lambda: Run.objects.get(pk=second.pk).status == Run.MAX_INSTANCES)


def test_a_run_that_would_overlap_is_skipped_recorded_and_announced(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    announced: list[Any] = []
    scheduler.add_listener(announced.append, EVENT_JOB_MAX_INSTANCES)
    scheduler.add_job(callables.block, "interval", seconds=1, id="slow", misfire_grace_time=60)
    the_run(Run.MAX_INSTANCES)
    eventually(lambda: announced)
    assert callables.calls == ["blocked"]


def test_runs_of_another_process_count_towards_max_instances(
    start_scheduler: StartScheduler,
) -> None:
    now = database_now("default")
    Run.objects.create(job_id="tick", status=Run.RUNNING, run_time=now, claimed_at=now)
    start_scheduler().add_job(callables.note, "date", run_date=soon(), id="tick")
    the_run(Run.MAX_INSTANCES)
    assert callables.calls == []


def test_a_run_that_is_too_late_is_missed_recorded_and_announced(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    announced: list[Any] = []
    scheduler.add_listener(announced.append, EVENT_JOB_MISSED)
    past = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    scheduler.add_job(callables.note, "date", run_date=past, id="late", misfire_grace_time=60)
    the_run(Run.MISSED)
    eventually(lambda: announced)
    assert callables.calls == []


@pytest.mark.parametrize("grace", [1, 60])
def test_many_jobs_due_at_once_all_run_on_few_threads(
    start_scheduler: StartScheduler, grace: int
) -> None:
    scheduler = start_scheduler(threads=4)
    far = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    for number in range(100):
        scheduler.add_job(
            callables.sleep,
            "date",
            run_date=far,
            args=[0.05],
            id=f"job-{number}",
            misfire_grace_time=grace,
        )
    DjangoJob.objects.update(next_run_time=database_now("default") + SOON)
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).count() == 100, timeout=30)
    assert not Run.objects.exclude(status=Run.SUCCESS).exists()


def test_a_thousand_jobs_due_at_one_instant_are_all_executed(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler(threads=10)
    far = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    for number in range(1000):
        # The last of them wait for a worker for longer than their grace.
        scheduler.add_job(
            callables.note_slowly, "date", run_date=far, id=f"job-{number}", misfire_grace_time=3
        )
    instant = database_now("default") + dt.timedelta(seconds=1)
    DjangoJob.objects.update(next_run_time=instant)
    eventually(
        lambda: Run.objects.count() == 1000 and not Run.objects.filter(status=Run.RUNNING).exists(),
        50,
    )
    assert set(Run.objects.values_list("status", "run_time")) == {(Run.SUCCESS, instant)}
    assert len(callables.calls) == 1000


def test_a_lease_that_is_doubted_for_a_moment_makes_no_waiting_job_missed(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler(threads=1)
    scheduler.add_job(callables.block, id="first")
    eventually(lambda: "blocked" in callables.calls)
    scheduler.add_job(callables.note, id="second", misfire_grace_time=1)
    elector = scheduler._jobstores["default"].elector
    eventually(lambda: scheduler._jobstores["default"]._dispatcher.saturated)
    time.sleep(1.5)
    elector.distrust_lease()
    scheduler.wakeup()  # and finds the lease not trusted
    eventually(lambda: elector.term)
    callables.release.set()
    eventually(lambda: Run.objects.filter(job="second").exclude(status=Run.RUNNING).exists())
    assert Run.objects.get(job="second").status == Run.SUCCESS
    assert SchedulerLease.objects.get().epoch == 1


def test_no_more_is_claimed_than_can_start(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler(threads=2)
    when = soon()
    for number in range(5):
        scheduler.add_job(callables.block, "date", run_date=when, id=f"job-{number}")
    eventually(lambda: len(callables.calls) == 2)
    time.sleep(0.5)
    assert Run.objects.filter(status=Run.RUNNING).count() == 2
    assert DjangoJob.objects.count() == 3


def test_a_run_whose_process_died_is_marked_lost(start_scheduler: StartScheduler) -> None:
    long_ago = database_now("default") - dt.timedelta(minutes=1)
    dead = SchedulerInstance.objects.create(
        host="gone", pid=1, role="active", started_at=long_ago, heartbeat_at=long_ago
    )
    Run.objects.create(job_id="a", status=Run.RUNNING, run_time=long_ago, instance=dead)
    start_scheduler()
    run = the_run(Run.LOST)
    assert run.finished is not None
    assert SchedulerInstance.objects.get(pk=dead.pk).role == SchedulerInstance.Role.LOST


def test_a_run_of_a_process_that_lives_is_not_lost(start_scheduler: StartScheduler) -> None:
    now = database_now("default")
    living = SchedulerInstance.objects.create(
        host="here", pid=1, role="draining", started_at=now, heartbeat_at=now
    )
    Run.objects.create(job_id="a", status=Run.RUNNING, run_time=now, instance=living)
    start_scheduler()
    eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
    time.sleep(0.5)
    assert Run.objects.get().status == Run.RUNNING


def test_a_late_result_of_a_lost_run_changes_nothing(start_scheduler: StartScheduler) -> None:
    start_scheduler().add_job(callables.block, "date", run_date=soon(), id="slow")
    eventually(lambda: callables.calls)
    Run.objects.update(status=Run.LOST)
    callables.release.set()
    time.sleep(0.5)
    assert Run.objects.get().status == Run.LOST


def test_a_job_row_deleted_while_due_does_not_end_the_loop(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.block, "interval", seconds=1, id="doomed", max_instances=9)
    scheduler.add_job(callables.note, "interval", seconds=1, id="tick")
    eventually(lambda: "blocked" in callables.calls)
    DjangoJob.objects.filter(pk="doomed").delete()
    before = callables.calls.count("ran")
    eventually(lambda: callables.calls.count("ran") > before + 1)


def test_a_job_for_an_unknown_executor_is_quarantined_and_others_run(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", seconds=1, id="tick")
    scheduler.add_job(callables.fail, "date", run_date=soon(), id="lost", executor="nowhere")
    eventually(lambda: DjangoJob.objects.exclude(quarantine_reason="").exists())
    assert "nowhere" in DjangoJob.objects.get(pk="lost").quarantine_reason
    eventually(lambda: callables.calls)


def test_a_time_moved_to_the_past_by_hand_runs_once_without_a_busy_loop(
    start_scheduler: StartScheduler,
) -> None:
    start_scheduler().add_job(
        callables.note, "interval", hours=1, id="tick", misfire_grace_time=None
    )
    past = database_now("default") - dt.timedelta(hours=24, minutes=30)
    DjangoJob.objects.update(next_run_time=past)
    the_run(Run.SUCCESS)
    time.sleep(0.5)
    assert len(callables.calls) == 1


def test_a_coroutine_is_awaited(start_scheduler: StartScheduler) -> None:
    start_scheduler().add_job(callables.note_later, "date", run_date=soon(), id="later")
    the_run(Run.SUCCESS)
    assert callables.calls == ["awaited"]


def test_jobs_leave_no_database_connection_behind(start_scheduler: StartScheduler) -> None:
    opened: list[BaseDatabaseWrapper] = []

    def remember(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            opened.append(connection)

    connection_created.connect(remember)
    scheduler = start_scheduler(threads=10)
    when = soon()
    for number in range(30):
        scheduler.add_job(
            callables.query, "date", run_date=when, id=f"job-{number}", misfire_grace_time=60
        )
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).count() == 30)
    assert len(opened) >= 30
    # One of the loop, one of the elector; the recorder's is given back when it has been idle.
    eventually(lambda: sum(one.connection is not None for one in set(opened)) <= 2)


@pytest.mark.django_db(transaction=True)
def test_an_asyncio_scheduler_runs_coroutines_and_functions() -> None:
    async def main() -> None:
        scheduler = AsyncIOScheduler(jobstores={"default": DjangoJobStore()}, timezone="UTC")
        scheduler.start()
        scheduler.add_job(callables.note_later, "date", run_date=soon(), id="coroutine")
        scheduler.add_job(callables.note, "date", run_date=soon(), id="function")
        for _ in range(200):
            if len(callables.calls) == 2:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        scheduler.shutdown()  # which happens in the event loop, a little later
        await asyncio.sleep(0.2)

    asyncio.run(main())
    assert sorted(callables.calls) == ["awaited", "ran"]
    assert set(Run.objects.values_list("status", flat=True)) == {Run.SUCCESS}


def test_a_process_pool_runs_jobs(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    scheduler.add_executor(ProcessPoolExecutor(1), "processes")
    scheduler.add_job(callables.note, "date", run_date=soon(), id="far", executor="processes")
    run = the_run(Run.SUCCESS)
    assert run.started_at is None  # nobody saw it start
    assert callables.calls == []


def test_a_memory_store_writes_history_too(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    scheduler.add_jobstore(DjangoMemoryJobStore(), "memory")
    scheduler.add_job(callables.note, "date", run_date=soon(), id="volatile", jobstore="memory")
    assert the_run(Run.SUCCESS).job_id == "volatile"
    eventually(lambda: not scheduler.get_jobs("memory"))


def test_nothing_but_a_scheduler_starts_a_thread() -> None:
    before = set(threading.enumerate())
    importlib.import_module("jobstore.admin")
    DjangoJobStore()
    assert set(threading.enumerate()) <= before


def test_a_job_due_while_the_scheduler_stops_stays_due(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", hours=1, id="tick")
    eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
    scheduler.pause()
    with scheduler._jobstores_lock:  # which the loop has until its first look is over
        due = database_now("default")
    DjangoJob.objects.update(next_run_time=due)
    scheduler.shutdown()
    assert DjangoJob.objects.get().next_run_time == due
    assert callables.calls == []


def cut_after_commit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the database commit one claim, and lose the reply."""
    original = getattr(claim, name)

    def cut(what: list[Any], *args: Any) -> Any:
        if not what:
            return original(what, *args)
        monkeypatch.undo()
        original(what, *args)
        raise OperationalError("the connection was cut after the commit")

    monkeypatch.setattr(claim, name, cut)


def test_a_claim_whose_reply_is_lost_is_started_once(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "date", run_date=soon(), id="once", misfire_grace_time=60)
    cut_after_commit(monkeypatch, "claim")
    the_run(Run.SUCCESS)
    time.sleep(0.5)
    assert callables.calls == ["ran"]


def test_a_requested_run_whose_claim_is_not_answered_is_started_once(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_scheduler().add_job(callables.note, "interval", hours=1, id="tick")
    cut_after_commit(monkeypatch, "claim_requests")
    DjangoJob.objects.get().request_run("ada")
    the_run(Run.SUCCESS)
    time.sleep(0.5)
    assert callables.calls == ["ran"]


def test_runs_whose_claim_is_not_answered_have_their_own_arguments(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(
        callables.note, "interval", hours=1, id="tick", args=["usual"], max_instances=3
    )
    cut_after_commit(monkeypatch, "claim_requests")
    with transaction.atomic():
        api.run_now("tick", args=["special"])
        api.run_now("tick")
        api.run_now("tick", args=["rare"])
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).count() == 3)
    assert sorted(callables.calls) == ["rare", "special", "usual"]


def test_a_requested_run_is_started_although_the_claim_after_it_fails(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_scheduler().add_job(callables.note, "interval", hours=1, id="tick")

    write = recorder.write

    def fail(*args: Any) -> None:
        raise OperationalError("away")

    def write_late(*args: Any) -> None:
        time.sleep(0.5)  # so that the run looks unfinished long after it has ended
        write(*args)

    monkeypatch.setattr(claim, "claim", fail)
    monkeypatch.setattr(recorder, "write", write_late)
    DjangoJob.objects.get().request_run("ada")
    the_run(Run.SUCCESS)
    time.sleep(0.5)
    assert callables.calls == ["ran"]


def test_a_lease_that_a_claim_finds_lost_is_not_tried_again_and_again(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.SCHEDULER_LEASE_SECONDS = 10.0
    settings.SCHEDULER_RENEW_SECONDS = 2.0
    tries: list[int] = []

    def lost(*args: Any) -> None:
        tries.append(1)
        raise NotHolder

    scheduler = start_scheduler()
    eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
    monkeypatch.setattr(claim, "claim", lost)
    scheduler.add_job(callables.note, "date", run_date=soon(), id="due", misfire_grace_time=60)
    time.sleep(1.5)
    assert 1 <= len(tries) <= 12  # it would be hundreds
