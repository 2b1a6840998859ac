"""A claimed job on its way through APScheduler: due when the claim says, timed, tidied up after."""

import contextvars
import dataclasses
import datetime as dt
import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.job import Job
from apscheduler.triggers.base import BaseTrigger
from apscheduler.util import iscoroutinefunction_partial
from asgiref.sync import async_to_sync, sync_to_async
from django.db import close_old_connections

from . import recorder
from .util import release_connections


@dataclasses.dataclass(eq=False)
class Run:
    """One run of a job in this process, and what is known of it so far.

    `execution_id` is its row in the history, `run_time` its scheduled time in UTC, `epoch` that of
    the lease it was claimed with: all that a job needs to recognise its own repetition.
    """

    execution_id: int
    job_id: str
    run_time: dt.datetime
    epoch: int | None = None
    # What it calls and where, as the job's row names them.
    func: str = ""
    executor: str = ""
    submitted: bool = False
    started_at: dt.datetime | None = None
    began: float = 0.0
    finished: dt.datetime | None = None
    duration: float | None = None
    error: dict[str, str] = dataclasses.field(default_factory=dict)
    # All runs that were handed to the executor at once, this one included.
    together: list["Run"] = dataclasses.field(default_factory=list, repr=False)

    def begin(self, now: dt.datetime) -> None:
        """Note the start, at the database's time `now`.

        That is known to within a round trip, by which a run must not seem to start too early.
        """
        self.started_at, self.began = max(now, self.run_time), time.perf_counter()

    def end(self, now: dt.datetime) -> None:
        """Note the end, at the database's time `now`."""
        self.duration = time.perf_counter() - self.began
        self.finished = max(now, self.started_at or now)


_current: contextvars.ContextVar[Run | None] = contextvars.ContextVar("current_run", default=None)


def current_run() -> Run | None:
    """Return the run whose function is being called; None outside one, and in a process pool."""
    return _current.get()


class Decided(BaseTrigger):  # type: ignore[misc]
    """Keeps APScheduler from deciding anew what the claim has written already.

    It always gives a time, even for the last run: APScheduler then updates the job, which the
    store ignores for a claimed one, instead of removing it, which fails during a shutdown.
    """

    __slots__ = ("following", "text")

    def __init__(self, following: dt.datetime, text: str) -> None:
        self.following = following
        self.text = text

    def get_next_fire_time(
        self, previous_fire_time: dt.datetime | None, now: dt.datetime
    ) -> dt.datetime:
        """Return the decided time, whatever the question."""
        return self.following

    def __str__(self) -> str:
        return self.text


class ClaimedJob(Job):  # type: ignore[misc]
    """A job whose due runs are claimed: what APScheduler does next must not decide anew."""

    @classmethod
    def of(
        cls,
        job: Job,
        runs: list[Run],
        following: dt.datetime,
        executor: BaseExecutor,
        clock: Callable[[], dt.datetime],
    ) -> "ClaimedJob":
        """Return `job` with these runs due now; `following` is what APScheduler gets to see."""
        claimed = cls.__new__(cls)
        for name in Job.__slots__:
            if name != "__weakref__":
                setattr(claimed, name, getattr(job, name))
        claimed.trigger = Decided(following, str(job.trigger))
        # Whether a run is too late was decided by the claim; waiting for a worker is no misfire.
        claimed.misfire_grace_time = None
        claimed.coalesce = False
        claimed.func = _tracked(job.func, runs, executor, clock)
        claimed._run_times = [run.run_time for run in runs]
        return claimed

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to a process pool as a plain job: a child has not set Django up."""
        state: Any = self.__getstate__()
        return object.__new__, (Job,), {**state, "trigger": str(self.trigger)}

    def _get_run_times(self, now: dt.datetime) -> list[dt.datetime]:
        return list(self._run_times)


def _tracked(
    func: Callable[..., Any],
    runs: list[Run],
    executor: BaseExecutor,
    clock: Callable[[], dt.datetime],
) -> Callable[..., Any]:
    """Return `func` such that each call is timed and leaves no connection behind.

    Executors call it once for each run, in order. (A process pool does not: it looks the function
    up by its name in the child, and only the event with the result comes back.)
    """
    waiting = iter(runs)
    is_coroutine = iscoroutinefunction_partial(func)
    if is_coroutine and hasattr(executor, "_eventloop"):
        return functools.partial(_await, func, waiting, clock)
    return functools.partial(_call, func, waiting, clock)


class _Watch:
    """Times one call, and notes how it failed."""

    def __init__(self, waiting: Iterator[Run], clock: Callable[[], dt.datetime]) -> None:
        self._run = next(waiting)
        self._clock = clock

    def __enter__(self) -> None:
        self._token = _current.set(self._run)
        self._run.begin(self._clock())

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._run.error = recorder.describe(error)
        self._run.end(self._clock())
        _current.reset(self._token)


def _call(
    func: Callable[..., Any],
    waiting: Iterator[Run],
    clock: Callable[[], dt.datetime],
    *args: Any,
    **kwargs: Any,
) -> Any:
    try:
        with _Watch(waiting, clock):
            result = func(*args, **kwargs)
            # A thread has no event loop of its own: a coroutine gets one for as long as it runs.
            # What it calls by sync_to_async, the ORM above all, comes back to this thread.
            return async_to_sync(_awaited)(result) if inspect.iscoroutine(result) else result
    finally:
        release_connections()


async def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await coroutine


async def _await(
    func: Callable[..., Any],
    waiting: Iterator[Run],
    clock: Callable[[], dt.datetime],
    *args: Any,
    **kwargs: Any,
) -> Any:
    # All coroutines' calls of the ORM share one thread, and its connection with the application:
    # it is not closed after each job, but one that an outage has broken must not stay.
    await sync_to_async(close_old_connections)()
    with _Watch(waiting, clock):
        return await func(*args, **kwargs)
