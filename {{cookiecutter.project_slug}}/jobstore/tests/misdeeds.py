"""Jobs that do what no job should: leave things behind, return and raise what does harm."""

import asyncio
import contextlib
import contextvars
import gc
import locale
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NoReturn

from jobstore.tests.callables import calls, release

HUGE = 100_000_000

seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


# --- Results and exceptions ----------------------------------------------------------------------


class Hostile:
    """Its text does what it is told to do."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return _do(self.kind)


class HostileError(Exception):
    """The same, for an exception."""

    def __str__(self) -> str:
        return _do(self.args[0])


class HostileText(str):
    """A text with methods of its own."""

    __slots__ = ()

    def __len__(self) -> NoReturn:
        raise SystemExit("len")

    def __getitem__(self, key: Any) -> NoReturn:
        raise SystemExit("getitem")

    def __str__(self) -> NoReturn:
        raise SystemExit("str")

    def __repr__(self) -> NoReturn:
        raise SystemExit("repr")

    def encode(self, *args: Any) -> NoReturn:
        raise SystemExit("encode")

    def replace(self, *args: Any) -> NoReturn:
        raise SystemExit("replace")


def _do(kind: str) -> str:
    if kind == "query":
        from jobstore.models import DjangoJob

        return f"{DjangoJob.objects.count()} jobs"
    if kind == "block":
        calls.append("text")
        release.wait(20)
        return "late"
    if kind == "number":
        return 5  # type: ignore[return-value]
    if kind == "huge":
        return "x" * HUGE
    if kind == "recursion":
        return _do(kind)
    errors = (MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit, ValueError)
    raise {error.__name__: error for error in errors}[kind]("no text")


def return_hostile(kind: str) -> Any:
    """Return what has a hostile text."""
    return HostileText("fair words") if kind == "text" else Hostile(kind)


def raise_hostile(kind: str) -> None:
    """Raise what has a hostile text."""
    raise HostileError(kind)


async def return_hostile_later(kind: str) -> Any:
    """Return what has a hostile text, from a coroutine."""
    return return_hostile(kind)


async def raise_hostile_later(kind: str) -> None:
    """Raise what has a hostile text, from a coroutine."""
    raise_hostile(kind)


def return_jobs() -> Any:
    """Return a query that has not been made yet."""
    from jobstore.models import DjangoJob

    return DjangoJob.objects.all()


# --- What is left in the worker ------------------------------------------------------------------


def leave(what: str) -> None:
    """Leave something behind in the worker."""
    from django.db import connection, transaction
    from django.utils import timezone, translation

    if what in ("atomic", "closed"):
        transaction.atomic().__enter__()
        _rename("left open")
    if what == "closed":
        connection.close()
    if what == "autocommit":
        transaction.set_autocommit(False)
        _rename("left open")
    if what == "wrapper":
        connection.execute_wrappers.append(_refuse)
    if what == "language":
        translation.activate("cy")
        timezone.activate("Asia/Tokyo")
    if what == "variable":
        seen.set("something")


def leave_in_session(what: str) -> None:
    """Leave something behind in the database's session."""
    from django.db import connection

    statements = {
        "begin": "BEGIN",
        "setting": SETTINGS[connection.vendor][0],
        "table": "CREATE TEMPORARY TABLE left_behind (id INTEGER)",
        "lock": LOCKS[connection.vendor],
        "zone": ZONES[connection.vendor],
    }
    with connection.cursor() as cursor:
        cursor.execute(statements[what])
    if what == "begin":
        _rename("left open")


def _refuse(*args: Any) -> NoReturn:
    raise RuntimeError("a wrapper that was left behind")


def _rename(name: str) -> None:
    from jobstore.models import DjangoJob

    DjangoJob.all_objects.filter(pk="witness").update(name=name)


ZONES = {
    "postgresql": "SET TIME ZONE 'Asia/Tokyo'",
    "mysql": "SET time_zone = '+09:00'",
    "sqlite": "SELECT 0",
}
SETTINGS = {
    "postgresql": ("SET statement_timeout = 12345", "SHOW statement_timeout"),
    "mysql": ("SET SESSION max_join_size = 12345", "SELECT @@max_join_size"),
    "sqlite": ("PRAGMA cache_size = 12345", "PRAGMA cache_size"),
}
LOCKS = {
    "postgresql": "SELECT pg_advisory_lock(4711)",
    "mysql": "SELECT GET_LOCK('left behind', 5)",
    "sqlite": "SELECT 1",
}


def look() -> str:
    """Return what this job finds in its worker."""
    from django.db import connection
    from django.utils import timezone, translation

    with connection.cursor() as cursor:
        cursor.execute(SETTINGS[connection.vendor][1])
        setting = cursor.fetchone()[0]
        try:
            cursor.execute("SELECT * FROM left_behind")
            table = "table"
        except Exception:
            table = "no table"
    found = (
        connection.in_atomic_block,
        connection.get_autocommit(),
        "12345" in str(setting),
        table,
        translation.get_language(),
        timezone.get_current_timezone_name(),
        seen.get(),
    )
    return repr(found)


