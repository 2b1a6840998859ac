"""Runs that are ended: their timeout is over, somebody cancels them, or the scheduler ends."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobstore.executors.calls import RunEnded
from jobstore.executors.worker import Worker
from jobstore.models import DjangoJobExecution
from jobstore.tests.conftest import eventually
from jobstore.tests.executors import tasks
from jobstore.tests.executors.conftest import Workers, is_alive, pid_in

Run = DjangoJobExecution
WHY = "It did not end within its timeout of 0.3 s, and was ended."


@pytest.mark.parametrize(
    "func", [tasks.sleep, tasks.spin, tasks.sleep_later, tasks.swallow_exit, tasks.ignore_signals]
)
def test_a_run_is_ended_when_its_timeout_is_over(
    workers: Workers, trace: Path, func: Callable[..., Any]
) -> None:
    workers.run(tasks.pid)
    run, error = workers.run(func, str(trace), timeout=0.3)
    assert isinstance(error, RunEnded) and str(error) == WHY
    assert run.ended_as == Run.TIMED_OUT
    assert run.details is not None and run.details["exception"] == WHY
    # They would take half a minute, or run for ever.
    assert run.duration is not None and 0.2 < run.duration < 20


def test_what_was_ended_has_tidied_up_and_tells_where_it_was(workers: Workers, trace: Path) -> None:
    run, _ = workers.run(tasks.tidy_up, str(trace), timeout=0.3)
    assert trace.read_text().endswith("tidied")
    assert run.details is not None and "time.sleep(seconds)" in run.details["traceback"]


def test_a_coroutine_that_was_ended_has_tidied_up(workers: Workers, trace: Path) -> None:
    workers.run(tasks.tidy_up_later, str(trace), timeout=0.3)
    assert trace.read_text().endswith("tidied")


def test_programs_of_a_run_that_was_ended_have_ended_with_it(workers: Workers, trace: Path) -> None:
    workers.run(tasks.wait_for_program, str(trace), timeout=0.5)
    assert not is_alive(pid_in(trace))


def test_a_frozen_process_is_ended_when_its_timeout_is_over(workers: Workers, trace: Path) -> None:
    run, future = workers.begin(tasks.sleep, str(trace), timeout=0.6)
    os.kill(pid_in(trace), signal.SIGSTOP)
    assert str(future.exception(5)) == WHY.replace("0.3", "0.6")
    assert run.ended_as == Run.TIMED_OUT


def test_a_run_that_does_not_begin_is_ended_as_well(workers: Workers) -> None:
    """The module of its function, or its arguments, may take for ever to load."""
    run, error = workers.run(tasks.add, tasks.HangsReader(), timeout=0.3)
    assert (run.ended_as, str(error)) == (Run.TIMED_OUT, WHY)


def test_a_run_that_ends_by_itself_at_the_last_moment_keeps_its_own_end(
    workers: Workers, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is on the way when it is told to end."""
    monkeypatch.setattr(Worker, "ask_to_end", lambda *_: None)
    run, result = workers.run(tasks.sleep, str(trace), 0.5, timeout=0.2)
    assert (run.ended_as, result) == ("", "slept")
    assert workers.run(tasks.add, 1)[1] == "1"


def test_a_run_that_has_ended_cannot_be_ended(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread is about to tell the scheduler."""
    ended: list[bool] = []

    def is_used_up(*_: object) -> bool:
        [execution_id] = workers.executor._calls
        ended.append(workers.executor.end_run(execution_id, Run.CANCELLED, "Too late."))
        return False

    monkeypatch.setattr(workers.executor, "_is_used_up", is_used_up)
    run, _ = workers.run(tasks.pid)
    assert (run.ended_as, ended) == ("", [False])


def test_a_process_is_not_told_to_end_a_run_that_it_had_before(
    workers: Workers, trace: Path
) -> None:
    run, future = workers.begin(tasks.sleep, str(trace), 0.4)
    pid_in(trace)
    [one] = workers.executor._workers
    one.ask_to_end(run.execution_id - 1, "That one is over.")
    assert future.result(5) == "slept"


def test_time_that_a_process_takes_to_start_is_not_the_runs(workers: Workers) -> None:
    os.kill(int(workers.run(tasks.pid)[1]), signal.SIGKILL)
    run, result = workers.run(tasks.add, 1, timeout=0.2)
    assert (run.ended_as, result) == ("", "1")


def test_a_run_under_way_can_be_ended_and_no_other(workers: Workers, trace: Path) -> None:
    end_run = workers.executor.end_run
    run, future = workers.begin(tasks.sleep, str(trace))
    pid_in(trace)
    assert not end_run(run.execution_id + 1, Run.CANCELLED, "Nobody's.")
    assert end_run(run.execution_id, Run.CANCELLED, "Ada cancelled it.")
    assert not end_run(run.execution_id, Run.TIMED_OUT, "Twice.")
    assert str(future.exception(5)) == "Ada cancelled it."
    assert run.ended_as == Run.CANCELLED
    assert not end_run(run.execution_id, Run.CANCELLED, "Too late.")
    assert workers.run(tasks.add, 1)[1] == "1"


def test_a_run_whose_process_starts_can_be_ended(workers: Workers, trace: Path) -> None:
    os.kill(int(workers.run(tasks.pid)[1]), signal.SIGKILL)
    run, future = workers.begin(tasks.touch, str(trace))
    eventually(lambda: workers.executor.end_run(run.execution_id, Run.CANCELLED, "Not needed."))
    assert str(future.exception(5)) == "Not needed."
    assert not trace.exists()


def test_sigterm_from_elsewhere_ends_no_run(workers: Workers, trace: Path) -> None:
    """A service manager sends it to all processes: the scheduler lets them finish."""
    _, future = workers.begin(tasks.sleep, str(trace), 0.5)
    pid = pid_in(trace)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert future.result(5) == "slept"
    os.kill(pid, signal.SIGTERM)
    assert workers.run(tasks.pid)[1] == str(pid)


def test_all_runs_can_be_ended_and_further_ones_do_not_begin(trace: Path) -> None:
    workers = Workers()
    run, future = workers.begin(tasks.sleep, str(trace))
    waiting, later = workers.begin(tasks.touch, str(trace.parent / "later"))
    pid = pid_in(trace)
    workers.executor.end_all(Run.LOST, "The end.")
    assert str(future.exception(0)) == "The end."
    assert str(later.exception(5)) == "The end."
    assert (run.ended_as, waiting.ended_as) == (Run.LOST, Run.LOST)
    assert not is_alive(pid)
    assert not (trace.parent / "later").exists()
    workers.executor.shutdown()
    assert not workers.executor._workers


def test_a_shutdown_that_waits_lets_runs_finish_and_ends_all_processes(trace: Path) -> None:
    workers = Workers()
    _, future = workers.begin(tasks.sleep, str(trace), 0.3)
    pid = pid_in(trace)
    workers.executor.shutdown(wait=True)
    assert future.result(0) == "slept"
    assert not is_alive(pid)


def test_after_a_shutdown_that_does_not_wait_a_run_ends_by_itself(trace: Path) -> None:
    workers = Workers()
    _, future = workers.begin(tasks.sleep, str(trace), 0.5)
    pid = pid_in(trace)
    workers.executor.shutdown(wait=False)
    assert is_alive(pid)
    assert future.result(5) == "slept"
    eventually(lambda: not is_alive(pid), 2)
