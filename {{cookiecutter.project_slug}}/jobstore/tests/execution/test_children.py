"""Children of jobs inherit nothing of the scheduler's, and never report a run."""

import contextlib
import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from jobstore.models import DjangoJobExecution, SchedulerInstance
from jobstore.tests import misdeeds, plain
from jobstore.tests.conftest import eventually
from jobstore.tests.processes import SchedulerCommand

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

Run = DjangoJobExecution
LONG = {"DJANGO_SETTINGS_MODULE": "jobstore.tests.long_settings"}


@pytest.fixture
def command(transactional_db: None, tmp_path: Path) -> Iterator[SchedulerCommand]:
    one = SchedulerCommand(tmp_path / "log")
    try:
        eventually(one.is_active, 40)
        yield one
    finally:
        one.kill()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Path]:
    """A file that a child writes its process id to; the child is ended after the test."""
    file = tmp_path / "child"
    yield file
    if file.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def run(function: Callable[..., Any], *args: Any) -> DjangoJobExecution:
    plain.store_job(function, function.__name__, *args, run_date=None)
    ended = Run.objects.filter(job=function.__name__).exclude(status__in=Run.UNFINISHED)
    return eventually(ended.first, 40)  # type: ignore[no-any-return]


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists() and ") Z" not in Path(f"/proc/{pid}/stat").read_text()


WORK: dict[Callable[..., Any], str] = {
    misdeeds.use_pool: "45",
    misdeeds.give_up_pool: "ended after 1 s",
    misdeeds.terminate_process: f"exit code {-signal.SIGTERM}",
    misdeeds.fork_in_children: "[0, 0, 0, 0]",
}


@pytest.mark.parametrize("function", WORK)
def test_children_can_be_ended_and_use_the_database(
    command: SchedulerCommand, function: Callable[..., Any]
) -> None:
    ended = run(function)
    assert (ended.status, ended.exception, ended.result) == (Run.SUCCESS, None, WORK[function])
    # The scheduler has its own handlers and sessions still.
    assert run(plain.query).status == Run.SUCCESS
    assert command.end() == 0
    assert "database does not answer" not in command.log.read_text()


@pytest.mark.parametrize(
    ("how", "code"), [("return", 0), ("raise", 1), ("exit", 7), ("query", 0), ("collect", 0)]
)
def test_a_child_that_comes_back_from_a_job_reports_nothing(
    command: SchedulerCommand, how: str, code: int
) -> None:
    ended = run(misdeeds.fork_and_return, how)
    assert (ended.status, ended.result) == (Run.SUCCESS, f"parent, child ended with {code}")
    assert "reports the run" in command.log.read_text()
    assert Run.objects.filter(job="fork_and_return").count() == 1
    time.sleep(1)  # two renewals of the lease
    assert run(plain.query).status == Run.SUCCESS
    # The sessions of the scheduler's other threads have not been ended by the child.
    assert "does not answer" not in command.log.read_text()
    assert "the database fails" not in command.log.read_text()


def test_a_child_that_comes_back_from_a_coroutine_reports_nothing(
    command: SchedulerCommand,
) -> None:
    ended = run(misdeeds.fork_and_return_later)
    assert (ended.status, ended.result) == (Run.SUCCESS, "parent, child ended with 0")
    assert run(plain.query_later).status == Run.SUCCESS


@pytest.mark.any_database
def test_sigterm_ends_a_child_and_not_the_scheduler(command: SchedulerCommand, child: Path) -> None:
    run(misdeeds.leave_child, str(child))
    pid = int(child.read_text())
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not is_alive(pid), 5)
    assert run(plain.query).status == Run.SUCCESS


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers_as(port: int) -> int:
    """Return which process answers probes there; 0 for none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=3) as reply:
            return int(json.load(reply)["process"].rpartition(":")[2])
    except OSError:
        return 0


@pytest.mark.any_database
@pytest.mark.parametrize("function", [misdeeds.leave_child, misdeeds.leave_program])
def test_an_orphan_does_not_keep_the_probes_port(
    tmp_path: Path, child: Path, function: Callable[..., Any]
) -> None:
    port = unused_port()
    address = {"SCHEDULER_HEALTH_ADDRESS": f"127.0.0.1:{port}"}
    first = SchedulerCommand(tmp_path / "first", **address)
    second = None
    try:
        eventually(first.is_active, 40)
        assert answers_as(port) == first.process.pid
        run(function, str(child))
        first.kill()
        assert is_alive(int(child.read_text()))
        second = SchedulerCommand(tmp_path / "second", **address)
        eventually(second.is_active, 40)
        assert answers_as(port) == second.process.pid
        assert "Health checks are not answered" not in second.log.read_text()
    finally:
        first.kill()
        if second is not None:
            second.kill()


@pytest.mark.parametrize("function", [misdeeds.leave_child, misdeeds.leave_program])
def test_a_child_that_lives_on_does_not_delay_a_take_over(
    tmp_path: Path, child: Path, function: Callable[..., Any]
) -> None:
    """The session of the dead holder ends although a child had copies of its sockets."""
    former = SchedulerCommand(tmp_path / "former", **LONG)
    further = None
    try:
        eventually(former.is_active, 40)
        further = SchedulerCommand(tmp_path / "further", **LONG)
        eventually(lambda: SchedulerInstance.objects.count() == 2, 40)
        run(function, str(child))
        former.kill()
        eventually(further.is_active, 30)  # the lease alone would end in 600
        assert is_alive(int(child.read_text()))
    finally:
        former.kill()
        if further is not None:
            further.kill()


def test_a_child_has_nothing_open_that_is_the_schedulers(
    command: SchedulerCommand, child: Path
) -> None:
    run(misdeeds.leave_child, str(child))
    shared = open_files(command.process.pid) & open_files(int(child.read_text()))
    # SQLite's own files: locks on them belong to the parent alone, and closing them is forbidden.
    name = str(connection.settings_dict["NAME"])
    own = {file for file in shared if not file.startswith(name) or file.endswith("-scheduler")}
    assert {file for file in own if file.startswith(("socket:", name))} == set()
    # Pipes of the parent are those of its output, at the most.
    assert not {file for file in own if file.startswith("pipe:")}


def open_files(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if int(link.name) > 2:
                found.add(os.readlink(link))
    return found
