"""What was changed since it was read is not put back: an old time would run again, or never end."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from jobstore.models import DjangoJob, DjangoJobExecution, StaleJob, StaleRun, database_now
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

pytestmark = pytest.mark.django_db

PAST = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FUTURE = dt.datetime(2120, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def job() -> DjangoJob:
    """A job as somebody has read it."""
    DjangoJob.objects.create(pk="job", job_state=b"", next_run_time=PAST, name="before")
    stored: DjangoJob = DjangoJob.objects.get()
    return stored


def claim_moves_it_on() -> None:
    DjangoJob.objects.update(next_run_time=FUTURE)


@pytest.mark.parametrize("options", [{}, {"update_fields": ["next_run_time"]}], ids=str)
def test_a_stale_job_is_not_saved(job: DjangoJob, options: dict[str, Any]) -> None:
    claim_moves_it_on()
    with pytest.raises(StaleJob, match="Read it again"):
        job.save(**options)
    assert DjangoJob.objects.get().next_run_time == FUTURE


def test_a_stale_job_is_not_saved_with_others(job: DjangoJob) -> None:
    other = DjangoJob.objects.create(pk="other", job_state=b"", name="before")
    DjangoJob.objects.filter(pk="job").update(next_run_time=FUTURE)
    job.name = other.name = "after"
    with pytest.raises(StaleJob, match="'job'"):
        DjangoJob.objects.bulk_update([job, other], ["name", "next_run_time"])
    assert set(DjangoJob.objects.values_list("name", flat=True)) == {"before"}


def test_a_job_that_is_saved_with_others_cannot_have_its_version_set(job: DjangoJob) -> None:
    before = job.version
    DjangoJob.objects.bulk_update([job], ["name", "version"])
    assert DjangoJob.objects.get().version == job.version == before + 1


def test_a_job_that_was_deleted_does_not_come_back(job: DjangoJob) -> None:
    DjangoJob.objects.get().delete()
    with pytest.raises(StaleJob):
        job.save()
    assert not DjangoJob.all_objects.exists()


def test_a_new_job_never_replaces_one_that_is_there(job: DjangoJob) -> None:
    with pytest.raises(IntegrityError):
        DjangoJob(pk="job", job_state=b"", next_run_time=PAST).save()


def test_jobs_that_are_there_are_not_replaced_without_a_version(job: DjangoJob) -> None:
    fresh = DjangoJob(pk="job", job_state=b"", next_run_time=PAST)
    with pytest.raises(ValueError, match="version"):
        DjangoJob.objects.bulk_create(
            [fresh], update_conflicts=True, update_fields=["next_run_time"], unique_fields=["id"]
        )


def test_a_job_that_was_read_without_its_version_is_not_saved(job: DjangoJob) -> None:
    part = DjangoJob.objects.only("name").get()
    with pytest.raises(StaleJob, match="without its version"):
        part.save()


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job.save(),
        lambda job: job.save(update_fields=["name"]),
        lambda job: DjangoJob.objects.bulk_update([job], ["name"]),
        lambda job: DjangoJob.objects.update_or_create(pk="job", defaults={"name": "after"}),
    ],
    ids=["save", "save of one field", "bulk_update", "update_or_create"],
)
def test_every_way_to_change_a_job_raises_its_version(job: DjangoJob, change: Any) -> None:
    before, job.name = job.version, "after"
    change(job)
    stored = DjangoJob.objects.get()
    assert (stored.name, stored.version > before) == ("after", True)


def test_an_object_may_be_saved_again_and_again(job: DjangoJob) -> None:
    for number in range(3):
        job.name = f"name {number}"
        job.save()
        DjangoJob.objects.bulk_update([job], ["name"])
    stored = DjangoJob.objects.get()
    assert (stored.name, stored.version) == ("name 2", job.version)


def test_a_fixture_puts_a_job_back_and_a_claim_notices(job: DjangoJob, tmp_path: Path) -> None:
    fixture = tmp_path / "jobs.json"
    call_command("dumpdata", "jobstore.djangojob", output=str(fixture))
    before = DjangoJob.objects.get().version
    with CaptureQueriesContext(connection) as statements:
        call_command("loaddata", str(fixture), verbosity=0)
    wakes = any("NOTIFY" in one["sql"] for one in statements)
    assert wakes == (connection.vendor == "postgresql")
    loaded = DjangoJob.objects.get()
    assert (loaded.next_run_time, loaded.version > before) == (PAST, True)
    claim_moves_it_on()
    with pytest.raises(StaleJob):
        loaded.save()


@pytest.mark.django_db(transaction=True)
def test_a_job_that_a_fixture_brings_back_runs_at_once_but_no_time_twice(
    start_scheduler: StartScheduler, tmp_path: Path
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(
        callables.note, "interval", hours=1, start_date=PAST, id="job", misfire_grace_time=None
    )
    # A fixture holds milliseconds, and most schedules whole seconds.
    DjangoJob.objects.update(next_run_time=database_now("default").replace(microsecond=0))
    fixture = tmp_path / "jobs.json"
    scheduler.pause()
    call_command("dumpdata", "jobstore.djangojob", output=str(fixture))
    scheduler.resume()
    eventually(lambda: DjangoJobExecution.objects.filter(finished__isnull=False).exists())
    assert callables.calls == ["ran"]
    call_command("loaddata", str(fixture), verbosity=0)
    # It moves on, and what has run is not run again.
    eventually(lambda: DjangoJob.objects.get().next_run_time > database_now("default"))
    assert callables.calls == ["ran"]


# --- Runs ----------------------------------------------------------------------------------------

Run = DjangoJobExecution


@pytest.fixture
def run(job: DjangoJob) -> DjangoJobExecution:
    """A run that runs, as somebody has read it."""
    Run.objects.create(job=job, status=Run.RUNNING, run_time=PAST)
    stored: DjangoJobExecution = Run.objects.get()
    return stored


@pytest.mark.parametrize("options", [{}, {"update_fields": ["status"]}], ids=str)
@pytest.mark.parametrize(
    ("read", "by_now"),
    [
        (Run.RUNNING, Run.SUCCESS),
        (Run.RUNNING, Run.LOST),
        (Run.REQUESTED, Run.RUNNING),
        (Run.REQUESTED, Run.CANCELLED),
    ],
)
def test_a_run_that_went_on_is_not_put_back(
    run: DjangoJobExecution, read: str, by_now: str, options: dict[str, Any]
) -> None:
    run.status = read
    Run.objects.update(status=by_now)
    with pytest.raises(StaleRun, match=f"is '{by_now}' by now"):
        run.save(**options)
    assert Run.objects.get().status == by_now


def test_a_run_that_was_deleted_does_not_come_back(run: DjangoJobExecution) -> None:
    Run.objects.all().delete()
    with pytest.raises(StaleRun, match="is gone"):
        run.save()
    assert not Run.objects.exists()


def test_columns_that_say_nothing_of_the_status_are_saved(run: DjangoJobExecution) -> None:
    Run.objects.update(status=Run.SUCCESS)
    run.note = "seen"
    run.save(update_fields=["note"])
    part = Run.objects.only("result").get()
    part.result = "5"
    part.save()
    stored = Run.objects.get()
    assert (stored.status, stored.note, stored.result) == (Run.SUCCESS, "seen", "5")


@pytest.mark.parametrize("status", Run.STATUSES[1:])
def test_a_run_goes_on_by_saving_it(run: DjangoJobExecution, status: str) -> None:
    Run.objects.update(status=Run.REQUESTED)
    run.status = status
    run.save()
    assert Run.objects.get().status == status


# --- With a scheduler ----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_time_never_runs_twice_when_a_stale_job_is_saved_after_pruning(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(
        callables.note,
        "interval",
        hours=1,
        start_date=PAST,
        id="job",
        next_run_time=PAST,
        misfire_grace_time=None,
    )
    stale = DjangoJob(
        **{
            field.attname: getattr(DjangoJob.objects.get(), field.attname)
            for field in DjangoJob._meta.concrete_fields
        }
    )
    stale.next_run_time, stale.version = PAST, stale.version - 1
    stale._state.adding = False
    eventually(lambda: callables.calls == ["ran"])
    eventually(lambda: DjangoJobExecution.objects.filter(finished__isnull=False).exists())
    DjangoJobExecution.objects.all().delete()
    with pytest.raises(StaleJob):
        stale.save()
    scheduler.wakeup()
    with pytest.raises(AssertionError):
        eventually(lambda: len(callables.calls) > 1, timeout=1.5)
