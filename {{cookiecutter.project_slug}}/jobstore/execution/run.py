"""A claimed job on its way through APScheduler: run when the claim says, timed, tidied up after."""

import asyncio
import contextvars
import dataclasses
import datetime as dt
import functools
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.job import Job
from apscheduler.triggers.base import BaseTrigger
from apscheduler.util import iscoroutinefunction_partial
from asgiref.sync import sync_to_async
from django.db import close_old_connections

from jobstore import forks
from jobstore.context import current
from jobstore.execution import coroutines, leftovers
from jobstore.history import bounded, tracebacks
from jobstore.history.progress import Progress
from jobstore.logs import mark

logger = logging.getLogger("jobstore.runs")

# Characters of a run's note that are kept.
MAX_NOTE = 2_000


@dataclasses.dataclass(eq=False)
class ActiveRun:
    """One run of a job in this process, and what is known of it so far.

    Jobs see of it what `CurrentRun` has.
    """

    execution_id: int
    job_id: str
    run_time: dt.datetime
    epoch: int | None = None
    # The function and the executor, as the job's row names them.
    func: str = ""
    executor: str = ""
    submitted: bool = False
    started_at: dt.datetime | None = None
    began: float = 0.0
    finished: dt.datetime | None = None
    duration: float | None = None
    # Its result or exception as text; None if its function was called in another process.
    details: dict[str, str] | None = None
    # A sentence for each thing that it left behind.
    notes: list[str] = dataclasses.field(default_factory=list)
    # How far it has come, and who writes that; without one, only it remembers.
    latest: Progress | None = None
    reporter: Callable[[int, Progress], None] | None = None
    # Whether progress that makes no sense is raised, as in tests, and not told once in the log.
    is_strict: bool = False
    is_refusal_told: bool = False
    pid: int = dataclasses.field(default_factory=os.getpid)
    _once: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    def take(self) -> bool:
        """Return True to the first caller only: it carries the run out, or gives it up."""
        return self._once.acquire(blocking=False)

    def progress(self, done: object, total: object = None, text: object = "") -> None:
        """Tell how far the run has come, as `CurrentRun.progress` says."""
        if self.finished is not None:
            return  # what it left running goes on
        try:
            if os.getpid() != self.pid:
                raise ValueError("it is told in a child process; tell it in the job's own.")
            self.latest = Progress.of(done, total, text)
        except ValueError as error:
            if self.is_strict:
                raise
            if not self.is_refusal_told:
                self.is_refusal_told = True
                logger.warning("The progress of job %r is not shown: %s", self.job_id, error)
            return
        if self.reporter is not None:
            self.reporter(self.execution_id, self.latest)

    def say(self, *sentences: str) -> None:
        """Add to the run's note."""
        self.notes += sentences

    @property
    def note(self) -> str:
        """What it left behind, and what became of that."""
        return bounded.clean("\n".join(self.notes), MAX_NOTE)

    @property
    def failed(self) -> bool:
        """Whether its function was called in this process, and raised."""
        return self.details is not None and "exception" in self.details

    def begin(self, now: dt.datetime) -> None:
        """Note the start, at the database's time `now`.

        `now` may be behind by a round trip; a run must not seem to start before its time.
        """
        self.started_at, self.began = max(now, self.run_time), time.perf_counter()

    def end(self, now: dt.datetime) -> None:
        """Note the end, at the database's time `now`."""
        self.duration = time.perf_counter() - self.began
        self.finished = max(now, self.started_at or now)


class GivenUp(Exception):
    """The run was given up before its function was called; its row says why."""


class Decided(BaseTrigger):  # type: ignore[misc]
    """Keeps APScheduler from computing again what the claim has already written.

    It always gives a time, even for the last run. APScheduler then updates the job, which the store
    ignores for a claimed job. Otherwise it would remove the job, which fails during a shutdown.
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


class ClaimedId(str):
    """The id of a claimed job, which also knows the runs that were handed over together.

    An executor that fails reports only the id, and a job may be running several times.
    """

    runs: list[ActiveRun]


def runs_of(job_id: str) -> list[ActiveRun]:
    """Return the runs that were handed to an executor together, under this id."""
    return job_id.runs if isinstance(job_id, ClaimedId) else []


class ClaimedJob(Job):  # type: ignore[misc]
    """A job whose due runs are claimed, so that APScheduler does not decide about them again."""

    @classmethod
    def of(
        cls,
        job: Job,
        runs: list[ActiveRun],
        following: dt.datetime,
        executor: BaseExecutor,
        clock: Callable[[], dt.datetime],
    ) -> "ClaimedJob":
        """Return `job` with these runs due now; APScheduler sees `following` as its next time."""
        claimed = cls.__new__(cls)
        for name in Job.__slots__:
            if name != "__weakref__":
                setattr(claimed, name, getattr(job, name))
        claimed.id = ClaimedId(job.id)
        claimed.id.runs = runs
        claimed.trigger = Decided(following, str(job.trigger))
        # Whether a run is too late was decided by the claim; waiting for a worker is no misfire.
        claimed.misfire_grace_time = None
        claimed.coalesce = False
        claimed.func = _tracked(job.func, runs, executor, clock)
        claimed._run_times = [run.run_time for run in runs]
        return claimed

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a plain job for a process pool, whose children have not set up Django."""
        state: Any = self.__getstate__()
        plain = {"id": str.__str__(self.id), "trigger": str(self.trigger)}
        return object.__new__, (Job,), {**state, **plain}

    def _get_run_times(self, now: dt.datetime) -> list[dt.datetime]:
        return list(self._run_times)


