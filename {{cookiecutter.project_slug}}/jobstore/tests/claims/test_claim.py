"""A due time is claimed at most once, by the holder of the lease alone."""

import datetime as dt
import uuid
from typing import Any

import pytest
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from django.db.models import F

from jobstore.claims.claim import claim, claim_requests
from jobstore.claims.plan import Plan, plan
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership import lease
from jobstore.leadership.lease import NotHolder
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerLease, database_now
from jobstore.tests import callables

pytestmark = pytest.mark.django_db

US, THEM = uuid.uuid4(), uuid.uuid4()
SENT = DjangoJobExecution.RUNNING
LATER = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def term() -> lease.Term:
    held = lease.acquire(US, "default").term
    assert held is not None
    return held


@pytest.fixture
def due() -> Plan:
    """A stored job that is due, and what is planned for it."""
    return due_job("job")


def due_job(job_id: str, trigger: str = "interval") -> Plan:
    scheduler = BackgroundScheduler(timezone="UTC")
    when = database_now("default").replace(microsecond=0) - dt.timedelta(seconds=1)
    timing = {"minutes": 1, "start_date": when} if trigger == "interval" else {"run_date": when}
    job: Job = scheduler.add_job(callables.note, trigger, id=job_id, next_run_time=when, **timing)
    job._modify(executor="default", max_instances=1, coalesce=True, misfire_grace_time=None)
    DjangoJobStore().add_job(job)
    version = DjangoJob.objects.get(pk=job_id).version
    return plan(job, version, database_now("default"))


def test_a_claim_writes_the_run_and_advances_the_job(term: lease.Term, due: Plan) -> None:
    [claimed] = claim([due], term, "default")
    assert (claimed.job_id, claimed.run_time, claimed.status) == ("job", due.due, SENT)
    assert DjangoJob.objects.get().next_run_time == due.next_run_time
    run = DjangoJobExecution.objects.get()
    assert (run.epoch, run.instance_id, run.status) == (term.epoch, US, SENT)


def test_the_same_claim_again_takes_nothing(term: lease.Term, due: Plan) -> None:
    claim([due], term, "default")
    assert claim([due], term, "default") == []
    assert DjangoJobExecution.objects.count() == 1


def test_pruned_history_does_not_let_an_old_time_run_again(term: lease.Term, due: Plan) -> None:
    claim([due], term, "default")
    DjangoJobExecution.objects.all().delete()
    assert claim([due], term, "default") == []


def test_a_job_set_back_to_a_time_that_ran_does_not_run_it_again(
    term: lease.Term, due: Plan
) -> None:
    claim([due], term, "default")
    DjangoJob.objects.update(next_run_time=due.due, version=due.version)
    assert claim([due], term, "default") == []
    assert DjangoJob.objects.get().next_run_time == due.next_run_time


def test_another_epoch_claims_nothing(term: lease.Term, due: Plan) -> None:
    with pytest.raises(NotHolder):
        claim([due], lease.Term(US, term.epoch - 1), "default")
    assert DjangoJob.objects.get().next_run_time == due.due


def test_another_process_claims_nothing(term: lease.Term, due: Plan) -> None:
    with pytest.raises(NotHolder):
        claim([due], lease.Term(THEM, term.epoch), "default")


def test_an_expired_lease_claims_nothing(term: lease.Term, due: Plan) -> None:
    SchedulerLease.objects.update(expires_at=database_now("default"))
    with pytest.raises(NotHolder):
        claim([due], term, "default")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"next_run_time": None}, id="paused"),
        pytest.param({"name": "another"}, id="edited"),
        pytest.param(
            {"next_run_time": LATER, "version": F("version")}, id="moved without a new version"
        ),
    ],
)
def test_a_job_that_was_changed_meanwhile_is_left_alone(
    term: lease.Term, due: Plan, change: dict[str, Any]
) -> None:
    DjangoJob.objects.update(**change)
    assert claim([due], term, "default") == []
    assert DjangoJobExecution.objects.count() == 0


def test_a_job_that_was_added_anew_meanwhile_is_left_alone(term: lease.Term, due: Plan) -> None:
    former = DjangoJob.objects.get()
    former.delete()
    DjangoJob.objects.create(
        pk=due.job.id, next_run_time=due.due, job_state=former.job_state, name="another"
    )
    assert claim([due], term, "default") == []


def test_a_job_that_was_deleted_meanwhile_is_left_alone(term: lease.Term, due: Plan) -> None:
    other = due_job("other")
    DjangoJob.objects.filter(pk="job").delete()
    assert [run.job_id for run in claim([due, other], term, "default")] == ["other"]


def test_a_job_without_another_run_is_retired_and_kept(term: lease.Term) -> None:
    once = due_job("once", trigger="date")
    claim([once], term, "default")
    assert not DjangoJob.objects.exists()
    assert DjangoJob.all_objects.get().retired_at is not None
    assert DjangoJobExecution.objects.get().job.name == "note"


def test_missed_and_skipped_times_are_recorded_as_finished(term: lease.Term, due: Plan) -> None:
    due.start, due.missed = [], due.start
    claim([due], term, "default")
    run = DjangoJobExecution.objects.get()
    assert run.status == DjangoJobExecution.MISSED
    assert run.finished is not None


def test_a_requested_run_is_started_once(term: lease.Term, due: Plan) -> None:
    request = DjangoJob.objects.get().request_run("somebody")
    assert claim_requests([request.pk], term, "default") == {request.pk}
    assert claim_requests([request.pk], term, "default") == set()


def test_requests_in_the_same_microsecond_are_two_runs(
    term: lease.Term, due: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = database_now("default")
    monkeypatch.setattr("jobstore.models.database_now", lambda using: now)
    job = DjangoJob.objects.get()
    assert job.request_run("a").run_time != job.request_run("b").run_time


def test_a_retired_job_cannot_be_asked_to_run(term: lease.Term, due: Plan) -> None:
    DjangoJob.objects.all().retire()
    with pytest.raises(ValueError, match="retired"):
        DjangoJob.all_objects.get().request_run("somebody")
