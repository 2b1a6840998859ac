"""What was asked for of a job that is taken out of service is cancelled: no new job runs it."""

import datetime as dt
import uuid
from collections.abc import Callable

import pytest
from django.test import Client

from jobstore.jobstores import DjangoJobStore
from jobstore.leadership import losses
from jobstore.models import DjangoJob, DjangoJobExecution, DjangoJobExecutionManager, database_now
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.jobfiles import JobFiles

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
JOB = '@scheduled("cron", id="job", hour=3)\ndef job(): pass\n'


def store(job_id: str = "job", **changes: object) -> DjangoJob:
    at = database_now("default") + dt.timedelta(hours=1)
    job: DjangoJob = DjangoJob.objects.create(
        pk=job_id, job_state=b"", **{"next_run_time": at} | changes
    )
    return job


def ask(job_id: str = "job", attempt: int = 1) -> DjangoJobExecution:
    return Run.objects.request(job_id, "ada", attempt)


def ended() -> DjangoJob:
    """Store a job that ended with its last run, which was lost."""
    now = database_now("default")
    job = store(next_run_time=None, retired_at=now, on_lost=DjangoJob.OnLost.RERUN)
    process = uuid.uuid4()
    Run.objects.create(
        job=job, status=Run.RUNNING, run_time=now, claimed_at=now, instance_id=process, attempt=1
    )
    assert losses.mark_lost([process], "default", "gone") == 1
    return job


@pytest.mark.parametrize(
    ("take_out", "why"),
    [
        (lambda: DjangoJob.objects.filter(pk="job").retire(), "The job was retired before"),
        (lambda: DjangoJobStore().remove_job("job"), "The job was removed by the program before"),
        (lambda: DjangoJob.objects.get(pk="job").delete(), "The job was deleted before"),
        (lambda: DjangoJob.objects.filter(pk="job").delete(), "The job was deleted before"),
    ],
    ids=["retired", "removed", "deleted", "deleted with others"],
)
@pytest.mark.parametrize("attempt", [1, 2])
def test_what_waits_of_a_job_that_is_taken_out_of_service_is_cancelled(
    take_out: Callable[[], object], why: str, attempt: int
) -> None:
    store()
    store("other")
    waiting, of_other = ask(attempt=attempt), ask("other")
    take_out()
    waiting.refresh_from_db()
    of_other.refresh_from_db()
    assert waiting.status == Run.CANCELLED
    assert (waiting.exception or "").startswith(why)
    assert waiting.finished is not None
    assert of_other.status == Run.REQUESTED


def test_what_waits_of_all_jobs_is_cancelled_when_a_program_removes_them_all() -> None:
    for job_id in ("a", "b"):
        store(job_id)
        ask(job_id)
    DjangoJobStore().remove_all_jobs()
    assert set(Run.objects.values_list("status", flat=True)) == {Run.CANCELLED}


def test_retiring_in_the_admin_cancels_what_waits_and_says_who_did(admin_client: Client) -> None:
    store()
    waiting = ask()
    form = {"action": "retire_selected_jobs", "_selected_action": "job", "post": "yes"}
    admin_client.post("/admin/jobstore/djangojob/", form)
    waiting.refresh_from_db()
    assert waiting.status == Run.CANCELLED
    assert "retired by " in (waiting.exception or "")


def test_a_job_that_leaves_the_code_takes_what_waits_with_it(files: JobFiles) -> None:
    files.declare("a.py", JOB)
    files.sync()
    waiting = ask()
    files.declare("a.py", "")
    files.sync()
    waiting.refresh_from_db()
    assert waiting.status == Run.CANCELLED
    assert "left the code" in (waiting.exception or "")


def test_what_was_done_already_is_no_part_of_it() -> None:
    store()
    done = ask()
    Run.objects.filter(pk=done.pk).update(status=Run.SUCCESS)
    running = ask()
    Run.objects.filter(pk=running.pk).update(status=Run.RUNNING)
    DjangoJob.objects.all().retire()
    assert set(Run.objects.values_list("status", flat=True)) == {Run.SUCCESS, Run.RUNNING}


