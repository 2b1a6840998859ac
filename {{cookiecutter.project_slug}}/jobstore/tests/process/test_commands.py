"""`runapscheduler` as an operator meets it: a real process on a real database."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from jobstore.models import (
    DjangoJob,
    DjangoJobExecution,
    SchedulerInstance,
    SchedulerLease,
    database_now,
)
from jobstore.tests.conftest import eventually
from jobstore.tests.processes import ROOT, SchedulerCommand, unreachable_url


@pytest.fixture
def command(transactional_db: None, tmp_path: Path) -> Iterator[SchedulerCommand]:
    one = SchedulerCommand(tmp_path / "log")
    yield one
    one.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(command: SchedulerCommand, number: int) -> None:
    eventually(command.is_active, 20)
    assert command.end(number) == 0
    assert SchedulerInstance.objects.get().role == SchedulerInstance.Role.STOPPED
    lease = SchedulerLease.objects.get()
    assert lease.expires_at is not None and lease.renewed_at is not None
    assert (lease.expires_at - lease.renewed_at).total_seconds() < 10


@pytest.mark.slow
def test_a_running_job_finishes_before_it_stops(command: SchedulerCommand) -> None:
    eventually(lambda: DjangoJob.objects.filter(pk="nap").first(), 20)
    DjangoJob.objects.get(pk="nap").request_run("test")
    eventually(lambda: DjangoJobExecution.objects.filter(status="Started execution").exists())
    assert command.end() == 0
    assert DjangoJobExecution.objects.get(job="nap").status == DjangoJobExecution.SUCCESS


@pytest.mark.slow
def test_a_job_that_does_not_finish_in_time_is_recorded_as_lost(command: SchedulerCommand) -> None:
    eventually(lambda: DjangoJob.objects.filter(pk="endless").first(), 20)
    DjangoJob.objects.get(pk="endless").request_run("test")
    eventually(lambda: DjangoJobExecution.objects.filter(status="Started execution").exists())
    assert command.end() == 0
    run = DjangoJobExecution.objects.get(job="endless")
    assert run.status == DjangoJobExecution.LOST
    assert run.exception is not None and "shut down" in run.exception


def test_declared_jobs_are_stored_at_the_start(command: SchedulerCommand) -> None:
    declared = {"endless", "hang", "nap", "tick"}
    eventually(lambda: declared <= set(DjangoJob.objects.values_list("pk", flat=True)), 20)


@pytest.mark.any_database
def test_check_validates_without_a_database(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "runapscheduler", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DATABASE_URL": unreachable_url(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\d+ declared jobs are valid", done.stdout, re.M)


@pytest.mark.django_db
def test_a_dry_run_prints_the_plan_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "jobstore.tests.extra_jobs"]
    call_command("runapscheduler", "--dry-run")
    assert "add     tick" in capsys.readouterr().out
    assert not DjangoJob.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_missing_migrations_are_named(tmp_path: Path) -> None:
    call_command("migrate", "jobstore", "zero", verbosity=0)
    try:
        with pytest.raises(CommandError, match=r"jobstore\.0001_initial.*manage\.py migrate"):
            call_command("runapscheduler")
    finally:
        call_command("migrate", verbosity=0)


@pytest.mark.slow
def test_a_database_that_is_away_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log"
    url = unreachable_url(tmp_path)
    away = SchedulerCommand(log, DATABASE_URL=url)
    assert away.process.wait(30) == 1
    said = log.read_text()
    assert f"Waiting for the database at {tmp_path if url.startswith('sqlite') else '127'}" in said
    assert "did not answer within 3 s" in said
    assert "DATABASE_URL" in said


def test_impossible_timing_is_refused(settings: object) -> None:
    from django.core.management.base import SystemCheckError

    settings.SCHEDULER_LEASE_SECONDS = 1.0  # type: ignore[attr-defined]
    settings.SCHEDULER_RENEW_SECONDS = 5.0  # type: ignore[attr-defined]
    with pytest.raises(SystemCheckError, match="SCHEDULER_LEASE_SECONDS"):
        call_command("runapscheduler", "--check")


@pytest.mark.any_database
@pytest.mark.slow
def test_a_loop_that_hangs_does_not_keep_the_process_from_stopping(
    command: SchedulerCommand,
) -> None:
    eventually(lambda: DjangoJob.objects.filter(pk="hang").first(), 20)
    DjangoJob.objects.filter(pk="hang").update(next_run_time=database_now("default"))
    eventually(lambda: "About to hang" in command.log.read_text(), 20)
    assert command.end() == 0
    assert "hangs" in command.log.read_text()
