"""Coroutine jobs share one event loop, which none of them can take from the others for long."""

import datetime as dt
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from jobstore.execution import coroutines
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.tests import callables, misdeeds, plain
from jobstore.tests.conftest import StartScheduler, eventually

Run = DjangoJobExecution
RunJob = Callable[..., DjangoJobExecution]


@pytest.fixture
def run(start_scheduler: StartScheduler) -> Iterator[RunJob]:
    """Run a function as a job, and return how it ended."""
    misdeeds.kept.clear()
    scheduler = start_scheduler()

    def run(function: Callable[..., Any], *args: Any) -> DjangoJobExecution:
        job_id = f"{function.__name__}-{Run.objects.count()}"
        scheduler.add_job(function, id=job_id, args=args, misfire_grace_time=None)
        ended = Run.objects.filter(job=job_id).exclude(status__in=Run.UNFINISHED)
        return eventually(ended.first, 20)  # type: ignore[no-any-return]

    yield run
    coroutines.stop()


def test_what_one_run_made_in_its_loop_works_in_the_next(run: RunJob) -> None:
    for _ in range(3):
        ended = run(misdeeds.use_what_is_kept)
        assert (ended.status, ended.result, ended.exception) == (Run.SUCCESS, "ok", None)


def test_a_task_that_a_run_leaves_goes_on_and_is_noted(run: RunJob) -> None:
    left = run(misdeeds.leave_task)
    assert "Tasks were left in the event loop (1: tidy up)" in left.note
    eventually(lambda: "task" in callables.calls, 5)
    assert run(misdeeds.use_what_is_kept).note == ""


def test_a_task_that_raises_what_ends_programs_ends_no_loop(run: RunJob) -> None:
    assert run(misdeeds.leave_exit).status == Run.SUCCESS
    assert run(misdeeds.use_what_is_kept).status == Run.SUCCESS


def test_a_coroutine_that_blocks_holds_others_up_no_longer_than_is_bearable(
    run: RunJob,
    start_scheduler: StartScheduler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(coroutines, "BLOCKED_SECONDS", 0.5)
    plain.store_job(misdeeds.block_loop, "blocker", 4.0, run_date=dt.datetime.now(dt.UTC))
    eventually(Run.objects.filter(job="blocker", status=Run.RUNNING).exists)
    time.sleep(0.3)
    assert run(misdeeds.use_what_is_kept).status == Run.SUCCESS
    assert Run.objects.get(job="blocker").status == Run.RUNNING
    assert "has been blocked for 0.5 s" in caplog.text and "in block_loop" in caplog.text
    eventually(Run.objects.filter(job="blocker", status=Run.SUCCESS).exists)


def test_no_thread_of_a_coroutine_keeps_a_connection(run: RunJob) -> None:
    assert run(misdeeds.count_in_threads).result == str([DjangoJob.all_objects.count()] * 4)
    if connection.vendor == "sqlite":
        return  # counted on the others: test_connections.py looks at SQLite's files
    asked = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend'",
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = database()",
    }[connection.vendor]

    def count() -> int:
        with connection.cursor() as cursor:
            cursor.execute(asked)
            return int(cursor.fetchone()[0])

    # This test's, the loop's, the elector's, and the recorder's for two seconds.
    eventually(lambda: count() <= 4, 5)


def test_a_loop_that_ends_cancels_what_it_has(run: RunJob) -> None:
    run(misdeeds.leave_task, 600)
    began = time.monotonic()
    coroutines.stop()
    assert time.monotonic() - began < 2
    assert not coroutines._left
