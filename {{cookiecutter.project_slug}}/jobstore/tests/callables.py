"""Functions that the tests use as jobs; a stored job must find its function by name."""

import logging
import os
import threading
import time

calls: list[str] = []
release = threading.Event()


def note(text: str = "ran") -> str:
    """Remember the call."""
    calls.append(text)
    return text


def note_slowly() -> None:
    """Note the call after a while."""
    time.sleep(0.05)
    note()


def fail(message: str = "broken") -> None:
    """Raise."""
    calls.append("failed")
    raise ValueError(message)


def block() -> None:
    """Run until the test lets go."""
    calls.append("blocked")
    release.wait(20)


def sleep(seconds: float) -> None:
    """Take some time."""
    calls.append("slept")
    time.sleep(seconds)


async def note_later() -> None:
    """Remember the call, from a coroutine."""
    calls.append("awaited")


async def count_later() -> int:
    """Count the jobs, from a coroutine."""
    from jobstore.models import DjangoJob

    return await DjangoJob.all_objects.acount()


def name_run() -> str:
    """Tell which run this is."""
    from jobstore.runs import current_run

    run = current_run()
    assert run is not None
    return f"{run.execution_id} {run.job_id} {run.run_time:%s.%f} {run.epoch}"


async def name_run_later() -> str:
    """Tell which run this is, from a coroutine."""
    return name_run()


class Greeter:
    """Has a method that can be a job."""

    def __init__(self, name: str) -> None:
        self.name = name

    def greet(self, greeting: str) -> None:
        """Remember the greeting."""
        calls.append(f"{greeting} {self.name}")


def query() -> None:
    """Use the database."""
    from jobstore.models import DjangoJob

    DjangoJob.objects.count()


def return_what_cannot_travel() -> threading.Event:
    """Return something that no process can send to another."""
    return release


def die() -> None:
    """End the process, as the kernel does when memory runs out."""
    os._exit(9)


class Unshowable:
    """Has no text."""

    def __repr__(self) -> str:
        raise ValueError("no text")


def return_unshowable() -> Unshowable:
    """Return something whose text cannot be had."""
    return Unshowable()


def sleep_or_fail_to_return(mark: str) -> object:
    """Take long the first time; return at once the next, what no process can send to another."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return release
    time.sleep(4)
    return "the first"


def log(text: str) -> None:
    """Write a line into the log."""
    logging.getLogger("jobs").info(text)


async def log_later(text: str) -> None:
    """Write a line into the log, from a coroutine."""
    log(text)


def work_in_a_transaction() -> None:
    """Tell how far it is while a change of its own is not committed."""
    from django.db import transaction

    from jobstore.models import DjangoJob
    from jobstore.runs import progress

    with transaction.atomic():
        DjangoJob.all_objects.update(name="changed")
        progress(1, 4, "half of the half")
        calls.append("half")
        release.wait(20)
    progress(3, 4, "done")


async def work_later() -> None:
    """Tell how far it is, from a coroutine."""
    from jobstore.runs import progress

    progress(1, 2)
