"""What a job returned, and how its executor failed it, are in the history."""

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_ERROR
from apscheduler.executors.pool import ProcessPoolExecutor
from pytest_django.fixtures import Settings

from jobstore.execution import run as runs
from jobstore.history import bounded, recorder
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJobExecution
from jobstore.runs import current_run
from jobstore.tests import callables, misdeeds
from jobstore.tests.conftest import StartScheduler, eventually

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
    assert current_run() is None


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


@pytest.mark.any_database
def test_a_result_that_no_process_can_send_is_an_error(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    scheduler.add_executor(ProcessPoolExecutor(1), "processes")
    heard: list[Any] = []
    scheduler.add_listener(heard.append, EVENT_JOB_ERROR)
    run = run_once(scheduler, callables.return_what_cannot_travel, executor="processes")
    assert run.status == Run.ERROR
    assert "pickle" in str(run.exception)
    assert [event.job_id for event in heard] == [run.job_id]


@pytest.mark.any_database
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
    text = bounded.of_result(value)["result"]
    assert text.encode() is not None and "\x00" not in text


def test_a_run_never_seems_to_start_too_early_or_to_end_before_it_starts() -> None:
    """The database's time is known to within a round trip, and may be found to be a bit earlier."""
    due = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    run = runs.ActiveRun(1, "job", due)
    run.begin(due - dt.timedelta(milliseconds=5))
    run.end(due - dt.timedelta(milliseconds=9))
    assert run.started_at == run.finished == due


HARMS = ["MemoryError", "SystemExit", "KeyboardInterrupt", "ValueError", "number", "recursion"]


@pytest.mark.any_database
@pytest.mark.parametrize("kind", HARMS)
@pytest.mark.parametrize("func", [misdeeds.return_hostile, misdeeds.return_hostile_later])
def test_a_result_whose_text_cannot_be_made_leaves_the_run_executed(
    start_scheduler: StartScheduler, func: Callable[..., Any], kind: str
) -> None:
    run = run_once(start_scheduler(), func, args=(kind,))
    assert run.status == Run.SUCCESS
    assert "could not be made" in str(run.result)


@pytest.mark.any_database
@pytest.mark.parametrize("kind", HARMS)
@pytest.mark.parametrize("func", [misdeeds.raise_hostile, misdeeds.raise_hostile_later])
def test_an_exception_whose_text_cannot_be_made_leaves_the_run_failed(
    start_scheduler: StartScheduler, func: Callable[..., Any], kind: str
) -> None:
    run = run_once(start_scheduler(), func, args=(kind,))
    assert (run.status, run.exception_type) == (Run.ERROR, "HostileError")
    assert "could not be made" in str(run.exception)


def test_a_derived_text_is_kept_as_it_is(start_scheduler: StartScheduler) -> None:
    assert run_once(start_scheduler(), misdeeds.return_hostile, args=("text",)).result == (
        "fair words"
    )


def test_a_result_may_query_the_database_as_part_of_its_run(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    run = run_once(scheduler, misdeeds.return_hostile, args=("query",))
    assert str(run.result).endswith("jobs")
    assert "QuerySet" in str(run_once(scheduler, misdeeds.return_jobs).result)
    assert run_once(scheduler, misdeeds.raise_hostile, args=("query",)).status == Run.ERROR


@pytest.mark.any_database
@pytest.mark.parametrize("func", [misdeeds.return_hostile, misdeeds.raise_hostile])
def test_a_text_that_takes_for_ever_keeps_its_own_worker_alone(
    start_scheduler: StartScheduler, func: Callable[..., Any]
) -> None:
    scheduler = start_scheduler(threads=2)
    soon = dt.datetime.now(dt.UTC)
    scheduler.add_job(func, "date", run_date=soon, id="stuck", args=["block"])
    eventually(lambda: "text" in callables.calls)
    for _ in range(3):
        assert run_once(scheduler, callables.note).status == Run.SUCCESS
    assert Run.objects.get(job="stuck").status == Run.RUNNING
    callables.release.set()
    stuck = eventually(Run.objects.filter(job="stuck").exclude(status=Run.RUNNING).first)
    assert stuck.duration > 0.3


@pytest.mark.any_database
def test_each_failure_of_a_process_pool_is_booked_on_its_own_run(
    start_scheduler: StartScheduler, tmp_path: Path
) -> None:
    scheduler = start_scheduler()
    scheduler.add_executor(ProcessPoolExecutor(2), "processes")
    for number in range(2):  # so that both processes are there, and the first run begins first
        scheduler.add_job(callables.sleep, id=f"warm-{number}", args=[1.0], executor="processes")
    warm = Run.objects.filter(job__in=["warm-0", "warm-1"], status=Run.SUCCESS)
    eventually(lambda: warm.count() == 2, timeout=30)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=0.3)
    scheduler.add_job(
        callables.sleep_or_fail_to_return,
        "interval",
        seconds=2,
        start_date=soon,
        id="both",
        executor="processes",
        max_instances=2,
        args=[str(tmp_path / "first")],
    )
    first, second = eventually(
        lambda: (
            found
            if len(found := list(Run.objects.filter(job="both").order_by("run_time")[:2])) == 2
            and not {one.status for one in found} & set(Run.UNFINISHED)
            else None
        ),
        timeout=30,
    )
    scheduler.remove_job("both")
    assert (first.status, first.result) == (Run.SUCCESS, "the first")
    assert second.status == Run.ERROR and "pickle" in str(second.exception)


def test_nothing_starts_while_its_end_could_not_be_kept(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = start_scheduler()
    assert run_once(scheduler, callables.query).status == Run.SUCCESS
    monkeypatch.setattr(recorder, "MAX_BARE", 0)
    scheduler.add_job(callables.note, id="waits", misfire_grace_time=None)
    looks = count_looks(monkeypatch)
    time.sleep(2)
    assert "ran" not in callables.calls and not Run.objects.filter(job="waits").exists()
    assert len(looks) < 20, "the loop spins"
    monkeypatch.undo()
    assert eventually(Run.objects.filter(job="waits", status=Run.SUCCESS).exists)


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    looks: list[float] = []
    original = DjangoJobStore.get_due_jobs

    def counted(store: DjangoJobStore, now: dt.datetime) -> Any:
        looks.append(time.monotonic())
        return original(store, now)

    monkeypatch.setattr(DjangoJobStore, "get_due_jobs", counted)
    return looks


def test_a_run_that_finds_no_thread_is_an_error_and_does_not_run_afterwards(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = start_scheduler(threads=2)
    scheduler.add_job(callables.block, id="blocker", misfire_grace_time=None)
    eventually(lambda: "blocked" in callables.calls)
    pool = scheduler._executors["default"]._pool

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    # The pool queues the work before it finds that there is no thread for it.
    monkeypatch.setattr(pool, "_adjust_thread_count", refuse)
    run = run_once(scheduler, callables.note)
    assert run.status == Run.ERROR and "new thread" in str(run.exception)
    monkeypatch.undo()
    callables.release.set()
    assert run_once(scheduler, callables.query).status == Run.SUCCESS
    assert "ran" not in callables.calls
