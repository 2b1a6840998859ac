"""What a job returned, and how its executor failed it, are in the history."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_ERROR
from apscheduler.executors.pool import ProcessPoolExecutor
from pytest_django.fixtures import Settings

from jobstore import recorder, runs
from jobstore.models import DjangoJobExecution
from tests import callables
from tests.conftest import StartScheduler, eventually

Run = DjangoJobExecution


def run_once(scheduler: Any, function: Callable[..., Any], **options: Any) -> DjangoJobExecution:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(milliseconds=200)
    job_id = f"{function.__name__}-{Run.objects.count()}"
    scheduler.add_job(function, "date", run_date=soon, id=job_id, **options)
    finished = Run.objects.filter(job=job_id).exclude(status__in=Run.UNFINISHED)
    return eventually(finished.first, timeout=20)  # type: ignore[no-any-return]


def test_what_a_job_returns_is_kept(start_scheduler: StartScheduler) -> None:
    run = run_once(start_scheduler(), callables.note, args=("17 rows",))
    assert (run.status, run.result) == (Run.SUCCESS, "17 rows")


def test_a_job_that_returns_nothing_has_no_result(start_scheduler: StartScheduler) -> None:
    assert run_once(start_scheduler(), callables.query).result is None


def test_a_job_can_ask_which_run_it_is(start_scheduler: StartScheduler) -> None:
    run = run_once(start_scheduler(), callables.name_run)
    assert run.result == f"{run.pk} {run.job_id} {run.run_time:%s.%f} {run.epoch}"
    assert runs.current_run() is None


def test_a_coroutine_can_ask_which_run_it_is(start_scheduler: StartScheduler) -> None:
    run = run_once(start_scheduler(), callables.name_run_later)
    assert str(run.result).startswith(f"{run.pk} ")


def test_a_long_result_is_cut(start_scheduler: StartScheduler, settings: Settings) -> None:
    settings.JOB_HISTORY_RESULT_LENGTH = 10
    run = run_once(start_scheduler(), callables.note, args=("x" * 5000,))
    assert run.result == "xxxxx\n… 4990 characters left out …\nxxxxx"


def test_results_are_not_kept_if_nobody_wants_them(
    start_scheduler: StartScheduler, settings: Settings
) -> None:
    settings.JOB_HISTORY_RESULT_LENGTH = 0
    assert run_once(start_scheduler(), callables.note).result is None


def test_a_result_without_a_text_does_no_harm(start_scheduler: StartScheduler) -> None:
    run = run_once(start_scheduler(), callables.return_unshowable)
    assert run.status == Run.SUCCESS
    assert "no text" in str(run.result)


def test_the_result_of_a_coroutine_is_kept(start_scheduler: StartScheduler) -> None:
    assert run_once(start_scheduler(), callables.count_later).result == "1"


def test_a_result_that_no_process_can_send_is_an_error(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    scheduler.add_executor(ProcessPoolExecutor(1), "processes")
    heard: list[Any] = []
    scheduler.add_listener(heard.append, EVENT_JOB_ERROR)
    run = run_once(scheduler, callables.return_what_cannot_travel, executor="processes")
    assert run.status == Run.ERROR
    assert "pickle" in str(run.exception)
    assert [event.job_id for event in heard] == [run.job_id]


def test_a_pool_whose_process_dies_fails_the_run_and_goes_on(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_executor(ProcessPoolExecutor(1), "processes")
    run = run_once(scheduler, callables.die, executor="processes")
    assert (run.status, run.exception_type) == (Run.ERROR, "BrokenProcessPool")
    assert run_once(scheduler, callables.note, executor="processes").status == Run.SUCCESS


@pytest.mark.parametrize("value", ["", 0, False, [], "\x00", "\ud800"])
def test_any_value_but_none_is_a_result(value: object) -> None:
    text = recorder.describe_result(value)["result"]
    assert text.encode() is not None and "\x00" not in text


def test_a_run_never_seems_to_start_too_early_or_to_end_before_it_starts() -> None:
    """The database's time is known to within a round trip, and may be found to be a bit earlier."""
    due = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    run = runs.Run(1, "job", due)
    run.begin(due - dt.timedelta(milliseconds=5))
    run.end(due - dt.timedelta(milliseconds=9))
    assert run.started_at == run.finished == due
