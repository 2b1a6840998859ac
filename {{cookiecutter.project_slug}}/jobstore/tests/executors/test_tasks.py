"""Django's tasks as an executor: what a message becomes, in the backends that there are."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from jobstore import api
from jobstore.executors import remote_worker
from jobstore.executors.elsewhere import Message, Refused
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.processes import ROOT, SchedulerCommand

PACKAGE = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"

Run = DjangoJobExecution


def configure(settings: Settings, backend: str) -> None:
    queues = ["default", "heavy", "light"]
    settings.TASKS = {"default": {"BACKEND": f"{PACKAGE}.backends.{backend}", "QUEUES": queues}}


@pytest.mark.parametrize(
    ("of_job", "own", "where"),
    [("heavy", "light", "heavy"), ("", "light", "light"), ("", "", "default")],
)
def test_a_task_goes_to_the_queue_of_its_job_or_else_of_its_executor(
    settings: Settings, of_job: str, own: str, where: str
) -> None:
    configure(settings, "dummy.DummyBackend")
    from jobstore.executors.tasks import TasksExecutor

    TasksExecutor(queue=own).publish(Message(7, 2, "job", "tasks", None, of_job))
    [sent] = importlib.import_module(PACKAGE).task_backends["default"].results
    assert sent.task.queue_name == where
    assert list(sent.args) == [7, 2, 1]


def test_a_queue_that_the_backend_does_not_know_is_refused(settings: Settings) -> None:
    configure(settings, "dummy.DummyBackend")
    from jobstore.executors.tasks import TasksExecutor

    executor = TasksExecutor()
    with pytest.raises(Refused, match="gone"):
        executor.publish(Message(7, 2, "job", "tasks", None, "gone"))
    assert "(default, heavy, light)" in executor.fault_of_queue("gone")
    assert executor.fault_of_queue("heavy") == ""


def test_the_immediate_backend_carries_runs_out_where_they_are_sent(
    settings: Settings, start_scheduler: StartScheduler
) -> None:
    configure(settings, "immediate.ImmediateBackend")
    from jobstore.executors.tasks import TasksExecutor

    scheduler = start_scheduler()
    scheduler.add_executor(TasksExecutor(), "tasks")
    scheduler.add_job(callables.note, "date", id="one", executor="tasks", args=["there"])
    scheduler.add_job(callables.note_later, "date", id="later", executor="tasks")
    scheduler.add_job(callables.fail, "date", id="fails", executor="tasks")
    eventually(lambda: Run.objects.filter(finished__isnull=False).count() == 3)
    found = dict(Run.objects.values_list("job", "status"))
    assert found == {"one": Run.SUCCESS, "later": Run.SUCCESS, "fails": Run.ERROR}
    assert Run.objects.get(job="one").result == "there"
    remote_worker.leave()


# --- The database as a backend, with workers of their own -----------------------------------------

JOBS = f"""
import os

from {PACKAGE} import task
from jobstore.registry import scheduled


@scheduled("interval", id="where", seconds=1)
@task(queue_name="heavy")
def where() -> int:
    return os.getpid()


@scheduled("cron", id="later", year=2999)
@task()
async def later() -> str:
    return "awaited"
"""


class Commands:
    """Processes of a project whose tasks wait in the test's database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Any] = []
        app = folder / "tasks_app"
        app.mkdir()
        (app / "__init__.py").touch()
        (app / "jobs.py").write_text(JOBS)
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "jobstore.tests.tasks_settings",
            "WRITTEN_APPS": "tasks_app",
            "PYTHONPATH": str(folder),
        }

    def make_tables(self) -> None:
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v0", "django_tasks_database"],
            cwd=ROOT,
            check=True,
            env=SchedulerCommand.everything(**self.environment),
        )

    @staticmethod
    def drop_tables() -> None:
        """Its migrations do not go back."""
        with connection.cursor() as cursor:
            for table in connection.introspection.table_names(cursor):
                if table.startswith("django_tasks_database"):
                    cursor.execute(f"DROP TABLE {table}")
            cursor.execute("DELETE FROM django_migrations WHERE app = 'django_tasks_database'")

    def start_scheduler(self) -> None:
        self.started.append(SchedulerCommand(self.folder / "log", **self.environment).process)

    def start_worker(self, queues: str) -> "subprocess.Popen[bytes]":
        options = ["--no-startup-delay", "--interval=0.1", "--no-reload", f"--queue-name={queues}"]
        process = subprocess.Popen(
            [sys.executable, "manage.py", "db_worker", *options],
            cwd=ROOT,
            env=SchedulerCommand.everything(**self.environment),
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def commands(transactional_db: None, tmp_path: Path) -> Iterator[Commands]:
    found = Commands(tmp_path)
    found.make_tables()
    yield found
    found.end()
    found.drop_tables()


def status_of(job: str) -> str | None:
    return Run.objects.filter(job=job).order_by("-pk").values_list("status", flat=True).first()


@pytest.mark.slow
def test_scheduled_tasks_run_in_the_workers_of_their_queues(commands: Commands) -> None:
    commands.start_scheduler()
    heavy = commands.start_worker("heavy")
    done = Run.objects.filter(job="where", status=Run.SUCCESS)
    eventually(lambda: done.filter(result=str(heavy.pid)).count() > 1, 30)
    assert set(DjangoJob.objects.values_list("executor", flat=True)) >= {"tasks"}
    api.run_now("later")
    eventually(lambda: status_of("later") == Run.QUEUED)
    # The other one takes what nobody took.
    commands.start_worker("default")
    eventually(lambda: status_of("later") == Run.SUCCESS, 20)
    assert Run.objects.get(job="later").result == "awaited"
    assert set(done.values_list("result", flat=True)) == {str(heavy.pid)}
