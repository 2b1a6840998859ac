"""Django's tasks as an executor: what a message becomes."""

import importlib

import django
import pytest
from pytest_django.fixtures import Settings

from jobstore.executors.elsewhere import Message

PACKAGE = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"


@pytest.mark.parametrize(
    ("of_job", "own", "where"),
    [("heavy", "light", "heavy"), ("", "light", "light"), ("", "", "default")],
)
def test_a_task_goes_to_the_queue_of_its_job_or_else_of_its_executor(
    settings: Settings, of_job: str, own: str, where: str
) -> None:
    settings.TASKS = {
        "default": {
            "BACKEND": f"{PACKAGE}.backends.dummy.DummyBackend",
            "QUEUES": ["default", "heavy", "light"],
        }
    }
    from jobstore.executors.tasks import TasksExecutor

    TasksExecutor(queue=own).publish(Message(7, 2, "job", "tasks", None, of_job))
    [sent] = importlib.import_module(PACKAGE).task_backends["default"].results
    assert sent.task.queue_name == where
    assert list(sent.args) == [7, 2, 1]
