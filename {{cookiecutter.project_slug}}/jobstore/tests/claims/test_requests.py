"""Runs that somebody asks for start as fast as scheduled ones, beside them, and go stale."""

import datetime as dt
import time

import pytest
from apscheduler.events import (
    EVENT_JOB_EXECUTED,
    EVENT_JOB_SUBMITTED,
    JobExecutionEvent,
    JobSubmissionEvent,
)
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db.models import F, Max, Min
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from jobstore.claims import requests
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerLease, database_now
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, create_user, eventually

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
SECOND = dt.timedelta(seconds=1)


def ask(number: int, job_id: str = "job") -> None:
    now = database_now("default")
    Run.objects.bulk_create(
        Run(
            job_id=job_id,
            status=Run.REQUESTED,
            run_time=now - dt.timedelta(microseconds=one),
            requested_by="test",
        )
        for one in range(number)
    )


def all_have_run(job_id: str = "job") -> bool:
    return not Run.objects.filter(job=job_id, status__in=Run.UNFINISHED).exists()


def test_many_requests_run_as_fast_as_workers_get_free(
    start_scheduler: StartScheduler, settings: Settings
) -> None:
    # As many to a renewal as there are workers would be over after minutes.
    settings.SCHEDULER_LEASE_SECONDS = 120.0
    scheduler = start_scheduler(threads=4)
    # None is so short that it would be claimed ahead.
    scheduler.add_job(
        callables.sleep, "interval", hours=1, args=[0.2], id="job", max_instances=1000
    )
    time.sleep(0.5)
    ask(80)
    eventually(lambda: "slept" in callables.calls)
    settings.SCHEDULER_RENEW_SECONDS = 20.0
    eventually(all_have_run, timeout=50)
    assert Run.objects.filter(status=Run.SUCCESS).count() == 80