@pytest.mark.parametrize(
    "take_out",
    [
        lambda: DjangoJob.objects.all().retire(),
        lambda: DjangoJob.objects.all().delete(),
        lambda: DjangoJob.objects.get().delete(),
    ],
    ids=["retire", "delete", "delete one"],
)
def test_a_job_stays_in_service_if_what_waits_cannot_be_cancelled(
    monkeypatch: pytest.MonkeyPatch, take_out: Callable[[], object]
) -> None:
    def fail(*args: object) -> int:
        raise RuntimeError("killed between the two")

    store()
    waiting = ask()
    monkeypatch.setattr(DjangoJobExecutionManager, "cancel_waiting", fail)
    with pytest.raises(RuntimeError):
        take_out()
    waiting.refresh_from_db()
    assert waiting.status == Run.REQUESTED
    assert DjangoJob.objects.exists()


def test_a_new_job_does_not_run_what_was_asked_for_of_the_one_before(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler(threads=1)
    scheduler.add_job(callables.block, "interval", hours=1, id="blocks")
    scheduler.add_job(callables.note, "interval", hours=1, id="job", args=["before"])
    ask("blocks")
    eventually(lambda: callables.calls == ["blocked"])
    waiting = ask()
    scheduler.remove_job("job")
    scheduler.add_job(callables.note, "interval", hours=1, id="job", args=["after"])
    callables.release.set()
    fresh = ask()
    eventually(lambda: Run.objects.get(pk=fresh.pk).status == Run.SUCCESS)
    assert callables.calls == ["blocked", "after"]
    assert Run.objects.get(pk=waiting.pk).status == Run.CANCELLED


def test_a_new_job_does_not_run_what_waits_of_one_that_had_ended(
    start_scheduler: StartScheduler,
) -> None:
    ended()
    owed = Run.objects.get(status=Run.REQUESTED)
    Run.objects.filter(pk=owed.pk).update(run_time=database_now("default") + dt.timedelta(hours=1))
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", hours=1, id="job")
    owed.refresh_from_db()
    assert owed.status == Run.CANCELLED
    assert "replaced by a new one" in (owed.exception or "")


def test_a_job_that_ended_owes_its_lost_run_although_its_declaration_changes(
    files: JobFiles,
) -> None:
    files.declare("a.py", JOB)
    files.sync()
    now = database_now("default")
    DjangoJob.objects.update(next_run_time=None, retired_at=now)
    Run.objects.create(job_id="job", status=Run.LOST, run_time=now, claimed_at=now)
    owed = ask(attempt=2)
    files.declare("a.py", JOB.replace("hour=3", "hour=4"))
    assert [change.action for change in files.sync()] == ["add"]
    owed.refresh_from_db()
    assert owed.status == Run.REQUESTED


def test_a_job_that_somebody_retired_owes_nothing_when_its_declaration_changes(
    files: JobFiles,
) -> None:
    files.declare("a.py", JOB)
    files.sync()
    DjangoJob.objects.all().retire()
    late = ask(attempt=2)  # whose loss was found at the moment in which the job was retired
    files.declare("a.py", JOB.replace("hour=3", "hour=4"))
    files.sync()
    late.refresh_from_db()
    assert late.status == Run.CANCELLED


def test_a_lost_run_of_a_job_that_somebody_retired_is_not_run_again(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", hours=1, id="job")
    DjangoJob.objects.all().retire()
    late = ask(attempt=2)  # as above
    eventually(lambda: Run.objects.get(pk=late.pk).status == Run.ERROR)
    assert callables.calls == []
    assert "out of service" in (Run.objects.get(pk=late.pk).exception or "")


def test_a_job_that_ended_owes_a_run_until_the_last_attempt() -> None:
    ended()
    for attempt in range(2, losses.MAX_ATTEMPTS + 1):
        [again] = Run.objects.filter(status=Run.REQUESTED)
        assert again.attempt == attempt
        process = uuid.uuid4()
        Run.objects.filter(pk=again.pk).update(
            status=Run.RUNNING, instance=process, claimed_at=database_now("default")
        )
        losses.mark_lost([process], "default", "gone")
    assert not Run.objects.filter(status=Run.REQUESTED).exists()
