"""What a stop would cut is told before, and can be waited for."""

import datetime as dt
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from pytest_django.fixtures import Settings

from jobstore import registry
from jobstore.health import status
from jobstore.leadership import lease
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, database_now
from jobstore.process.scheduler import SchedulerProcess
from jobstore.tests import callables
from jobstore.tests.conftest import eventually

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
SECOND = dt.timedelta(seconds=1)


@pytest.fixture
def holder() -> SchedulerInstance:
    """A process that holds the lease."""
    now = database_now("default")
    process = SchedulerInstance.objects.create(
        host="shop", pid=7, role="active", started_at=now, heartbeat_at=now
    )
    assert lease.acquire(process.pk, "default").term
    return process


def running(holder: SchedulerInstance, job_id: str, seconds: float) -> DjangoJobExecution:
    began = database_now("default") - seconds * SECOND
    return Run.objects.create(
        job_id=job_id, status=Run.RUNNING, run_time=began, started_at=began, instance=holder
    )


def ran(job_id: str, seconds: float) -> None:
    Run.objects.create(
        job_id=job_id,
        status=Run.SUCCESS,
        run_time=database_now("default") - 3600 * SECOND,
        duration=Decimal(seconds),
    )


def wait(timeout: float = 0.0) -> str:
    out = StringIO()
    call_command("scheduler_status", "--wait-for-jobs", f"--timeout={timeout}", stdout=out)
    return out.getvalue()


def test_the_status_shows_what_a_stop_now_would_cut(holder: SchedulerInstance) -> None:
    run = running(holder, "report", 100)
    out = StringIO()
    call_command("scheduler_status", stdout=out)
    assert "A stop now would wait 30 s for these runs, and then abandon them:" in out.getvalue()
    assert f"report (run {run.pk}, for 100 s, in shop:7)" in out.getvalue()
    out = StringIO()
    call_command("scheduler_status", "--json", stdout=out)
    [one] = json.loads(out.getvalue())["running"]
    assert (one["job"], one["may_be_cut"]) == ("report", True)


def may_be_cut() -> list[str]:
    return [one["job"] for one in status.running("default") if one["may_be_cut"]]


def test_a_run_may_be_cut_that_took_long_before_is_running_long_or_never_ran(
    holder: SchedulerInstance,
) -> None:
    for job_id, before, seconds in (
        ("short", 1.0, 0.5),
        ("was long", 300.0, 0.5),
        ("is long", 1.0, 20.0),
        ("new", None, 0.5),
    ):
        running(holder, job_id, seconds)
        if before is not None:
            ran(job_id, before)
    assert set(may_be_cut()) == {"was long", "is long", "new"}


def test_nothing_is_waited_for_that_ends_in_time_anyway(holder: SchedulerInstance) -> None:
    running(holder, "short", 0.5)
    ran("short", 1.0)
    assert "A stop would cut no run short." in wait()


def test_waiting_ends_when_the_run_has_ended(
    holder: SchedulerInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobstore.management.commands.scheduler_status.POLL_SECONDS", 0.1)
    run = running(holder, "report", 100)

    def succeed() -> None:
        Run.objects.filter(pk=run.pk).update(status=Run.SUCCESS)
        connections.close_all()

    end = threading.Timer(0.5, succeed)
    end.start()
    text = wait(timeout=20)
    end.join()
    assert text.startswith(f"Waiting for report (run {run.pk}, for 100 s")
    assert text.endswith("A stop would cut no run short.\n")


def test_waiting_for_too_long_is_an_error_of_its_own(holder: SchedulerInstance) -> None:
    running(holder, "report", 100)
    with pytest.raises(CommandError, match=r"After 0 s a stop would still cut.*report") as caught:
        wait()
    assert caught.value.returncode == 3


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[SchedulerProcess]:
    settings.SCHEDULER_DRAIN_SECONDS = 5.0
    monkeypatch.setattr(registry, "sync", lambda *args, **options: [])
    one = SchedulerProcess()
    one.start()
    yield one
    callables.release.set()
    if one.scheduler.running:
        one.stop()


def test_a_scheduler_says_at_once_which_runs_it_will_abandon_and_when(
    process: SchedulerProcess, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    settings.SCHEDULER_DRAIN_SECONDS = 600.0
    process.scheduler.add_job(callables.block, "interval", hours=1, id="report")
    DjangoJob.objects.get(pk="report").request_run("test")
    eventually(lambda: "blocked" in callables.calls)
    stopping: Any = threading.Thread(target=process.stop)
    stopping.start()
    eventually(lambda: "are abandoned and recorded as lost: report (run" in caplog.text)
    callables.release.set()
    stopping.join()


def test_a_stop_while_declared_jobs_are_stored_leaves_no_connection(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Any] = []
    go_on = threading.Event()

    def store_slowly(*_: object) -> None:
        DjangoJob.objects.count()
        used.append(connections["default"])
        go_on.wait(10)
        DjangoJob.objects.count()
        raise lease.NotHolder

    process = SchedulerProcess()
    monkeypatch.setattr(process.declared, "sync", store_slowly)
    process.start()
    try:
        eventually(lambda: used)
    finally:
        threading.Timer(0.5, go_on.set).start()
        process.stop()
    assert used[0].connection is None
