"""Django's tasks as an executor: runs are carried out by whatever backend the project has chosen.

Django has `django.tasks` from 6.0 on; for Django 5.2 the package django-tasks has the same. A
message is a task that names a run; what the backend tells of the task does not matter.
"""

import importlib
from typing import Any

import django
from django.utils.translation import gettext_noop as _

from jobstore.executors import remote_worker
from jobstore.executors.elsewhere import VERSION, ElsewhereExecutor, Message, Refused
from jobstore.sentences import said
from jobstore.texts import quoted

PACKAGE = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
_tasks: Any = importlib.import_module(PACKAGE)
_exceptions: Any = importlib.import_module(f"{PACKAGE}.exceptions")
# The back-port calls it otherwise.
InvalidTask: Any = getattr(_exceptions, "InvalidTask", None) or _exceptions.InvalidTaskError


@_tasks.task()  # type: ignore[untyped-decorator]
def run_queued(run_id: int, attempt: int, version: int = VERSION) -> str:
    """Carry out a queued run. The message has nothing but its id and the attempt."""
    if version != VERSION:
        raise ValueError(
            f"Message of version {version} for run {run_id}: this worker knows version {VERSION}. "
            "Deploy the same version to schedulers and workers."
        )
    return remote_worker.carry_out_queued(int(run_id), int(attempt))


class TasksExecutor(ElsewhereExecutor):
    """Enqueues runs on a backend of the setting TASKS.

    Backends cannot end a task that has begun: a run that is cancelled or takes too long is recorded
    so, and its function goes on until it asks `current_run().is_cancelled`.
    """

    has_queues = True

    def __init__(self, backend: str = "default", queue: str = "") -> None:
        """Prepare.

        :param backend: an alias of the setting TASKS.
        :param queue: where tasks go; empty for the backend's default. A job may name another.
        """
        super().__init__()
        self.backend, self.queue = backend, queue

    def publish(self, message: Message) -> None:
        """Enqueue a task."""
        where: dict[str, Any] = {"backend": self.backend}
        if queue := message.queue or self.queue:
            where["queue_name"] = queue
        try:
            task = run_queued.using(**where)
        except InvalidTask as error:  # one job's queue must not stop the others
            raise Refused(str(error)) from error
        task.enqueue(message.run_id, message.attempt, VERSION)

    def fault_of_queue(self, queue: str) -> str:
        """Return a part of a sentence if the backend does not know a queue."""
        known = _tasks.task_backends[self.backend].queues
        if not known or queue in known:
            return ""
        text = _(
            "the queue %(queue)s is not among the QUEUES of the backend %(backend)s in TASKS "
            "(%(known)s), so its runs wait; add it there, or name another"
        )
        given = {"queue": quoted(queue), "backend": quoted(self.backend)}
        return said(text, **given, known=", ".join(sorted(known)))

    def close(self) -> None:
        """Close the connections of a backend that has any of its own."""
        close = getattr(_tasks.task_backends[self.backend], "close", None)
        if callable(close):
            close()
