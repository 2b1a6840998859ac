"""What `django.tasks` makes of a function, a Task, as a job. So does the package django-tasks.

A Task is not callable, and takes the name of its function. So the job is the Task's function, which
others find by the Task's name: "module:name.func".
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from jobstore.texts import quoted

# The executor of a job that is a Task, unless its declaration names another.
EXECUTOR = "tasks"
# The backend, and the queue, of a Task that names none.
DEFAULT = "default"
# What follows the name of a Task in a reference to its function.
SUFFIX = ".func"
MODULES = ("django.tasks.base", "django_tasks.base")


class TaskObject(Protocol):
    """A Task, for type checkers: most projects have neither of its packages."""

    @property
    def func(self) -> Callable[..., Any]:
        """Its function."""


def is_task(value: Any) -> bool:
    """Tell whether a value is a Task. Whoever has one has imported its package."""
    kinds = (getattr(sys.modules.get(module), "Task", None) for module in MODULES)
    return any(isinstance(kind, type) and isinstance(value, kind) for kind in kinds)


def function_of(value: Any) -> Any:
    """Return the function of a Task; any other value as it is."""
    return value.func if is_task(value) else value


def reference_of(func: Any) -> str:
    """Return "module:name" of a function, or "module:name.func" if a Task has taken its name."""
    module, name = getattr(func, "__module__", ""), getattr(func, "__qualname__", "")
    return f"{module}:{name}{SUFFIX if _leads_to_task(module, name) else ''}"


def key_of(reference: str) -> str:
    """Return "module.name" of the function that a job's reference leads to."""
    module, _, name = reference.partition(":")
    task = name.removesuffix(SUFFIX)
    return f"{module}.{task if task != name and _leads_to_task(module, task) else name}"


def _leads_to_task(module: str, name: str) -> bool:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = inspect.getattr_static(found, part, None)
    return is_task(found)


def declared(task: Any, options: dict[str, Any], queue: str) -> tuple[dict[str, Any], str]:
    """Return the options of a job that is a Task, and its queue: its own, unless one is given."""
    own = "" if task.queue_name == DEFAULT else task.queue_name
    return {"executor": EXECUTOR} | options, queue or own


def fault_of(value: Any) -> str:
    """Return why a Task, or what was made of one, cannot be a job; empty if it can."""
    if is_task(getattr(value, "__self__", None)):
        return (
            "it is a method of a Task; schedule the Task itself, and its runs are sent to the "
            "backend"
        )
    if not is_task(value):
        return ""
    if value.takes_context:
        return (
            "its Task has takes_context=True, and runs of jobs have no such context; leave it out, "
            "and ask jobstore.runs.current_run() for the attempt"
        )
    if value.priority:
        return (
            f"its Task has priority={value.priority}, and runs of jobs have no priority; schedule "
            "the_task.using(priority=0), or give urgent tasks a queue of their own"
        )
    if value.run_after is not None:
        return (
            "its Task has run_after, and the schedule says when a job runs; schedule the Task "
            "without it, and give next_run_time= for a later first run"
        )
    return ""


def fault_of_backend(task: Any, executor: Any) -> str:
    """Return why an executor cannot carry out a Task; empty if it can."""
    used = getattr(executor, "backend", None)
    if not is_task(task) or used is None or used == task.backend:
        return ""
    return (
        f"its Task has the backend {quoted(task.backend)}, and its executor sends runs to the "
        f"backend {quoted(used)}; schedule the_task.using(backend={quoted(used)})"
    )


def questions(task: Any, func: Any, names_executor: bool, executor: Any) -> Iterator[str]:
    """Return a sentence, without its end, for each questionable thing about a Task as a job.

    :param task: what was declared, if it is a Task.
    :param names_executor: whether the declaration says where the job runs.
    """
    if is_task(task):
        if task.backend != DEFAULT and not hasattr(executor, "backend"):
            yield (
                f"the backend {quoted(task.backend)} of its Task has no effect, since its executor "
                "does not send runs to one; leave out executor= or the backend"
            )
    elif not names_executor and reference_of(func).endswith(SUFFIX):
        yield (
            "it runs in a thread of the scheduler, although its function is a Task; write "
            '@scheduled above @task(), or say executor="default"'
        )
