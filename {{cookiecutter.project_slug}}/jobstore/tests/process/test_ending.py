"""A stop ends promptly after the drain, whatever jobs have left running, and says what that was."""

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobstore.models import DjangoJobExecution, SchedulerInstance
from jobstore.tests import callables, misdeeds, plain
from jobstore.tests.conftest import eventually
from jobstore.tests.processes import SchedulerCommand

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

Run = DjangoJobExecution
LEFT: dict[Callable[..., Any], str] = {
    misdeeds.forget_pool: "thread 'forgotten_0'",
    misdeeds.forget_thread: "thread 'forgotten'",
    misdeeds.forget_process: "process ",
    plain.query: "",
    misdeeds.leave_task: "",
}


@pytest.mark.parametrize("function", LEFT)
def test_a_stop_does_not_wait_for_what_jobs_left_running(
    tmp_path: Path, function: Callable[..., Any]
) -> None:
    command = SchedulerCommand(tmp_path / "log")
    try:
        eventually(command.is_active, 40)
        plain.store_job(function, "left", run_date=None)
        eventually(Run.objects.filter(job="left", status=Run.SUCCESS).exists, 20)
        assert command.end() == 0  # within 20 s; what is left runs for 60
    finally:
        command.kill()
    said = command.log.read_text()
    assert ("Ended without waiting for what jobs left running: " in said) == bool(LEFT[function])
    assert LEFT[function] in said
    assert "without an answer from the database" not in said
    assert SchedulerInstance.objects.get().role == SchedulerInstance.Role.STOPPED


def test_a_job_that_ends_the_process_is_lost_and_its_job_goes_on(tmp_path: Path) -> None:
    first = SchedulerCommand(tmp_path / "first")
    second = None
    try:
        eventually(first.is_active, 40)
        plain.store_job(callables.die, "deadly", run_date=None)
        assert first.process.wait(20) == 9
        second = SchedulerCommand(tmp_path / "second")
        eventually(Run.objects.filter(job="deadly", status=Run.LOST).exists, 40)
    finally:
        first.kill()
        if second is not None:
            second.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_who_asks_once_more_at_the_very_end_does_not_turn_it_into_a_failure(tmp_path: Path) -> None:
    """The interpreter takes handlers away before it has ended; what is ignored stays ignored."""
    command = SchedulerCommand(tmp_path / "log")
    try:
        eventually(command.is_active, 40)
        plain.store_job(next(iter(LEFT)), "left", run_date=None)
        eventually(Run.objects.filter(job="left", status=Run.SUCCESS).exists, 20)
        command.process.send_signal(signal.SIGTERM)
        eventually(lambda: "Stopped." in command.log.read_text(), 20)
        status = Path(f"/proc/{command.process.pid}/status").read_text()
        [ignored] = re.findall(r"^SigIgn:\s+(\w+)", status, re.M)
        assert int(ignored, 16) >> (signal.SIGTERM - 1) & 1
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(20) == 0
    finally:
        command.kill()
