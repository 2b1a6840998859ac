"""A job that cannot be restored is kept, told about, and put back once it can be."""

import datetime as dt
import pickle
from io import StringIO
from typing import Any

import pytest
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob, SchedulerLease
from jobstore.storage import quarantine, serializer, signing
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

pytestmark = pytest.mark.django_db

ANOTHER_KEY = "another key of quite some length 0123456789 0123456789 0123456789"
DUE = dt.datetime(2026, 1, 1, 3, tzinfo=dt.UTC)


class Moody(IntervalTrigger):  # type: ignore[misc]
    """A trigger that fails while something else is broken."""

    broken = False

    def get_next_fire_time(self, *args: Any) -> Any:
        """Raise, or answer as usual."""
        if Moody.broken:
            raise RuntimeError("the calendar is closed")
        return super().get_next_fire_time(*args)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> DjangoJob:
    """A job in quarantine since its function is gone."""
    keep(Moody(hours=1))
    monkeypatch.delattr(callables, "note")
    with pytest.raises(serializer.UnreadableState) as error:
        serializer.restore(DjangoJob.objects.get())
    quarantine.put(DjangoJob.objects.get(), str(error.value), "default")
    job: DjangoJob = DjangoJob.objects.get()
    return job


def keep(trigger: Any, job_id: str = "report") -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    job = Job(
        scheduler,
        id=job_id,
        func=callables.note,
        trigger=trigger,
        next_run_time=DUE,
        args=(),
        kwargs={},
        executor="default",
        misfire_grace_time=None,
        coalesce=True,
        max_instances=1,
    )
    DjangoJobStore().add_job(job)


def retry(*ids: str) -> str:
    output = StringIO()
    call_command("retry_quarantined_jobs", *ids, stdout=output)
    return output.getvalue()


