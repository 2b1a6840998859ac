"""What users test their jobs with: jobs run here and now, and say when they are due."""

import datetime as dt
import time
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from jobstore.declarations.declaration import DeclarationError
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.runs import current_run
from jobstore.testing import JobRunner
from jobstore.tests.jobfiles import JobFiles

Run = DjangoJobExecution

JOBS = """
import datetime as dt
from django.db import transaction
from jobstore.runs import current_run, progress

seen = []

@scheduled("cron", id="tells", day=1)
def tells(): progress(3, 4, "nearly")

@scheduled("cron", id="tells-nonsense", day=1)
def tells_nonsense(): progress(0, 0)

@scheduled("cron", id="nightly", hour=3, minute=30)
def nightly():
    seen.append(dt.datetime.now(dt.UTC))
    return f"run {current_run().run_time:%d %H:%M}"

@scheduled("interval", id="often", seconds=1)
def often(): pass

@scheduled("date", id="once", run_date="2031-01-10 12:00:00")
def once(): pass

@scheduled("cron", id="fails", day=1)
def fails(): raise ValueError("broken")

@scheduled("cron", id="waits", day=1)
async def waits(): return "awaited"

@scheduled("cron", id="commits", day=1)
def commits(): transaction.on_commit(lambda: seen.append("committed"))

@scheduled("cron", id="leaves", day=1)
def leaves(): transaction.set_autocommit(False)

@scheduled("cron", id="first", day=1)
@scheduled("cron", id="second", day=2)
def twice(): pass

@scheduled("cron", id="wrong", hour=99)
def wrong(): pass
"""


