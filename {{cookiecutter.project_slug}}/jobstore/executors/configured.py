"""The executors that SCHEDULER_EXECUTORS names, and why one of them cannot be used.

What an executor needs is imported only if it is named: most projects have no Celery.
"""

from collections.abc import Callable
from importlib.util import find_spec

from apscheduler.executors.base import BaseExecutor
from django.core.exceptions import ImproperlyConfigured

from jobstore import conf


def executors() -> dict[str, BaseExecutor]:
    """Return the executors that the settings name, by the alias that jobs call them.

    :raises ImproperlyConfigured: if one of them cannot be used, with what to do about it.
    """
    return {name: MAKERS[name]() for name in conf.get("SCHEDULER_EXECUTORS")}


def problems() -> list[str]:
    """Return why executors that the settings name cannot be used; nothing is sent anywhere."""
    found = []
    for name in conf.get("SCHEDULER_EXECUTORS"):
        try:
            MAKERS[name]()
        except ImproperlyConfigured as error:
            found.append(str(error))
    return found


def remedy(alias: str) -> str:
    """Return what to set so that there is an executor of this name; empty if nothing helps."""
    names = conf.get("SCHEDULER_EXECUTORS")
    if alias in MAKERS and alias not in names:
        return f"SCHEDULER_EXECUTORS={','.join([*names, alias])}"
    return ""


def missing(alias: str) -> str:
    """Return the sentence that says that no executor has this name, and what to set for it."""
    text = f"No executor named {alias!r} is configured here."
    return f"{text} Set {what}." if (what := remedy(alias)) else text


def _celery() -> BaseExecutor:
    if find_spec("celery") is None:
        raise ImproperlyConfigured(
            "SCHEDULER_EXECUTORS names celery, but Celery is not installed here: "
            "install requirements/celery.txt."
        )
    from celery import current_app

    from jobstore.executors.celery import CeleryExecutor

    if not current_app.conf.broker_url:
        raise ImproperlyConfigured(
            "SCHEDULER_EXECUTORS names celery, but Celery has no broker: "
            "set CELERY_BROKER_URL, for example to redis://127.0.0.1:6379/0."
        )
    return CeleryExecutor()


def _tasks() -> BaseExecutor:
    if find_spec("django.tasks") is None and find_spec("django_tasks") is None:
        raise ImproperlyConfigured(
            "SCHEDULER_EXECUTORS names tasks, but this Django has no django.tasks: install "
            "django-tasks and a backend, such as django-tasks-db, and set TASKS."
        )
    from jobstore.executors.tasks import TasksExecutor

    return TasksExecutor()


MAKERS: dict[str, Callable[[], BaseExecutor]] = {"celery": _celery, "tasks": _tasks}
