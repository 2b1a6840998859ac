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

from jobstore import signing, state
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob
from tests import callables

pytestmark = pytest.mark.django_db

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
    assert DjangoJobStore().lookup_job("report") is None
    job: DjangoJob = DjangoJob.objects.get()
    return job


def keep(trigger: Any) -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    job = Job(
        scheduler,
        id="report",
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


def test_a_pickle_without_a_signature_is_named_and_not_read() -> None:
    with pytest.raises(state.UnreadableState, match="import_django_apscheduler"):
        state.load(DjangoJob(pk="old", job_state=pickle.dumps({"id": "old"})))


def test_a_state_of_a_newer_format_is_refused() -> None:
    keep(IntervalTrigger(hours=1))
    row = DjangoJob.objects.get()
    newer = {**state.load(row), "version": 2}
    shown = {name: getattr(row, name) for name in signing.SHOWN}
    row.job_state = signing.sign("report", pickle.dumps(newer), shown)
    with pytest.raises(state.UnreadableState, match="version"):
        state.restore(row)