@pytest.fixture(autouse=True)
def _declared(files: JobFiles, settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    files.declare("work.py", JOBS)


def work() -> Any:
    import sys

    [module] = [one for name, one in sys.modules.items() if name.endswith(".jobs.work")]
    return module


def test_a_job_runs_here_and_now_with_its_row_in_the_history(job_runner: JobRunner) -> None:
    before = dt.datetime.now(dt.UTC)
    run = job_runner.run("nightly")
    assert Run.objects.get() == run
    assert (run.job_id, run.status) == ("nightly", Run.SUCCESS)
    assert run.result == f"run {run.run_time.astimezone(dt.UTC):%d %H:%M}"
    assert before <= run.run_time and run.started_at is not None and run.finished is not None
    assert run.started_at <= run.finished and run.duration is not None
    assert run.job.trigger == "cron[hour='3', minute='30']"


def test_a_job_is_named_by_its_function_as_well(job_runner: JobRunner) -> None:
    job_runner.run("nightly")
    assert job_runner.run(work().nightly).job_id == "nightly"


def test_what_a_job_raises_is_raised_in_the_test_and_in_the_history(job_runner: JobRunner) -> None:
    with pytest.raises(ValueError, match="broken"):
        job_runner.run("fails")
    assert Run.objects.get().status == Run.ERROR


def test_a_test_may_look_at_the_row_of_what_failed(job_runner: JobRunner) -> None:
    run = job_runner.run("fails", check=False)
    assert (run.status, run.exception_type, run.exception) == (Run.ERROR, "ValueError", "broken")
    assert 'raise ValueError("broken")' in (run.traceback or "")


def test_a_coroutine_is_awaited(job_runner: JobRunner) -> None:
    assert job_runner.run("waits").result == "awaited"


def test_what_waits_for_a_commit_is_called(job_runner: JobRunner) -> None:
    job_runner.run("commits")
    assert work().seen == ["committed"]


def test_what_a_job_leaves_behind_is_undone_and_told(job_runner: JobRunner) -> None:
    assert "Autocommit was left off" in job_runner.run("leaves").note
    assert transaction.get_autocommit()


def test_the_last_progress_is_in_the_row(job_runner: JobRunner) -> None:
    run = job_runner.run("tells")
    assert (run.progress_done, run.progress_total, run.progress_text) == (3, 4, "nearly")


def test_progress_that_makes_no_sense_fails_in_a_test(job_runner: JobRunner) -> None:
    with pytest.raises(ValueError, match="total must be more than 0"):
        job_runner.run("tells-nonsense")


def test_no_run_is_current_after_it(job_runner: JobRunner) -> None:
    job_runner.run("nightly")
    assert current_run() is None


def test_the_times_of_a_job_lie_between_two_dates_in_the_projects_zone(
    job_runner: JobRunner,
) -> None:
    times = job_runner.run_times("nightly", "2031-03-29", "2031-04-01")
    assert [time.isoformat() for time in times] == [
        "2031-03-29T03:30:00+01:00",
        "2031-03-30T03:30:00+02:00",
        "2031-03-31T03:30:00+02:00",
    ]
    assert job_runner.run_times("once", dt.date(2031, 1, 10), "2031-01-10 12:00:00") == []
    assert len(job_runner.run_times("once", dt.date(2031, 1, 10), "2031-01-10 12:00:01")) == 1
    assert job_runner.run_times("once", "2032-01-10", "2032-01-11") == []


def test_a_timetable_has_all_jobs_in_order(job_runner: JobRunner) -> None:
    table = job_runner.timetable("2031-01-01", "2031-01-11", "nightly", "once", "second")
    assert [job_id for _, job_id in table][:3] == ["nightly", "second", "nightly"]
    assert [time for time, _ in table] == sorted(time for time, _ in table)
    assert len(table) == 12
    everything = job_runner.timetable("2031-01-01 00:00", "2031-01-01 00:01")
    assert {"often", "first"} <= {job_id for _, job_id in everything}


def test_a_month_of_runs_passes_in_seconds_with_the_clock_at_each(job_runner: JobRunner) -> None:
    began = time.monotonic()
    runs = job_runner.play("2031-10-01", "2031-11-01", "nightly")
    assert time.monotonic() - began < 60
    assert len(runs) == 31 and {run.status for run in runs} == {Run.SUCCESS}
    for run, seen in zip(runs, work().seen, strict=True):
        due = run.run_time if timezone.is_aware(run.run_time) else timezone.make_aware(run.run_time)
        assert dt.timedelta(0) <= seen - due < dt.timedelta(seconds=5)
    assert dt.datetime.now(dt.UTC).year < 2031


def test_an_assertion_says_which_times_differ(job_runner: JobRunner) -> None:
    span = ("2031-01-01", "2031-01-03")
    job_runner.assert_run_times("nightly", *span, ["2031-01-01 03:30", "2031-01-02 03:30"])
    with pytest.raises(pytest.fail.Exception) as failed:
        job_runner.assert_run_times("nightly", *span, ["2031-01-01 03:30", "2031-01-02 04:30"])
    assert "not at 2031-01-02 04:30:00\n  but at 2031-01-02 03:30:00" in str(failed.value)


def test_too_many_runs_are_refused(job_runner: JobRunner) -> None:
    with pytest.raises(ValueError, match="more than 10,000 runs"):
        job_runner.run_times("often", "2031-01-01", "2031-02-01")


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2031-02-01", "2031-01-01", "is not after the start"),
        ("2031-02-01", "2031-02-01", "is not after the start"),
        ("tomorrow", "2031-01-01", "write it as"),
    ],
)
def test_dates_that_make_no_sense_are_refused(
    job_runner: JobRunner, start: str, end: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        job_runner.run_times("nightly", start, end)


def test_a_job_that_is_not_declared_is_named_with_those_that_are(job_runner: JobRunner) -> None:
    with pytest.raises(LookupError, match=r"'nightly-typo', only .*'nightly'"):
        job_runner.run("nightly-typo")
    with pytest.raises(LookupError, match="name one of them: 'first', 'second'"):
        job_runner.run(work().twice)
    assert not DjangoJob.objects.exists()


def test_a_job_that_is_declared_wrongly_says_what_is_wrong(job_runner: JobRunner) -> None:
    with pytest.raises(DeclarationError, match=r"work\.py:\d+: Job 'wrong'"):
        job_runner.run("wrong")


def test_each_test_has_a_database_without_the_rows_of_others(job_runner: JobRunner) -> None:
    assert not Run.objects.exists() and not connection.in_atomic_block
