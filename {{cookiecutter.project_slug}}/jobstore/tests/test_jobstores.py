"""The contract of an APScheduler job store, as django-apscheduler's users know it."""

import datetime as dt
from typing import Any

import pytest
from apscheduler.job import Job
from apscheduler.jobstores.base import ConflictingIdError, JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from jobstore.jobstores import DjangoJobStore, register_events, register_job
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.tests import callables

pytestmark = pytest.mark.django_db

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def store() -> DjangoJobStore:
    return DjangoJobStore()


def make(job_id: str, next_run_time: dt.datetime | None = NOON, **options: Any) -> Job:
    scheduler = BackgroundScheduler(timezone="UTC")
    func = options.pop("func", callables.note)
    job = scheduler.add_job(func, "interval", hours=1, start_date=NOON, id=job_id, **options)
    job._modify(executor="default", max_instances=1, coalesce=True, misfire_grace_time=1)
    job._modify(next_run_time=next_run_time)
    return job


def test_a_stored_job_is_found_again(store: DjangoJobStore) -> None:
    store.add_job(make("a", args=["x"], name="an ünusual name"))
    found = store.lookup_job("a")
    assert found is not None
    assert (found.id, found.name, list(found.args)) == ("a", "an ünusual name", ["x"])
    assert found.next_run_time == NOON


@pytest.mark.parametrize("job_id", ["日本語", "with space", "x" * 255])
def test_any_id_can_be_used(store: DjangoJobStore, job_id: str) -> None:
    store.add_job(make(job_id))
    assert store.lookup_job(job_id) is not None


def test_ids_differ_if_a_single_character_does(store: DjangoJobStore) -> None:
    for job_id in ("report", "Report", "report ", "répórt"):
        store.add_job(make(job_id))
    assert DjangoJob.objects.count() == 4
    assert store.lookup_job("REPORT") is None


def test_a_name_may_hold_anything(store: DjangoJobStore) -> None:
    store.add_job(make("a", name="\x00 \ud800 " + "n" * 300))
    assert DjangoJob.objects.get().name.startswith("␀")


ADA = callables.Greeter("Ada")


@pytest.mark.parametrize(
    ("func", "args"),
    [
        pytest.param(ADA.greet, ["Hello"], id="bound"),
        pytest.param(callables.Greeter.greet, [ADA, "Hello"], id="unbound"),
    ],
)
def test_methods_can_be_jobs(store: DjangoJobStore, func: Any, args: list[Any]) -> None:
    store.add_job(make("a", func=func, args=args))
    found = store.lookup_job("a")
    assert found is not None
    found.func(*found.args, **found.kwargs)
    assert callables.calls == ["Hello Ada"]


def test_an_unknown_id_is_none(store: DjangoJobStore) -> None:
    assert store.lookup_job("nothing") is None


def test_the_same_id_again_is_a_conflict(store: DjangoJobStore) -> None:
    store.add_job(make("a"))
    with pytest.raises(ConflictingIdError):
        store.add_job(make("a"))


@pytest.mark.parametrize("operation", ["update", "remove"])
def test_changing_an_unknown_job_is_an_error(store: DjangoJobStore, operation: str) -> None:
    with pytest.raises(JobLookupError):
        store.update_job(make("a")) if operation == "update" else store.remove_job("a")


def test_all_jobs_come_in_the_order_of_their_next_run_with_paused_ones_last(
    store: DjangoJobStore,
) -> None:
    for job_id, when in [("paused", None), ("late", NOON + HOUR), ("early", NOON)]:
        store.add_job(make(job_id, when))
    assert [job.id for job in store.get_all_jobs()] == ["early", "late", "paused"]


def test_due_jobs_are_those_up_to_now_to_the_microsecond(store: DjangoJobStore) -> None:
    microsecond = dt.timedelta(microseconds=1)
    for job_id, when in [("paused", None), ("not yet", NOON + microsecond), ("due", NOON)]:
        store.add_job(make(job_id, when))
    assert [job.id for job in store.get_due_jobs(NOON)] == ["due"]


def test_the_next_run_time_leaves_out_paused_jobs(store: DjangoJobStore) -> None:
    assert store.get_next_run_time() is None
    store.add_job(make("paused", None))
    assert store.get_next_run_time() is None
    store.add_job(make("a"))
    assert store.get_next_run_time() == NOON


def test_an_update_changes_what_is_shown_too(store: DjangoJobStore) -> None:
    job = make("a")
    store.add_job(job)
    job._modify(name="renamed", next_run_time=None)
    store.update_job(job)
    row = DjangoJob.objects.get()
    assert (row.name, row.next_run_time, row.trigger) == ("renamed", None, "interval[1:00:00]")


def test_the_column_decides_when_a_job_runs(store: DjangoJobStore) -> None:
    store.add_job(make("a"))
    DjangoJob.objects.update(next_run_time=NOON + HOUR)
    found = store.lookup_job("a")
    assert found is not None
    assert found.next_run_time == NOON + HOUR


def test_a_removed_job_is_gone_and_its_history_stays(store: DjangoJobStore) -> None:
    store.add_job(make("a"))
    DjangoJobExecution.objects.create(job_id="a", run_time=NOON, status="Executed")
    store.remove_job("a")
    assert store.lookup_job("a") is None
    assert not DjangoJob.objects.exists()
    assert DjangoJobExecution.objects.get().job.name == "note"


def test_a_removed_id_can_be_used_again(store: DjangoJobStore) -> None:
    store.add_job(make("a"))
    store.remove_job("a")
    store.add_job(make("a", name="again"))
    assert DjangoJob.objects.get().name == "again"


def test_all_jobs_can_be_removed_at_once(store: DjangoJobStore) -> None:
    for job_id in "abc":
        store.add_job(make(job_id))
    store.remove_all_jobs()
    assert store.get_all_jobs() == []


def test_a_job_that_cannot_be_restored_is_kept_and_does_not_hide_others(
    store: DjangoJobStore,
) -> None:
    store.add_job(make("good"))
    store.add_job(make("bad"))
    DjangoJob.objects.filter(pk="bad").update(job_state=b"rubbish")
    assert [job.id for job in store.get_all_jobs()] == ["good"]
    assert DjangoJob.objects.filter(pk="bad").exists()


def test_updating_a_quarantined_job_puts_it_back_into_service(store: DjangoJobStore) -> None:
    store.add_job(make("a"))
    DjangoJob.objects.update(job_state=b"rubbish", quarantined_at=NOON, quarantine_reason="rubbish")
    assert store.get_due_jobs(NOON) == []
    store.update_job(make("a"))
    assert [job.id for job in store.get_due_jobs(NOON)] == ["a"]


def test_register_job_is_kept_with_a_warning(store: DjangoJobStore) -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    with pytest.warns(DeprecationWarning, match="scheduled"):
        register_job(scheduler, "interval", hours=1)(callables.note)
    assert [job.id for job in scheduler.get_jobs()] == ["jobstore.tests.callables.note"]


def test_register_events_is_kept_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="not needed"):
        register_events(BackgroundScheduler())