def change_process(folder: str) -> None:
    """Change what belongs to the whole process."""
    os.chdir(folder)
    socket.setdefaulttimeout(77.0)
    logging.disable(logging.DEBUG)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")


# --- Threads and coroutines ----------------------------------------------------------------------

kept: list[Any] = []


async def use_what_is_kept() -> str:
    """Use what the first run made, as clients are used: it belongs to the loop of that run."""
    if not kept:
        kept.append(asyncio.get_running_loop().create_future())
    waiting = kept[0]
    asyncio.get_running_loop().call_later(0.05, lambda: waiting.done() or waiting.set_result("ok"))
    return str(await waiting)


async def leave_task(seconds: float = 0.5) -> None:
    """Leave a task behind that ends later."""

    async def later() -> None:
        await asyncio.sleep(seconds)
        calls.append("task")

    asyncio.create_task(later(), name="tidy up")  # noqa: RUF006 - left behind


async def leave_exit() -> None:
    """Leave a task behind that raises what ends programs."""

    async def later() -> None:
        raise SystemExit("from a task")

    asyncio.create_task(later())  # noqa: RUF006 - left behind
    await asyncio.sleep(0.1)


async def block_loop(seconds: float) -> None:
    """Do what no coroutine should."""
    time.sleep(seconds)


async def count_in_threads() -> str:
    """Use the database on every kind of thread that coroutines have."""
    from asgiref.sync import sync_to_async

    from jobstore.models import DjangoJob

    count = DjangoJob.all_objects.count
    numbers = [
        await DjangoJob.all_objects.acount(),
        await sync_to_async(count)(),
        await sync_to_async(count, thread_sensitive=False)(),
        await asyncio.to_thread(count),
    ]
    return str(numbers)


def forget_pool() -> None:
    """Leave a pool behind whose thread is at work."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1, thread_name_prefix="forgotten")
    pool.submit(time.sleep, 60)


def forget_process() -> None:
    """Leave a child process behind that is at work."""
    import multiprocessing

    multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)).start()


def forget_thread() -> None:
    """Leave a thread behind."""
    threading.Thread(target=time.sleep, args=(60,), name="forgotten", daemon=False).start()


# --- Children ------------------------------------------------------------------------------------


def use_pool() -> str:
    """Work with a pool of processes, and end it."""
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        return str(sum(pool.map(abs, range(10))))


def give_up_pool() -> str:
    """Leave a pool in the middle of its work, as after a timeout."""
    import multiprocessing

    began = time.monotonic()
    give_up = contextlib.suppress(multiprocessing.TimeoutError)
    with multiprocessing.get_context("fork").Pool(2) as pool, give_up:
        pool.map_async(time.sleep, [30, 30]).get(timeout=0.5)
    return f"ended after {time.monotonic() - began:.0f} s"


def terminate_process() -> str:
    """End a child by SIGTERM."""
    import multiprocessing

    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
    child.start()
    child.terminate()
    child.join(5)
    code = child.exitcode
    child.kill()
    return f"exit code {code}"


def fork_and_return(how: str) -> str:
    """Fork, and let both sides return, or raise."""
    from jobstore.models import DjangoJob

    DjangoJob.all_objects.count()  # with a connection that is open
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        DjangoJob.all_objects.count()  # which still works
        return f"parent, child ended with {os.waitstatus_to_exitcode(status)}"
    if how == "raise":
        raise ValueError("in the child")
    if how == "exit":
        sys.exit(7)
    if how == "query":
        DjangoJob.all_objects.count()
    if how == "collect":
        gc.collect()  # what belonged to threads that do not exist here
    return "child"


async def fork_and_return_later() -> str:
    """The same in a coroutine."""
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        return f"parent, child ended with {os.waitstatus_to_exitcode(status)}"
    return "child"


def leave_child(pid_file: str) -> None:
    """Fork a child that lives on, and write its process id to a file."""
    if child := os.fork():
        Path(pid_file).write_text(str(child))
        return
    time.sleep(60)
    os._exit(0)


def leave_program(pid_file: str) -> None:
    """Start a program that lives on, without closing what is open here."""
    import shlex

    os.system(f"sleep 60 & echo $! > {shlex.quote(pid_file)}")  # noqa: S605 - quoted


def leave_child_and_wait(pid_file: str) -> None:
    """The same, and the run goes on."""
    leave_child(pid_file)
    time.sleep(60)


def fork_in_children() -> str:
    """Use the database in children of a pool, as many do."""
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        return str(pool.map(_count, range(4)))


def _count(_: int) -> int:
    from jobstore.models import DjangoJob

    return DjangoJob.all_objects.filter(pk="nobody").count()


def return_generator() -> Iterator[int]:
    """Return work that nobody does."""
    return (number for number in range(3))


async def return_async_generator() -> AsyncIterator[int]:
    """Return work that nobody does."""

    async def numbers() -> AsyncIterator[int]:
        yield 1

    return numbers()
