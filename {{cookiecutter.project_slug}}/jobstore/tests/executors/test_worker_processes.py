"""Runs in worker processes: what the scheduler learns of them, and what dies with a process."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobstore.executors import worker
from jobstore.executors.calls import RunEnded
from jobstore.models import DjangoJobExecution
from jobstore.tests.conftest import eventually
from jobstore.tests.executors import tasks
from jobstore.tests.executors.conftest import Workers, is_alive, pid_in

Run = DjangoJobExecution


def test_a_function_runs_in_another_process_and_its_result_comes_back(workers: Workers) -> None:
    run, result = workers.run(tasks.pid)
    assert int(result) != os.getpid()
    assert (run.details, run.ended_as, run.note) == ({"result": result}, "", "")
    assert run.started_at is not None and run.finished is not None and run.duration is not None
    assert run.run_time <= run.started_at <= run.finished


def test_a_process_is_used_again(workers: Workers) -> None:
    assert workers.run(tasks.pid)[1] == workers.run(tasks.pid_later)[1]


def test_a_job_knows_its_run(workers: Workers) -> None:
    run, result = workers.run(tasks.name_run)
    assert result == f"{run.execution_id} job 2 7"


def test_an_exception_comes_back_as_text_and_its_traceback_is_logged(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    run, error = workers.run(tasks.fail)
    assert str(error) == "LookupError: nothing there"
    assert "in fail" in str(error.__cause__)
    assert run.details is not None
    assert run.details["exception"] == "nothing there"
    assert run.details["exception_names"].startswith("LookupError,Exception")
    assert "in fail" in run.details["traceback"] and "serving.py" not in run.details["traceback"]


@pytest.mark.parametrize("func", [tasks.return_mute, tasks.raise_mute])
def test_what_has_no_text_and_cannot_travel_harms_nobody(
    workers: Workers, func: Callable[[], Any]
) -> None:
    run, _ = workers.run(func)
    assert run.details is not None
    assert "SystemExit: no text" in str(run.details)
    assert workers.run(tasks.add, 1, 2)[1] == "3"


def test_of_a_huge_result_and_of_much_output_little_is_passed_on(workers: Workers) -> None:
    _, result = workers.run(tasks.return_much)
    assert len(result) < 1100 and "characters left out" in result
    assert workers.run(tasks.print_much)[1] == "printed"


def test_arguments_that_the_process_cannot_read_are_an_error_of_the_run(workers: Workers) -> None:
    run, error = workers.run(tasks.add, tasks.ImportsBadly())
    assert str(error) == "ValueError: not here"
    assert run.ended_as == ""


def test_progress_is_told_now_and_then_however_often_a_job_tells_it(
    workers: Workers, trace: Path
) -> None:
    told: list[tuple[int, Any]] = []
    run, future = workers.begin(tasks.tell_progress, str(trace))
    run.reporter = lambda *report: told.append(report)
    # The last report of a loop comes while the job goes on with something else.
    eventually(trace.exists)
    eventually(lambda: told and told[-1][1].done == 50_000, 0.9)
    assert not future.done()
    future.result(10)
    assert run.latest is not None and run.latest.text == "working"
    assert len(told) < 50


# --- What ends with a process -----------------------------------------------------------------


ENDS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], str]] = {
    "exit": (tasks.leave_at_once, (3,), "with exit code 3."),
    "success": (tasks.leave_at_once, (0,), "with exit code 0."),
    "segfault": (tasks.crash, (), "by the signal SIGSEGV."),
    "memory": (
        tasks.end_by,
        (signal.SIGKILL,),
        "by SIGKILL; probably the machine or its container was out of memory.",
    ),
    "closed": (tasks.close_everything, (), "since the job had closed its connection"),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_process_that_dies_loses_its_run_and_no_other(workers: Workers, how: str) -> None:
    func, args, text = ENDS[how]
    before = workers.run(tasks.pid)[1]
    run, error = workers.run(func, *args)
    assert isinstance(error, RunEnded)
    assert run.ended_as == Run.LOST
    assert f"Its worker process (pid {before}) ended in the middle of the run, {text}" in str(error)
    assert run.details == {"exception": str(error)}
    assert workers.run(tasks.pid)[1] != before


def test_an_answer_is_not_written_into_a_file_of_the_job(workers: Workers, trace: Path) -> None:
    """The job has closed the pipe, and its own files have the numbers that it had."""
    run, _ = workers.run(tasks.reuse_descriptors, str(trace))
    assert run.ended_as == Run.LOST
    assert {file.read_text() for file in trace.parent.iterdir()} <= {""}


def test_a_dead_process_is_noticed_at_once_although_a_fork_keeps_its_pipe_open(
    monkeypatch: pytest.MonkeyPatch, workers: Workers, trace: Path
) -> None:
    # A look would come too late.
    monkeypatch.setattr(worker, "LOOK_SECONDS", 600.0)
    run, _ = workers.run(tasks.leave_fork_unseen, str(trace))
    assert run.ended_as == Run.LOST
    eventually(lambda: not is_alive(pid_in(trace)), 1)


def test_a_dead_process_is_noticed_soon_where_the_system_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, trace: Path
) -> None:
    """Without pidfd, as on macOS and old kernels."""
    monkeypatch.setattr(worker, "_life", lambda pid: None)
    workers = Workers()
    run, _ = workers.run(tasks.leave_fork_unseen, str(trace))
    # The fork would have kept the pipe open for a minute.
    assert run.ended_as == Run.LOST
    assert workers.run(tasks.add, 1)[1] == "1"
    workers.executor.shutdown()


def test_a_fork_has_no_pipe(workers: Workers, trace: Path) -> None:
    workers.run(tasks.list_files_of_fork, str(trace))
    assert "/dev/null" in trace.read_text() and "socket:" not in trace.read_text()


def test_a_fork_that_comes_back_from_a_job_reports_nothing(workers: Workers, trace: Path) -> None:
    before = workers.run(tasks.pid)[1]
    assert workers.run(tasks.fork, str(trace))[1] == "parent"
    assert trace.read_text() == "child"
    assert workers.run(tasks.pid)[1] == before


def test_a_process_that_died_while_it_was_idle_costs_no_run(workers: Workers) -> None:
    before = int(workers.run(tasks.pid)[1])
    os.kill(before, signal.SIGKILL)
    assert int(workers.run(tasks.pid)[1]) != before


def test_a_run_that_had_not_begun_in_a_process_that_died_runs_in_the_next(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, trace: Path
) -> None:
    """The process is killed when it has the run, and has not called the function."""
    first = int(workers.run(tasks.pid)[1])
    send = worker.Worker.send

    def stop_before(self: worker.Worker, request: Any) -> bool:
        if self.pid == first:
            os.kill(first, signal.SIGSTOP)
            sent = send(self, request)
            os.kill(first, signal.SIGKILL)
            return sent
        return send(self, request)

    monkeypatch.setattr(worker.Worker, "send", stop_before)
    run, result = workers.run(tasks.touch, str(trace), "once")
    assert (run.ended_as, result, trace.read_text()) == ("", None, "once")


def test_a_run_that_kills_each_process_before_it_begins_is_not_tried_for_ever(
    workers: Workers,
) -> None:
    run, error = workers.run(tasks.add, tasks.KillsReader())
    assert run.ended_as == Run.LOST
    assert "with exit code 9" in str(error)


def test_an_answer_that_was_sent_counts_although_the_process_died_then(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, trace: Path
) -> None:
    receive = worker.Worker.receive

    def die_before(self: worker.Worker, timeout: float | None = None) -> Any:
        if trace.exists():
            time.sleep(0.3)  # the answer has been sent by now
            os.kill(self.pid, signal.SIGKILL)
            self.wait(5)
        return receive(self, timeout)

    workers.run(tasks.pid)
    monkeypatch.setattr(worker.Worker, "receive", die_before)
    run, _ = workers.run(tasks.touch, str(trace))
    assert run.ended_as == "" and run.details == {}


def test_a_frozen_process_goes_on_when_it_is_thawed(workers: Workers, trace: Path) -> None:
    run, future = workers.begin(tasks.sleep, str(trace), 0.3)
    pid = pid_in(trace)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.5)
    assert not future.done()
    os.kill(pid, signal.SIGCONT)
    assert future.result(5) == "slept"
    assert run.ended_as == ""
