"""History is pruned by age and by number; what is needed stays."""

import datetime as dt

import pytest
from django.core.management import CommandError, call_command

from jobstore import models
from jobstore.housekeeping import prune
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, database_now

pytestmark = pytest.mark.django_db

DAY = dt.timedelta(days=1)


def run(job_id: str, age: dt.timedelta, status: str = DjangoJobExecution.SUCCESS) -> None:
    DjangoJobExecution.objects.create(
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
    run("a", 31 * DAY, status)
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
    monkeypatch.setattr(models, "BATCH", 2)
    for hours in range(5):
        run("a", 31 * DAY + dt.timedelta(hours=hours))
    assert prune(days=30).runs == 5


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
