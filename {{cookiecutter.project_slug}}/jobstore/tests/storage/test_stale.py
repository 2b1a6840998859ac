"""A job that was changed since it was read is not put back: its old time would run again."""

import datetime as dt
from typing import Any

import pytest
from django.db import IntegrityError

from jobstore.models import DjangoJob, DjangoJobExecution, StaleJob
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
