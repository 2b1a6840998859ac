"""A run whose process died is recorded as lost, and run again if its job asks for that."""

import datetime as dt
import uuid

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import connection

from jobstore import api, models, registry
from jobstore.leadership import losses
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, database_now
from jobstore.registry import scheduled
from jobstore.storage import run_arguments
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

Run = DjangoJobExecution
DEAD = uuid.uuid4()
RERUN, RECORD = DjangoJob.OnLost.RERUN, DjangoJob.OnLost.RECORD


def lose(on_lost: str = RERUN, attempt: int = 1, **changes: object) -> DjangoJobExecution:
    """Store a job and a run of it that a process was running, and find that process dead."""
    now = database_now("default")
    values = {"next_run_time": now + dt.timedelta(hours=1), "on_lost": on_lost} | changes
    job = DjangoJob.all_objects.create(pk="job", job_state=b"", **values)
    run = Run.objects.create(
        job=job, status=Run.RUNNING, run_time=now, claimed_at=now, instance_id=DEAD, attempt=attempt
    )
    assert losses.mark_lost([DEAD], "default", "gone") == 1
    run.refresh_from_db()
    assert run.status == Run.LOST
    return run


def requested() -> list[DjangoJobExecution]:
    return list(Run.objects.filter(status=Run.REQUESTED))


@pytest.mark.django_db
def test_a_job_that_asks_for_it_is_run_again() -> None:
    lost = lose()
    (again,) = requested()
    assert (again.job_id, again.attempt) == ("job", 2)
    assert again.requested_by == f"loss of run {lost.pk}"


@pytest.mark.django_db
def test_a_lost_run_is_repeated_with_the_arguments_that_were_its_own() -> None:
    api.add_job(callables.note, "interval", hours=1, id="job", on_lost="rerun", args=["usual"])
    run = api.run_now("job", args=["special"])
    Run.objects.filter(pk=run.pk).update(status=Run.RUNNING, instance=DEAD)
    losses.mark_lost([DEAD], "default", "gone")
    (again,) = requested()
    assert run_arguments.restore(again) == (("special",), {})


@pytest.mark.django_db
def test_a_lost_run_whose_arguments_were_forged_is_not_repeated() -> None:
    api.add_job(callables.note, "interval", hours=1, id="job", on_lost="rerun", args=["usual"])
    run = api.run_now("job", args=["special"])
    Run.objects.filter(pk=run.pk).update(status=Run.RUNNING, instance=DEAD, arguments="'other'")
    assert losses.mark_lost([DEAD], "default", "gone") == 1
    assert requested() == []


@pytest.mark.django_db
def test_a_job_that_does_not_ask_is_not_run_again() -> None:
    lose(RECORD)
    assert requested() == []


@pytest.mark.django_db
def test_a_run_is_not_tried_for_ever() -> None:
    lose(attempt=losses.MAX_ATTEMPTS)
    assert requested() == []


@pytest.mark.django_db
def test_a_paused_job_is_not_run_again() -> None:
    lose(next_run_time=None)
    assert requested() == []


@pytest.mark.django_db
def test_a_job_that_somebody_removed_is_not_run_again() -> None:
    lose(next_run_time=None, retired_at=database_now("default"))
    assert requested() == []


@pytest.mark.django_db
def test_a_loss_is_found_once() -> None:
    lose()
    assert losses.mark_lost([DEAD], "default", "gone again") == 0
    assert len(requested()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_loss_and_the_request_that_follows_are_one_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("killed between the two")

    monkeypatch.setattr(models.DjangoJobExecutionManager, "request", fail)
    with pytest.raises(RuntimeError):
        lose()
    assert not connection.in_atomic_block
    assert set(Run.objects.values_list("status", flat=True)) == {Run.RUNNING}


def test_a_one_off_job_whose_process_died_is_run_again(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(milliseconds=300)
    scheduler.add_job(callables.block, "date", run_date=soon, id="once")
    DjangoJob.objects.filter(pk="once").update(on_lost=RERUN)
    first = eventually(lambda: Run.objects.filter(status=Run.RUNNING).first())
    # Another process was running it, as far as anybody can tell, and is gone.
    now = database_now("default")
    dead = SchedulerInstance.objects.create(
        host="gone", pid=1, role="active", started_at=now, heartbeat_at=now - dt.timedelta(hours=1)
    )
    Run.objects.filter(pk=first.pk).update(instance=dead)
    callables.release.set()
    scheduler.shutdown()
    start_scheduler()
    again = eventually(lambda: Run.objects.filter(status=Run.SUCCESS).first(), timeout=20)
    assert (again.job_id, again.attempt) == ("once", 2)
    assert callables.calls == ["blocked", "blocked"]


def test_what_to_do_about_a_loss_is_one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_declared", {})
    scheduled("cron", id="job", hour=3, on_lost="retry")(callables.note)
    problems = registry.collect(BackgroundScheduler(timezone="UTC")).problems
    [text] = [problem.text for problem in problems if problem.subject == "job"]
    assert "'record', 'rerun'" in text