def test_requests_do_not_keep_scheduled_jobs_from_running(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler(threads=2)
    scheduler.add_job(
        callables.sleep, "interval", hours=1, args=[0.05], id="job", max_instances=1000
    )
    scheduler.add_job(callables.note, "interval", seconds=0.3, id="steady", misfire_grace_time=None)
    ask(300)
    eventually(lambda: callables.calls.count("ran") >= 3)
    assert not all_have_run(), "the scheduled job had to wait for all that was asked for"
    eventually(all_have_run, timeout=60)
    runs = Run.objects.filter(job="steady", started_at__isnull=False)
    longest = max(run.started_at - run.run_time for run in runs if run.started_at)
    asked = Run.objects.filter(job="job").aggregate(first=Min("claimed_at"), last=Max("claimed_at"))
    assert longest < (asked["last"] - asked["first"]) / 3


@pytest.mark.parametrize("idle_looks", [0, 1, 2])
def test_looks_at_a_busy_worker_use_up_nobodys_turn(idle_looks: int) -> None:
    store = DjangoJobStore()
    executor = ThreadPoolExecutor(1)
    scheduler = BackgroundScheduler(
        jobstores={"default": store}, executors={"default": executor}, timezone="UTC"
    )
    order: list[str] = []

    def look() -> bool:
        jobs = store.get_due_jobs(dt.datetime.now(dt.UTC))
        for job in jobs:
            order.append(job.id)
            times = job._get_run_times(dt.datetime.now(dt.UTC))
            executor.submit_job(job, times)
            event = JobSubmissionEvent(EVENT_JOB_SUBMITTED, job.id, "default", times)
            scheduler._dispatch_event(event)
        return bool(jobs)

    # Its loop stands still: the looks are the test's own.
    scheduler.start(paused=True)
    try:
        scheduler.add_job(callables.block, "interval", hours=1, id="asked", max_instances=99)
        scheduler.add_job(callables.block, "interval", seconds=0.02, id="due", max_instances=9)
        ask(20, "asked")
        for _ in range(8):
            eventually(look)
            for _ in range(idle_looks):
                assert not look()
            eventually(lambda: callables.calls and callables.calls.pop())
            time.sleep(0.15)  # so that none is short enough to be claimed ahead, and "due" is due
            callables.release.set()
            eventually(lambda: not store._dispatcher.runs)  # type: ignore[union-attr]
            callables.release.clear()
    finally:
        callables.release.set()
        scheduler.shutdown()
    turns = order[order.index("asked") :]  # until then, it did not know that any was asked for
    assert set(turns[::2]) == {"asked"}, order
    assert set(turns[1::2]) == {"due"}, order


def test_a_turn_of_an_earlier_epoch_is_no_turn_any_more() -> None:
    store = DjangoJobStore()
    scheduler = BackgroundScheduler(
        jobstores={"default": store},
        executors={"default": ThreadPoolExecutor(1)},
        timezone="UTC",
    )

    def look() -> list[Job]:
        return list(store.get_due_jobs(dt.datetime.now(dt.UTC)))

    def ends(job: Job) -> None:
        for run_time in job._get_run_times(dt.datetime.now(dt.UTC)):
            event = JobExecutionEvent(EVENT_JOB_EXECUTED, job.id, "default", run_time)
            scheduler._dispatch_event(event)

    # Its loop stands still: the looks are the test's own.
    scheduler.start(paused=True)
    try:
        scheduler.add_job(callables.note, "interval", hours=1, id="asked", max_instances=9)
        ask(1, "asked")
        [asked] = eventually(look)
        ends(asked)
        # The worker's next turn would be that of a due job, but another term begins.
        SchedulerLease.objects.update(epoch=F("epoch") + 1, expires_at=database_now("default"))
        scheduler.add_job(callables.note, "interval", seconds=0.02, id="due", max_instances=9)
        ask(1, "asked")
        elector = store.elector
        eventually(lambda: elector and (elector.epoch or 0) > 1 and elector.requested)
        [first] = eventually(look)
    finally:
        scheduler.shutdown()
    assert first.id == "asked"


def test_scheduled_jobs_do_not_keep_requests_from_running(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler(threads=1)
    for number in range(6):
        scheduler.add_job(
            callables.sleep,
            "interval",
            seconds=0.1,
            args=[0.1],
            id=f"busy-{number}",
            misfire_grace_time=None,
        )
    scheduler.add_job(callables.note, "interval", hours=1, id="job", max_instances=10)
    eventually(lambda: callables.calls.count("slept") > 5)
    ask(5)
    eventually(all_have_run, timeout=10)
    assert callables.calls.count("ran") == 5


@pytest.mark.parametrize("grace", [1, 60, 3600])
def test_a_request_that_nobody_could_start_for_long_is_missed(
    start_scheduler: StartScheduler, grace: int
) -> None:
    scheduler = start_scheduler(threads=2)
    scheduler.add_job(
        callables.note, "interval", hours=1, id="job", misfire_grace_time=grace, max_instances=9
    )
    late = max(grace, requests.MIN_GRACE_SECONDS)
    now = database_now("default")
    stale = Run.objects.create(
        job_id="job", status=Run.REQUESTED, run_time=now - (late + 5) * SECOND, requested_by="x"
    )
    fresh = Run.objects.create(
        job_id="job", status=Run.REQUESTED, run_time=now - (late - 20) * SECOND, requested_by="x"
    )
    eventually(all_have_run)
    stale.refresh_from_db()
    fresh.refresh_from_db()
    assert (stale.status, fresh.status) == (Run.MISSED, Run.SUCCESS)
    assert "Request it again" in (stale.exception or "")


def test_a_job_that_may_be_late_without_limit_takes_requests_however_old(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", hours=1, id="job", misfire_grace_time=None)
    old = database_now("default") - dt.timedelta(days=9)
    Run.objects.create(job_id="job", status=Run.REQUESTED, run_time=old, requested_by="x")
    eventually(all_have_run)
    assert callables.calls == ["ran"]


def test_a_request_that_only_waits_for_a_worker_does_not_go_stale(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MIN_GRACE_SECONDS", 0.5)
    scheduler = start_scheduler(threads=1)
    scheduler.add_job(callables.block, "interval", hours=1, id="blocks", misfire_grace_time=1)
    scheduler.add_job(callables.note, "interval", hours=1, id="job", misfire_grace_time=1)
    DjangoJob.objects.get(pk="blocks").request_run("test")
    eventually(lambda: "blocked" in callables.calls)
    DjangoJob.objects.get(pk="job").request_run("test")
    time.sleep(3.0)
    callables.release.set()
    eventually(all_have_run)
    assert "ran" in callables.calls


def test_a_request_can_be_cancelled_before_it_starts() -> None:
    DjangoJob.objects.create(pk="job", job_state=b"")
    request = DjangoJob.objects.get(pk="job").request_run("test")
    assert request.cancel("ada")
    request.refresh_from_db()
    assert request.status == Run.CANCELLED
    assert request.finished is not None
    assert "ada" in (request.exception or "")


@pytest.mark.parametrize("status", [Run.RUNNING, Run.SUCCESS, Run.CANCELLED])
def test_what_has_started_cannot_be_cancelled(status: str) -> None:
    run = Run.objects.create(job_id="job", status=status, run_time=database_now("default"))
    assert not run.cancel("ada")
    run.refresh_from_db()
    assert run.status == status


def test_a_cancelled_request_does_not_run(start_scheduler: StartScheduler) -> None:
    DjangoJob.objects.create(pk="job", job_state=b"")
    request = DjangoJob.objects.get(pk="job").request_run("test")
    assert request.cancel("ada")
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", seconds=0.2, id="other", misfire_grace_time=None)
    eventually(lambda: "ran" in callables.calls)
    request.refresh_from_db()
    assert request.status == Run.CANCELLED


def test_requests_are_cancelled_in_the_admin(admin_client: Client) -> None:
    DjangoJob.objects.create(pk="job", job_state=b"")
    request = DjangoJob.objects.get(pk="job").request_run("test")
    ran = Run.objects.create(job_id="job", status=Run.SUCCESS, run_time=database_now("default"))
    answer = cancel(admin_client, request, ran)
    assert "Cancelled: 1." in answer
    assert "Left alone, since they have begun or ended already: 1." in answer
    assert Run.objects.get(pk=request.pk).status == Run.CANCELLED
    assert Run.objects.get(pk=ran.pk).status == Run.SUCCESS
    assert LogEntry.objects.get().change_message == "Cancelled before it started."


def test_only_who_may_run_jobs_may_cancel_requests(client: Client) -> None:
    user = create_user(is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_djangojobexecution"))
    client.force_login(user)
    DjangoJob.objects.create(pk="job", job_state=b"")
    request = DjangoJob.objects.get(pk="job").request_run("test")
    cancel(client, request)
    assert Run.objects.get(pk=request.pk).status == Run.REQUESTED


def cancel(client: Client, *runs: DjangoJobExecution) -> str:
    answer = client.post(
        reverse("admin:jobstore_djangojobexecution_changelist"),
        {"action": "cancel_selected_requests", "_selected_action": [run.pk for run in runs]},
        follow=True,
    )
    return answer.content.decode()


def test_what_was_skipped_does_not_push_out_what_ran() -> None:
    now = database_now("default")
    for number in range(20):
        status = Run.SUCCESS if number < 5 else Run.MAX_INSTANCES
        Run.objects.create(job_id="job", status=status, run_time=now - (60 - number) * SECOND)
    assert Run.objects.delete_old_job_executions(86_400, keep_per_job=5) == 10
    assert Run.objects.filter(status=Run.SUCCESS).count() == 5
    assert Run.objects.filter(status=Run.MAX_INSTANCES).count() == 5


def test_a_row_that_times_are_counted_in_is_as_young_as_the_last_of_them() -> None:
    now = database_now("default")
    long_ago = now - dt.timedelta(days=40)
    Run.objects.create(
        job_id="job", status=Run.MAX_INSTANCES, run_time=long_ago, last_run_time=now, times=9
    )
    Run.objects.create(job_id="job", status=Run.MISSED, run_time=long_ago - SECOND)
    assert Run.objects.delete_old_job_executions(30 * 86_400) == 1
    assert Run.objects.get().times == 9


def test_the_admin_shows_for_how_many_times_a_row_stands(admin_client: Client) -> None:
    now = database_now("default")
    run = Run.objects.create(
        job_id="job", status=Run.MAX_INSTANCES, run_time=now, last_run_time=now, times=12
    )
    runs = admin_client.get(reverse("admin:jobstore_djangojobexecution_changelist"))
    assert "12 times" in runs.content.decode()
    page = reverse("admin:jobstore_djangojobexecution_change", args=[run.pk])
    assert "12, the last one at" in admin_client.get(page).content.decode()
