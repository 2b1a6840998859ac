"""The event loop of coroutine jobs: one for the life of the process.

HTTP clients, connection pools and background tasks belong to an event loop. So all coroutine jobs
of a process share one loop, as requests do in an ASGI server, and can keep such objects from run to
run. Each run still takes a worker of its executor. The worker waits for the coroutine, and does the
database work that it hands over (`sync_to_async`, Django's `a…` methods).
"""

import asyncio
import concurrent.futures
import logging
import os
import selectors
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import SyncToAsync, async_to_sync

from jobstore import forks
from jobstore.context import current
from jobstore.execution import leftovers

if TYPE_CHECKING:
    from jobstore.execution.run import ActiveRun

logger = logging.getLogger("jobstore.runs")

# Seconds without an answer after which the loop counts as blocked, and a new one takes its place.
BLOCKED_SECONDS = 5.0
# Seconds that cancelled coroutines get for their `finally` when the process ends.
CANCEL_SECONDS = 1.0
# Tasks that a run's note names.
MAX_NAMED_TASKS = 5

_lock = threading.Lock()
_loop: "_Loop | None" = None


def run(coroutine: Coroutine[Any, Any, Any], of: "ActiveRun") -> Any:
    """Run a job's coroutine in the shared loop, wait for it, and return its result.

    It raises what the coroutine raises. Tasks that the coroutine leaves continue; the run's note
    names them.
    """
    loop = _answering().loop
    # With these, asgiref sends coroutines to the existing loop instead of a new one.
    local = SyncToAsync.threadlocal
    local.main_event_loop, local.main_event_loop_pid, local.task_context = loop, os.getpid(), None
    try:
        return async_to_sync(_awaited)(coroutine, of)
    finally:
        local.main_event_loop = None


def stop() -> None:
    """Cancel the tasks that are left in the loop, and end it. Called at the end of the process."""
    global _loop
    with _lock:
        loop, _loop = _loop, None
    if loop is not None:
        loop.stop(CANCEL_SECONDS)


async def _awaited(coroutine: Coroutine[Any, Any, Any], of: "ActiveRun") -> Any:
    error: BaseException | None = None
    try:
        return await coroutine
    except BaseException as raised:
        error = raised
        raise
    finally:
        forks.leave_if_forked(of.pid, error)
        _note_tasks(of)


def _note_tasks(of: "ActiveRun") -> None:
    mine = asyncio.current_task()
    left = [task for task in _tasks.pop(of, ()) if task is not mine and not task.done()]
    if not left:
        return
    for task in left:  # which asyncio itself would forget
        _left.add(task)
        task.add_done_callback(_left.discard)
    names = ", ".join(task.get_name()[:100] for task in left[:MAX_NAMED_TASKS])
    of.say(
        f"Tasks were left in the event loop ({len(left)}: {names}); they continue, and how they "
        "end is not recorded."
    )


# Tasks by the run that made them, while it lasts; and tasks that have outlived their run.
_tasks: "weakref.WeakKeyDictionary[ActiveRun, weakref.WeakSet[asyncio.Task[Any]]]" = (
    weakref.WeakKeyDictionary()
)
_left: set[asyncio.Task[Any]] = set()


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    task = asyncio.Task(coroutine, loop=loop, **options)
    of = cast("ActiveRun | None", current.get())
    if of is not None and of.finished is None:
        _tasks.setdefault(of, weakref.WeakSet()).add(task)
    return task


def _answering() -> "_Loop":
    """Return the loop, or a new one if the one there is does not answer."""
    global _loop
    with _lock:
        if _loop is None or _loop.pid != os.getpid():
            _loop = _Loop()
        loop = _loop
    if loop.answers(BLOCKED_SECONDS):
        return loop
    logger.error(
        "The event loop of coroutine jobs has been blocked for %g s. A coroutine must not block:"
        " await, or use asyncio.to_thread. Further runs get a new loop. It is blocked here:\n%s",
        BLOCKED_SECONDS,
        loop.place(),
    )
    with _lock:
        if _loop is loop:
            _loop = _Loop()
        return _loop or _Loop()


class _Loop:
    """An event loop on a thread of its own, which no exception ends."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        selector = selectors.DefaultSelector()
        self.loop = asyncio.SelectorEventLoop(selector)
        self.loop.set_task_factory(_make_task)
        self.loop.set_default_executor(_Threads(thread_name_prefix="jobstore-coroutines"))
        if hasattr(selector, "fileno"):
            forks.guard(self, lambda _: [selector.fileno()])
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name="jobstore-coroutines", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._is_stopping:
            try:
                self.loop.run_forever()
            except BaseException as error:  # SystemExit of a task that nobody awaits
                text = "A task that a coroutine job left running raised %s; others continue."
                logger.error(text, type(error).__name__)
        self.loop.close()

    def answers(self, patience: float) -> bool:
        """Tell whether the loop takes a turn within `patience` seconds."""
        answered = threading.Event()
        self.loop.call_soon_threadsafe(answered.set)
        return answered.wait(patience)

    def place(self) -> str:
        """Return where its thread is, as the last lines of a traceback."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "".join(traceback.format_stack(frame, limit=5)) if frame else "(not known)"

    def stop(self, patience: float) -> None:
        """Cancel all tasks, give them time to end, and end the thread."""

        async def end() -> None:
            mine = asyncio.current_task()
            tasks = [task for task in asyncio.all_tasks() if task is not mine]
            for task in tasks:
                task.cancel("the scheduler ends")
            if tasks:
                await asyncio.wait(tasks, timeout=patience)
            self._is_stopping = True
            self.loop.stop()

        ending = asyncio.run_coroutine_threadsafe(end(), self.loop)
        concurrent.futures.wait([ending], timeout=patience + 0.5)
        self._thread.join(0.5)


class _Threads(concurrent.futures.ThreadPoolExecutor):
    """The threads of `asyncio.to_thread`, which keep no database connection between two calls."""

    def submit(
        self, function: Callable[..., Any], /, *args: Any, **options: Any
    ) -> "concurrent.futures.Future[Any]":
        return super().submit(_and_close, function, *args, **options)


def _and_close(function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    try:
        return function(*args, **options)
    finally:
        leftovers.close_connections()
