"""`runapscheduler` with worker processes: they end with it, and it does not end with them."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.tests import plain
from jobstore.tests.conftest import eventually
from jobstore.tests.executors import tasks
from jobstore.tests.executors.conftest import is_alive, pid_in
from jobstore.tests.processes import SchedulerCommand

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

Run = DjangoJobExecution


@pytest.fixture
def command(transactional_db: None, tmp_path: Path) -> Iterator[SchedulerCommand]:
    settings = "jobstore.tests.jobs_settings"
    one = SchedulerCommand(
        tmp_path / "log", SCHEDULER_PROCESSES="2", DJANGO_SETTINGS_MODULE=settings
    )
    try:
        eventually(one.is_active, 40)
        yield one
    finally:
        one.kill()


def store(func: Any, job_id: str, *args: Any, **options: Any) -> None:
    """Store a job of worker processes that is due at once; `options` are columns of its row."""
    plain.store_job(func, job_id, *args, executor="processes", run_date=None)
    DjangoJob.all_objects.filter(pk=job_id).update(**options)


def ended(job_id: str) -> DjangoJobExecution:
    runs = Run.objects.filter(job=job_id).exclude(status__in=Run.UNFINISHED)
    return eventually(runs.first, 40)  # type: ignore[no-any-return]


def test_children_do_not_outlive_a_scheduler_that_was_killed(
    command: SchedulerCommand, trace: Path
) -> None:
    store(tasks.hold_interpreter, "long", str(trace))
    store(tasks.pid, "short")
    pids = {pid_in(trace), int(ended("short").result or 0)}
    assert len(pids) == 2 and all(map(is_alive, pids))
    command.kill()
    eventually(lambda: not any(map(is_alive, pids)), 2)


def test_runs_finish_after_sigterm(command: SchedulerCommand, trace: Path) -> None:
    store(tasks.sleep, "long", str(trace), 1.5)
    pid = pid_in(trace)
    assert command.end() == 0
    assert (ended("long").status, ended("long").result) == (Run.SUCCESS, "slept")
    assert not is_alive(pid)


def test_runs_that_do_not_finish_in_time_are_ended_and_lost(
    command: SchedulerCommand, trace: Path
) -> None:
    store(tasks.tidy_up, "long", str(trace), on_lost=DjangoJob.OnLost.RERUN)
    pid = pid_in(trace)
    assert command.end() == 0
    assert not is_alive(pid)
    assert trace.read_text().endswith("tidied")
    run = ended("long")
    assert run.status == Run.LOST
    assert run.exception == "The process was shut down; the job did not finish within 3 s."
    assert run.duration is not None
    assert Run.objects.get(job="long", attempt=2).status == Run.REQUESTED


def test_ctrl_c_in_a_terminal_lets_runs_finish(command: SchedulerCommand, trace: Path) -> None:
    """A terminal sends SIGINT to all processes of the group, and children are not in it."""
    store(tasks.sleep, "long", str(trace), 1.0)
    pid = pid_in(trace)
    assert os.getpgid(pid) == os.getsid(pid) == pid
    assert command.end(signal.SIGINT) == 0
    assert ended("long").status == Run.SUCCESS


def test_a_child_that_dies_loses_its_run_alone_and_the_job_goes_on(
    command: SchedulerCommand, trace: Path
) -> None:
    store(tasks.sleep, "long", str(trace), 3.0)
    store(tasks.leave_once, "dies", str(trace.parent / "dies"), on_lost=DjangoJob.OnLost.RERUN)
    first = ended("dies")
    assert (first.status, first.attempt) == (Run.LOST, 1)
    assert "ended in the middle of the run, with exit code 1" in (first.exception or "")
    again = Run.objects.filter(job="dies", attempt=2, status=Run.SUCCESS)
    eventually(again.exists, 40)
    assert ended("long").status == Run.SUCCESS
    assert command.end() == 0


def test_a_run_whose_timeout_is_over_is_recorded_so(command: SchedulerCommand, trace: Path) -> None:
    store(tasks.sleep, "long", str(trace), timeout=1.0)
    run = ended("long")
    assert run.status == Run.TIMED_OUT
    assert run.exception == "It did not end within its timeout of 1 s, and was ended."
    store(tasks.pid, "short")
    assert ended("short").status == Run.SUCCESS


def test_fifty_runs_in_two_processes_are_neither_doubled_nor_forgotten(
    command: SchedulerCommand, trace: Path
) -> None:
    """Some kill their process."""
    for number in range(50):
        func = tasks.touch_and_die if number % 10 == 3 else tasks.touch
        store(func, f"job-{number}", str(trace), f"{number}\n")
    runs = Run.objects.filter(job__in=[f"job-{number}" for number in range(50)])
    eventually(lambda: runs.exclude(status__in=Run.UNFINISHED).count() == 50, 60)
    assert sorted(map(int, trace.read_text().split())) == list(range(50))
    lost = set(runs.filter(status=Run.LOST).values_list("job_id", flat=True))
    assert lost == {"job-3", "job-13", "job-23", "job-33", "job-43"}
    assert runs.filter(status=Run.SUCCESS).count() == 45


def test_a_child_has_nothing_open_that_is_the_schedulers(
    command: SchedulerCommand, trace: Path
) -> None:
    store(tasks.sleep, "long", str(trace), 1.0)
    pid = pid_in(trace)
    files = [_open(command.process.pid), _open(pid)]
    assert files[0] and not files[0] & files[1]
    assert ended("long").status == Run.SUCCESS


def _open(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if int(link.name) > 2:
            try:
                found.add(os.readlink(link))
            except FileNotFoundError:
                time.sleep(0)
    return {file for file in found if file.startswith(("socket:", "pipe:", "/"))}


def test_a_scheduler_that_was_frozen_does_not_change_what_its_successor_wrote(
    command: SchedulerCommand, trace: Path, tmp_path: Path
) -> None:
    """Its child goes on meanwhile, and tells it of its end when it is thawed."""
    store(tasks.finish, "long", str(trace), 1.0)
    pid_in(trace)
    command.process.send_signal(signal.SIGSTOP)
    settings = "jobstore.tests.jobs_settings"
    other = SchedulerCommand(
        tmp_path / "other", SCHEDULER_PROCESSES="1", DJANGO_SETTINGS_MODULE=settings
    )
    try:
        assert ended("long").status == Run.LOST
        eventually(lambda: trace.read_text().endswith("finished"))
        command.process.send_signal(signal.SIGCONT)
        time.sleep(1)
        assert ended("long").status == Run.LOST
        assert command.end() == 0
    finally:
        other.kill()
