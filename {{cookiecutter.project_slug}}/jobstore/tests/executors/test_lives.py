"""The lives of worker processes: when they start, when they are replaced, and what they need."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from jobstore.executors import WorkerProcesses, processes, worker
from jobstore.executors.worker import CannotStart
from jobstore.models import DjangoJobExecution
from jobstore.tests.conftest import eventually
from jobstore.tests.executors import tasks
from jobstore.tests.executors.conftest import Workers, is_alive, pid_in

Run = DjangoJobExecution


def test_none_is_started_before_it_is_needed() -> None:
    assert not WorkerProcesses(5)._workers


def test_a_process_is_replaced_after_so_many_runs() -> None:
    workers = Workers(max_runs=3)
    pids = [int(workers.run(tasks.pid)[1]) for _ in range(7)]
    assert [pids.index(pid) for pid in pids] == [0, 0, 0, 3, 3, 3, 6]
    eventually(lambda: not is_alive(pids[0]), 2)
    workers.executor.shutdown()


def test_a_process_is_replaced_when_it_has_become_too_large() -> None:
    workers = Workers(max_memory_mb=200)
    small = workers.run(tasks.fill_memory, 1)[1]
    assert workers.run(tasks.fill_memory, 250)[1] == small
    assert workers.run(tasks.fill_memory, 1)[1] != small
    workers.executor.shutdown()


def test_a_program_that_a_job_left_lives_on_when_its_process_is_replaced(trace: Path) -> None:
    workers = Workers(max_runs=1)
    process = int(workers.run(tasks.pid)[1])
    workers.run(tasks.leave_program, str(trace))
    program = pid_in(trace)
    workers.run(tasks.pid)
    eventually(lambda: not is_alive(process), 2)
    time.sleep(processes.LEAVE_SECONDS + 0.2)
    assert is_alive(program)
    os.kill(program, signal.SIGKILL)
    workers.executor.shutdown()


def test_a_process_has_the_modules_and_the_environment_of_its_scheduler(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "only_here.py").write_text("def work(): return 'found'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/its/own")
    import only_here  # type: ignore[import-not-found]

    workers = Workers()
    assert workers.run(only_here.work)[1] == "found"
    assert "'python path': '/its/own'" in workers.run(tasks.look_around)[1]
    workers.executor.shutdown()


def test_a_process_inherits_no_file_and_has_a_session_of_its_own(workers: Workers) -> None:
    _, found = workers.run(tasks.look_around)
    assert "'session': True" in found
    assert found.count("socket:") == 1


def test_settings_that_cannot_be_loaded_are_an_error_of_the_run_that_names_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no_such_settings")
    workers = Workers()
    run, error = workers.run(tasks.pid)
    assert isinstance(error, CannotStart)
    text = "Django could not be set up in a worker process: ModuleNotFoundError: No module named"
    assert str(error).startswith(text)
    assert run.details == {"exception": str(error)} and run.ended_as == ""
    assert run.started_at is None
    # It is mended; the next run waits for a moment, and needs no restart of the scheduler.
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "jobstore.tests.executors.small_settings")
    assert workers.run(tasks.add, 1)[1] == "1"
    workers.executor.shutdown()


def test_what_cannot_start_is_tried_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    monkeypatch.setattr(processes, "FIRST_PAUSE_SECONDS", 0.1)
    workers = Workers()
    began = time.monotonic()
    errors = [workers.run(tasks.pid)[1] for _ in range(4)]
    assert all(isinstance(error, CannotStart) for error in errors)
    assert time.monotonic() - began >= 0.7
    lines = [record.message for record in caplog.records if "cannot be started" in record.message]
    assert len(lines) == 1 and "No such file" in lines[0]
    workers.executor.shutdown()


def test_a_run_that_waits_for_a_process_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    workers = Workers()
    workers.run(tasks.pid)
    workers.executor._not_before = time.monotonic() + 30
    run, future = workers.begin(tasks.pid)
    eventually(lambda: workers.executor.end_run(run.execution_id, Run.CANCELLED, "Not needed."))
    assert str(future.exception(1)) == "Not needed."
    workers.executor.shutdown()


@pytest.mark.parametrize("often", [1, 2])
def test_a_process_that_is_killed_while_it_starts_costs_no_run_unless_it_happens_again(
    monkeypatch: pytest.MonkeyPatch, often: int
) -> None:
    killed: list[int] = []
    wait = worker.Worker.wait_until_ready

    def kill_first(one: worker.Worker) -> None:
        if len(killed) < often:
            killed.append(one.pid)
            one.kill()
        wait(one)

    monkeypatch.setattr(worker.Worker, "wait_until_ready", kill_first)
    workers = Workers()
    run, found = workers.run(tasks.add, 1)
    if often == 1:
        assert found == "1" and run.details == {"result": "1"}
    else:
        assert "ended before it was ready: by SIGKILL" in str(found)
        assert run.details == {"exception": str(found)} and run.started_at is None
    workers.executor.shutdown()


def test_a_process_that_is_never_ready_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "START_SECONDS", 0.01)
    workers = Workers()
    assert "was not ready within 0.01 s" in str(workers.run(tasks.pid)[1])
    workers.executor.shutdown()


def test_a_process_ends_when_its_pipe_is_closed_although_its_parent_lives(trace: Path) -> None:
    """Where the kernel does not end it, as on macOS."""
    workers = Workers()
    _, future = workers.begin(tasks.sleep, str(trace))
    pid = pid_in(trace)
    [one] = workers.executor._workers
    with socket.socket(fileno=os.dup(one._pipe.fileno())) as pipe:
        pipe.shutdown(socket.SHUT_WR)
    eventually(lambda: not is_alive(pid), 2)
    assert "by SIGKILL" in str(future.exception(5))
    workers.executor.shutdown()


def test_each_thread_has_a_process_of_its_own() -> None:
    workers = Workers(2)
    together = threading.Barrier(2, timeout=20)
    executor = workers.executor
    begin = executor._ask

    def ask(*args: object) -> object:
        together.wait()
        return begin(*args)  # type: ignore[arg-type]

    executor._ask = ask  # type: ignore[method-assign, assignment]
    futures = [workers.begin(tasks.pid)[1] for _ in range(2)]
    assert len({future.result(30) for future in futures}) == 2
    executor.shutdown()


def test_a_job_of_another_job_store_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = BackgroundScheduler(
        jobstores={"default": MemoryJobStore()},
        executors={"processes": WorkerProcesses(1)},
        timezone="UTC",
    )
    scheduler.start()
    scheduler.add_job(tasks.pid, id="lost", executor="processes")
    eventually(lambda: "its job store is not a DjangoJobStore" in caplog.text)
    scheduler.shutdown()