def test_a_job_is_back_in_service_once_it_can_be_restored(
    broken: DjangoJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert "report: back in service" in retry()
    job = DjangoJob.objects.get()
    assert (job.quarantined_at, job.quarantine_reason) == (None, "")


def test_what_fell_due_in_quarantine_is_still_due(
    broken: DjangoJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    retry("report")
    assert DjangoJobStore().get_next_run_time() == DUE


def test_a_job_that_still_cannot_be_restored_stays(broken: DjangoJob) -> None:
    with pytest.raises(CommandError, match="report: The job cannot be restored"):
        retry()
    assert DjangoJob.objects.get().quarantined_at is not None


def test_the_reason_that_is_shown_is_the_present_one(
    broken: DjangoJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(Moody, "broken", True)
    with pytest.raises(CommandError, match="the calendar is closed"):
        retry()
    assert "the calendar is closed" in DjangoJob.objects.get().quarantine_reason


def test_an_id_that_is_not_in_quarantine_is_told() -> None:
    with pytest.raises(CommandError, match="nothing: no job with this id is in quarantine"):
        retry("nothing")


def test_nothing_in_quarantine_is_no_error() -> None:
    assert retry() == "No job is in quarantine.\n"


def test_the_system_check_names_the_job_and_the_reason(broken: DjangoJob) -> None:
    (warning,) = [one for one in run_checks(databases=["default"]) if one.id == "jobstore.W002"]
    assert "'report'" in warning.msg and broken.quarantine_reason in warning.msg
    assert "retry_quarantined_jobs" in str(warning.hint)


def test_without_a_database_to_look_at_the_check_is_silent(broken: DjangoJob) -> None:
    assert "jobstore.W002" not in {one.id for one in run_checks()}


# --- Who may quarantine ---------------------------------------------------------------------------


def in_quarantine() -> set[str]:
    return set(DjangoJob.objects.filter(quarantined_at__isnull=False).values_list("pk", flat=True))


def read_all() -> None:
    """Read the jobs in every way that there is to do so without a claim."""
    store = DjangoJobStore()
    assert store.lookup_job("report") is None
    assert store.get_all_jobs() == []
    assert store.get_due_jobs(dt.datetime.now(dt.UTC)) == []
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
    assert scheduler.get_jobs() == []


def test_reading_with_another_key_takes_no_job_out_of_service(settings: Settings) -> None:
    keep(IntervalTrigger(hours=1))
    before = DjangoJob.objects.values().get()
    settings.SECRET_KEY = ANOTHER_KEY
    read_all()
    assert DjangoJob.objects.values().get() == before


def test_reading_with_older_code_takes_no_job_out_of_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep(IntervalTrigger(hours=1))
    before = DjangoJob.objects.values().get()
    monkeypatch.delattr(callables, "note")
    read_all()
    assert DjangoJob.objects.values().get() == before


def test_what_cannot_be_read_is_told_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    keep(IntervalTrigger(hours=1))
    settings.SECRET_KEY = ANOTHER_KEY
    store = DjangoJobStore()
    for _ in range(3):
        store.get_all_jobs()
    assert caplog.text.count("cannot be restored here") == 1


@pytest.mark.django_db(transaction=True)
def test_the_active_scheduler_quarantines_a_job_that_it_cannot_run(
    start_scheduler: StartScheduler,
) -> None:
    for job_id in ("report", "good"):
        keep(IntervalTrigger(hours=1), job_id)
    DjangoJob.objects.filter(pk="report").update(arguments="'something else'")
    start_scheduler()
    eventually(lambda: in_quarantine() == {"report"})
    assert "what is shown" in DjangoJob.objects.get(pk="report").quarantine_reason
    eventually(lambda: callables.calls == ["ran"])


@pytest.mark.django_db(transaction=True)
def test_a_holder_whose_lease_has_passed_on_quarantines_nothing(
    start_scheduler: StartScheduler, settings: Settings
) -> None:
    settings.SCHEDULER_RENEW_SECONDS = settings.SCHEDULER_LEASE_SECONDS = 600.0
    scheduler = start_scheduler()
    store = scheduler._jobstores["default"]
    eventually(lambda: store.elector.term and store._dispatcher._begun_epoch)
    keep(IntervalTrigger(hours=1))
    SchedulerLease.objects.update(epoch=99)  # somebody else has it; this process does not know
    DjangoJob.objects.update(job_state=b"rubbish")
    store.get_due_jobs(dt.datetime.now(dt.UTC))
    assert in_quarantine() == set()


@pytest.mark.django_db(transaction=True)
def test_a_start_brings_back_what_can_be_restored_by_now(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(IntervalTrigger(hours=1))
    monkeypatch.delattr(callables, "note")
    start_scheduler()
    eventually(lambda: in_quarantine() == {"report"})
    monkeypatch.undo()
    start_scheduler().wakeup()
    assert in_quarantine() == {"report"}  # it is not the active one
    SchedulerLease.objects.update(expires_at=DUE)
    eventually(lambda: callables.calls == ["ran"], 20)
    assert in_quarantine() == set()


@pytest.mark.django_db(transaction=True)
def test_a_start_leaves_what_needs_an_executor_that_is_not_there(
    start_scheduler: StartScheduler,
) -> None:
    keep(IntervalTrigger(hours=1))
    job = DjangoJobStore().lookup_job("report")
    assert job is not None
    job.executor = "elsewhere"
    DjangoJobStore().update_job(job)
    quarantine.put(DjangoJob.objects.get(), "No executor", "default")
    before = DjangoJob.objects.values().get()
    scheduler = start_scheduler()
    eventually(lambda: scheduler._jobstores["default"]._dispatcher._begun_epoch)
    assert DjangoJob.objects.values().get() == before


def test_a_pickle_without_a_signature_is_named_and_not_read() -> None:
    with pytest.raises(serializer.UnreadableState, match="import_django_apscheduler"):
        serializer.load(DjangoJob(pk="old", job_state=pickle.dumps({"id": "old"})))


def test_a_state_of_a_newer_format_is_refused() -> None:
    keep(IntervalTrigger(hours=1))
    row = DjangoJob.objects.get()
    newer = {**serializer.load(row), "version": 2}
    shown = {name: getattr(row, name) for name in signing.SHOWN}
    row.job_state = signing.sign("report", pickle.dumps(newer), shown)
    with pytest.raises(serializer.UnreadableState, match="version"):
        serializer.restore(row)