def _tracked(
    func: Callable[..., Any],
    runs: list[ActiveRun],
    executor: BaseExecutor,
    clock: Callable[[], dt.datetime],
) -> Callable[..., Any]:
    """Return `func` so that each call is timed and leaves nothing behind for the next.

    Executors call it once for each run, in order. (A process pool does not: it looks the function
    up by its name in the child, and only the event with the result comes back.)
    """
    waiting = iter(runs)
    is_coroutine = iscoroutinefunction_partial(func)
    if is_coroutine and hasattr(executor, "_eventloop"):
        return functools.partial(_await, func, waiting, clock)
    return functools.partial(_call, func, waiting, clock)


def _next(waiting: Iterator[ActiveRun]) -> ActiveRun:
    run = next(waiting)
    if not run.take():
        raise GivenUp(f"Run {run.execution_id} of job {run.job_id!r} was given up.")
    return run


def _call(
    func: Callable[..., Any],
    waiting: Iterator[ActiveRun],
    clock: Callable[[], dt.datetime],
    *args: Any,
    **kwargs: Any,
) -> Any:
    run = _next(waiting)
    # Whatever the run sets in this context, such as Django's language, ends with it.
    return contextvars.copy_context().run(_carry_out, run, clock, func, args, kwargs)


def _carry_out(
    run: ActiveRun,
    clock: Callable[[], dt.datetime],
    func: Callable[..., Any],
    args: Any,
    kwargs: Any,
) -> Any:
    current.set(run)
    before, of_caller = leftovers.look(), leftovers.transactions()
    run.begin(clock())
    try:
        result = func(*args, **kwargs)
        if inspect.iscoroutine(result):
            result = coroutines.run(result, run)
        forks.leave_if_forked(run.pid, None)
        run.say(*leftovers.not_begun(result))
        run.details = bounded.of_result(result)
        return result
    except BaseException as error:
        forks.leave_if_forked(run.pid, error)
        run.details = tracebacks.describe(error, __file__)
        # APScheduler and listeners log all of the exception that they get.
        raised = tracebacks.stand_in(error, run.details)
        mark(raised, run)
        if raised is error:
            raise
        raise raised from None
    finally:
        run.end(clock())
        run.say(*leftovers.changes(before), *leftovers.close_connections(but=of_caller))


async def _await(
    func: Callable[..., Any],
    waiting: Iterator[ActiveRun],
    clock: Callable[[], dt.datetime],
    *args: Any,
    **kwargs: Any,
) -> Any:
    run = _next(waiting)
    # All coroutines use the ORM on one thread, whose connection the application shares. It is not
    # closed after each job, but a connection that an outage has broken must not stay.
    await sync_to_async(close_old_connections)()
    try:
        # A task of its own has a context of its own.
        task = asyncio.create_task(_carry_out_here(run, clock, func, args, kwargs))
        result, error = await task
    finally:
        run.say(*await sync_to_async(leftovers.close_what_is_open)())
    if error is not None:
        raise error
    return result


async def _carry_out_here(
    run: ActiveRun,
    clock: Callable[[], dt.datetime],
    func: Callable[..., Any],
    args: Any,
    kwargs: Any,
) -> tuple[Any, BaseException | None]:
    """Carry a run out in the application's own event loop, which making texts must not block.

    Returns the result and the exception: if a task raised SystemExit, the loop would end.
    """
    current.set(run)
    before = leftovers.look()
    run.begin(clock())
    try:
        result = await func(*args, **kwargs)
        forks.leave_if_forked(run.pid, None)
        run.say(*leftovers.not_begun(result))
        if bounded.is_plain(result):
            run.details = bounded.of_result(result)
        else:
            run.details = await _beside(bounded.of_result, result)
        return result, None
    except BaseException as error:
        forks.leave_if_forked(run.pid, error)
        run.details = await _beside(tracebacks.describe, error, __file__)
        raised = tracebacks.stand_in(error, run.details)
        mark(raised, run)
        return None, raised
    finally:
        run.end(clock())
        run.say(*leftovers.changes(before))


async def _beside(make: Callable[..., dict[str, str]], *args: Any) -> dict[str, str]:
    """Make texts on another thread, since making them may block or use the database."""

    def work() -> dict[str, str]:
        try:
            return make(*args)
        finally:
            leftovers.close_connections()

    return await asyncio.to_thread(work)
