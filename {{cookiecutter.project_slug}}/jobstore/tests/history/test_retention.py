"""History is pruned by age and by number; what is needed stays."""

import datetime as dt
import itertools
import uuid

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobstore import models
from jobstore.housekeeping import prune
from jobstore.models import (
    AuditEntry,
    DjangoJob,
    DjangoJobExecution,
    SchedulerInstance,
    database_now,
)

pytestmark = pytest.mark.django_db

DAY = dt.timedelta(days=1)


def run(
    job_id: str, age: dt.timedelta, status: str = DjangoJobExecution.SUCCESS
) -> DjangoJobExecution:
    return DjangoJobExecution.objects.create(
        job_id=job_id, status=status, run_time=database_now("default") - age
    )


def test_old_runs_are_deleted() -> None:
    run("a", 31 * DAY)
    run("a", 29 * DAY)
    assert prune(days=30).runs == 1
    assert DjangoJobExecution.objects.count() == 1


def test_of_each_job_the_newest_runs_are_kept() -> None:
    for hours in range(5):
        run("a", dt.timedelta(hours=hours))
        run("b", dt.timedelta(hours=hours))
    assert prune(days=30, keep_per_job=2).runs == 6
    ages = [
        round((database_now("default") - one.run_time) / dt.timedelta(hours=1))
        for one in DjangoJobExecution.objects.filter(job="a")
    ]
    assert ages == [0, 1]


@pytest.mark.parametrize("status", DjangoJobExecution.UNFINISHED)
def test_what_is_not_finished_is_never_deleted(status: str) -> None:
    unfinished = run("a", 31 * DAY, status)
    # A process has it, and others look after that.
    DjangoJobExecution.objects.filter(pk=unfinished.pk).update(instance=uuid.uuid4())
    assert prune(days=30, keep_per_job=0).runs == 0


@pytest.mark.parametrize("days", [-1, float("nan"), float("inf"), 1e30])
def test_an_age_that_makes_no_sense_deletes_nothing(days: float) -> None:
    run("a", 31 * DAY)
    with pytest.raises(ValueError, match="must be from 0 to"):
        prune(days=days)
    with pytest.raises(ValueError, match="must be from 0 to"):
        DjangoJobExecution.objects.delete_old_job_executions(days * 86_400)
    with pytest.raises(CommandError, match="must be from 0 to"):
        call_command("prune_job_history", days=days)
    assert DjangoJobExecution.objects.count() == 1


def test_a_negative_number_of_runs_to_keep_deletes_nothing() -> None:
    run("a", DAY)
    with pytest.raises(ValueError, match="0 or more"):
        prune(days=30, keep_per_job=-5)
    with pytest.raises(CommandError, match="0 or more"):
        call_command("prune_job_history", keep_per_job=-5)
    assert DjangoJobExecution.objects.count() == 1


def test_deleting_goes_on_over_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "BATCH_ROWS", 2)
    for hours in range(5):
        run("a", 31 * DAY + dt.timedelta(hours=hours))
    assert prune(days=30).runs == 5


def test_what_is_deleted_by_number_is_numbered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "BATCH_ROWS", 2)
    for job_id in ("a", "b", "c"):
        for hours in range(3 if job_id == "c" else 9):
            age = dt.timedelta(hours=hours)
            run(job_id, age)
            run(job_id, age + dt.timedelta(minutes=1), DjangoJobExecution.MISSED)
    with CaptureQueriesContext(connection) as queries:
        assert prune(days=30, keep_per_job=4).runs == 2 * 2 * 5
    sent = [query["sql"] for query in queries]
    assert sum("ROW_NUMBER" in one for one in sent) == 1
    now = database_now("default")
    for job_id, status in itertools.product(
        "ab", (DjangoJobExecution.SUCCESS, DjangoJobExecution.MISSED)
    ):
        rest = DjangoJobExecution.objects.filter(job=job_id, status=status)
        assert rest.count() == 4
        assert all(now - one.run_time < dt.timedelta(hours=4) for one in rest)
    assert DjangoJobExecution.objects.filter(job="c").count() == 6


def test_all_may_be_deleted_by_number_but_what_is_not_finished() -> None:
    run("a", DAY)
    run("a", 2 * DAY, DjangoJobExecution.CANCELLED)
    run("a", 3 * DAY, DjangoJobExecution.RUNNING)
    run("a", 4 * DAY, DjangoJobExecution.REQUESTED)
    assert prune(days=30, keep_per_job=0).runs == 2
    assert set(DjangoJobExecution.objects.values_list("status", flat=True)) == {
        DjangoJobExecution.RUNNING,
        DjangoJobExecution.REQUESTED,
    }


def test_a_run_of_a_job_in_memory_whose_process_died_goes_once_it_is_old() -> None:
    old = run("a", 31 * DAY, DjangoJobExecution.RUNNING)
    run("a", 29 * DAY, DjangoJobExecution.RUNNING)
    owned = run("b", 31 * DAY, DjangoJobExecution.RUNNING)
    DjangoJobExecution.objects.filter(pk=owned.pk).update(instance=uuid.uuid4())
    run("b", 32 * DAY, DjangoJobExecution.REQUESTED)
    assert prune(days=30).runs == 1
    assert not DjangoJobExecution.objects.filter(pk=old.pk).exists()


def test_the_name_of_the_peer_is_kept() -> None:
    run("a", 31 * DAY)
    assert DjangoJobExecution.objects.delete_old_job_executions(30 * 86_400) == 1


def test_a_retired_job_goes_with_the_last_of_its_history() -> None:
    long_ago = database_now("default") - 31 * DAY
    for job_id in ("named", "forgotten"):
        DjangoJob.objects.create(id=job_id, job_state=b"", retired_at=long_ago)
    run("named", DAY)
    assert prune(days=30).jobs == 1
    assert DjangoJob.all_objects.get().pk == "named"


def test_processes_that_ended_long_ago_go() -> None:
    long_ago = database_now("default") - 31 * DAY
    for role in ("stopped", "active"):
        SchedulerInstance.objects.create(
            host=role, pid=1, role=role, started_at=long_ago, heartbeat_at=long_ago
        )
    assert prune(days=30).processes == 1
    assert SchedulerInstance.objects.get().host == "active"


def test_the_command_says_what_it_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    run("a", 31 * DAY)
    call_command("prune_job_history")
    assert "Deleted 1 runs" in capsys.readouterr().out


def test_the_audit_is_kept_as_long_as_the_history() -> None:
    for days in (31, 29):
        AuditEntry.objects.create(job_id="a", verb="pause", at=database_now("default") - days * DAY)
    assert prune(days=30, keep_per_job=1).audit_entries == 1
    assert AuditEntry.objects.count() == 1
