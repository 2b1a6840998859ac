"""Runs that Celery's workers carry out, with a real worker and a broker that is a folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from jobstore import api
from jobstore.executors.elsewhere import Message
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.processes import ROOT, SchedulerCommand

pytestmark = pytest.mark.slow

Run = DjangoJobExecution


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for messages, which this process and workers know."""
    folder = tmp_path / "broker"
    folder.mkdir()
    from jobstore.tests.executors.celery_app import app

    options = {"data_folder_in": str(folder), "data_folder_out": str(folder)}
    options["control_folder"] = str(folder / "control")
    monkeypatch.setitem(app.conf, "broker_transport_options", options)
    monkeypatch.setattr(app, "_pool", None)
    monkeypatch.setattr(app.amqp, "_producer_pool", None)
    return folder


class CeleryWorker:
    """A worker with two processes."""

    def __init__(self, broker: Path, log: Path) -> None:
        self.log = log
        command = ["celery", "-A", "jobstore.tests.executors.celery_app", "worker"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command, "--concurrency=2", "--loglevel=INFO"],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=SchedulerCommand.everything(CELERY_FOLDER=str(broker)),
                start_new_session=True,
            )

    def kill(self) -> None:
        """End the worker and its processes at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def worker(transactional_db: None, broker: Path, tmp_path: Path) -> Iterator[CeleryWorker]:
    one = CeleryWorker(broker, tmp_path / "worker.log")
    yield one
    one.kill()


@pytest.fixture
def scheduler(broker: Path, start_scheduler: StartScheduler) -> BackgroundScheduler:
    from jobstore.executors.celery import CeleryExecutor

    one = start_scheduler()
    one.add_executor(CeleryExecutor(), "celery")
    return one


def add(scheduler: BackgroundScheduler, function: Callable[..., Any], **options: Any) -> None:
    scheduler.add_job(function, "date", id="one", executor="celery", **options)


def test_a_worker_of_celery_carries_runs_out(
    scheduler: BackgroundScheduler, worker: CeleryWorker
) -> None:
    add(scheduler, callables.return_pid)
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).exists(), 30)
    assert int(Run.objects.get().result or 0) not in (0, os.getpid(), worker.process.pid)


@pytest.mark.parametrize(
    ("of_job", "own", "where"),
    [("heavy", "light", "heavy"), ("", "light", "light"), ("", "", "celery")],
)
def test_a_run_goes_to_the_queue_of_its_job_or_else_of_its_executor(
    broker: Path, transactional_db: None, of_job: str, own: str, where: str
) -> None:
    from jobstore.executors.celery import CeleryExecutor

    CeleryExecutor(queue=own).publish(Message(1, 1, "job", "celery", None, of_job))
    [letter] = eventually(lambda: list(broker.glob("*.msg")))
    assert letter.name.endswith(f".{where}.msg")


def test_a_run_that_is_over_its_timeout_is_ended_there(
    scheduler: BackgroundScheduler, worker: CeleryWorker
) -> None:
    later = {"run_date": "2100-01-01"}
    add(scheduler, callables.sleep, args=[60], **later)
    DjangoJob.all_objects.update(timeout=1)
    api.run_now("one")
    eventually(lambda: Run.objects.filter(status=Run.TIMED_OUT).exists(), 30)
    assert "SoftTimeLimitExceeded" in str(Run.objects.get().traceback)


def test_a_run_that_does_not_listen_is_killed_there(
    scheduler: BackgroundScheduler, worker: CeleryWorker
) -> None:
    add(scheduler, callables.sleep_on, args=[60], run_date="2100-01-01")
    DjangoJob.all_objects.update(timeout=1)
    api.run_now("one")
    eventually(lambda: Run.objects.filter(status=Run.TIMED_OUT).exists(), 30)
    api.run_now("one")  # its slot is free
    eventually(lambda: Run.objects.filter(status=Run.TIMED_OUT).count() == 2, 30)


def test_a_worker_that_is_killed_loses_its_run_and_the_next_one_goes_on(
    scheduler: BackgroundScheduler, worker: CeleryWorker, broker: Path, tmp_path: Path
) -> None:
    add(scheduler, callables.sleep, args=[60])
    eventually(lambda: Run.objects.filter(status=Run.RUNNING).exists(), 30)
    worker.kill()
    eventually(lambda: Run.objects.filter(status=Run.LOST).exists(), 30)
    scheduler.add_job(callables.return_pid, "date", id="two", executor="celery")
    other = CeleryWorker(broker, tmp_path / "other.log")
    try:
        eventually(lambda: Run.objects.filter(job="two", status=Run.SUCCESS).exists(), 30)
    finally:
        other.kill()
