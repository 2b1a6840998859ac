"""What a process leaves behind: its unfinished runs are found, whether it signed off or died."""

import datetime as dt
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import DatabaseError
from pytest_django.fixtures import Settings

from jobstore import registry
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership import lease, losses
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, database_now
from jobstore.process.scheduler import SchedulerProcess
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.processes import SchedulerCommand

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
Role = SchedulerInstance.Role
SECOND = dt.timedelta(seconds=1)


@pytest.fixture
def process(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Iterator[SchedulerProcess]:
    """What `runapscheduler` runs, with a job that blocks."""
    settings.SCHEDULER_DRAIN_SECONDS = 0.2
    monkeypatch.setattr(registry, "sync", lambda *args, **options: [])
    one = SchedulerProcess()
    one.start()
    one.scheduler.add_job(callables.block, "interval", hours=1, id="job")
    DjangoJob.objects.get(pk="job").request_run("test")
    eventually(lambda: "blocked" in callables.calls)
    yield one
    callables.release.set()
    if one.scheduler.running:
        one.stop()


def instance(role: Role, seconds_ago: float) -> SchedulerInstance:
    now = database_now("default")
    silent_since = now - seconds_ago * SECOND
    return SchedulerInstance.objects.create(
        host="gone", pid=1, role=role, started_at=silent_since, heartbeat_at=silent_since
    )


def left_run(owner: SchedulerInstance) -> DjangoJobExecution:
    now = database_now("default")
    return Run.objects.create(
        job_id="job", status=Run.RUNNING, run_time=now, claimed_at=now, instance=owner
    )


@pytest.mark.parametrize("role", SchedulerInstance.GONE)
def test_a_run_that_a_process_left_is_found_while_another_is_active(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    monkeypatch.setattr("jobstore.leadership.reaper.REAP_SECONDS", 0.0)
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", seconds=0.5, id="job")
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).exists())
    time.sleep(2.0)  # the thorough look at the take-over is over
    run = left_run(instance(role, seconds_ago=60))
    eventually(lambda: Run.objects.get(pk=run.pk).status == Run.LOST)
    after = database_now("default")
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS, run_time__gt=after).exists())


def test_a_process_that_signs_off_gives_up_its_runs(process: SchedulerProcess) -> None:
    assert not process.stop()
    run = Run.objects.get(job="job")
    assert run.status == Run.LOST
    assert run.exception == "The process was shut down; the job did not finish within 0.2 s."
    assert SchedulerInstance.objects.get().role == Role.STOPPED


def test_a_process_that_cannot_give_up_its_runs_does_not_sign_off(
    process: SchedulerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it is found dead, and its runs with it."""

    def fail(*args: object, **options: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(losses, "mark_lost", fail)
    process.stop()
    assert SchedulerInstance.objects.get().role == Role.DRAINING


def test_a_run_is_not_tried_again_before_the_thread_that_runs_it_has_ended(
    process: SchedulerProcess, start_scheduler: StartScheduler
) -> None:
    """The process ends right after it has signed off."""
    DjangoJob.objects.update(on_lost=DjangoJob.OnLost.RERUN)
    process.stop()
    signed_off = database_now("default")
    start_scheduler()
    again = eventually(lambda: Run.objects.filter(attempt=2).exclude(claimed_at=None).first())
    assert again.claimed_at - signed_off > 1.5 * SECOND


def test_a_scheduler_that_does_not_wait_keeps_its_runs_until_they_end(
    start_scheduler: StartScheduler, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobstore.leadership.membership.HEARTBEAT_SECONDS", 0.5)
    monkeypatch.setattr("jobstore.leadership.reaper.REAP_SECONDS", 0.0)
    former = start_scheduler()
    former.add_job(callables.block, "interval", hours=1, id="job")
    DjangoJob.objects.update(on_lost=DjangoJob.OnLost.RERUN)
    DjangoJob.objects.get(pk="job").request_run("test")
    eventually(lambda: "blocked" in callables.calls)
    former.shutdown(wait=False)
    start_scheduler()
    time.sleep(settings.SCHEDULER_DEAD_SECONDS + 1.5)
    assert callables.calls == ["blocked"]
    callables.release.set()
    eventually(lambda: SchedulerInstance.objects.filter(role=Role.STOPPED).exists())
    eventually(lambda: callables.calls == ["blocked", "blocked"])


def hold(suspect: losses.Suspect) -> int:
    """Take the lease, and look for the dead as its holder."""
    me = uuid.uuid4()
    term = lease.acquire(me, "default").term
    return losses.reap_dead_instances(me, term, "default", database_now("default"), suspect)


def test_the_former_holder_whose_session_ended_is_dead_if_it_stays_silent() -> None:
    former = instance(Role.ACTIVE, seconds_ago=1.5)
    run = left_run(former)
    taken_over_at = database_now("default") - SECOND
    assert hold(losses.Suspect(former.pk, taken_over_at)) == 1
    assert Run.objects.get(pk=run.pk).status == Run.LOST


def test_the_former_holder_that_reconnected_is_not_dead() -> None:
    former = instance(Role.STARTING, seconds_ago=0.5)
    left_run(former)
    taken_over_at = database_now("default") - SECOND
    assert hold(losses.Suspect(former.pk, taken_over_at)) == 0


def test_the_former_holder_gets_the_time_to_reconnect() -> None:
    former = instance(Role.ACTIVE, seconds_ago=1.5)
    left_run(former)
    assert hold(losses.Suspect(former.pk, database_now("default"))) == 0


@pytest.mark.slow
def test_a_job_whose_process_was_killed_runs_again_long_before_it_counts_as_silent(
    tmp_path: Path,
) -> None:
    # 600 s of silence
    quick: dict[str, Any] = {"DJANGO_SETTINGS_MODULE": "jobstore.tests.long_settings"}
    former = SchedulerCommand(tmp_path / "former", **quick)
    further = None
    try:
        eventually(former.is_active, 40)
        further = SchedulerCommand(tmp_path / "further", **quick)
        eventually(lambda: DjangoJob.objects.filter(pk="endless").first(), 20).request_run("test")
        eventually(lambda: Run.objects.filter(job="endless", status=Run.RUNNING).exists(), 20)
        eventually(lambda: SchedulerInstance.objects.filter(role=Role.STANDBY).exists(), 40)
        former.process.send_signal(signal.SIGKILL)
        eventually(lambda: Run.objects.filter(job="endless", status=Run.LOST).exists(), 20)
    finally:
        former.kill()
        if further is not None:
            further.kill()


def test_a_claimed_run_that_no_executor_was_given_keeps_no_process_from_signing_off() -> None:
    """Something, a signal's exception for example, came between the claim and the executor."""
    store = DjangoJobStore()
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
    scheduler.start(paused=True)
    try:
        scheduler.add_job(callables.note, "interval", hours=1, id="job")
        DjangoJob.objects.get(pk="job").request_run("test")
        eventually(lambda: store.get_due_jobs(dt.datetime.now(dt.UTC)))
    finally:
        scheduler.shutdown()
    assert SchedulerInstance.objects.get().role == Role.STOPPED
    assert Run.objects.get(job="job").status == Run.LOST
    assert callables.calls == []
