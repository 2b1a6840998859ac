"""A process that carries out queued runs: what happens when a message arrives.

It is registered and gives signs of life as schedulers do, so the holder of the lease finds its runs
if it dies. Statements of its own are made on one thread with one connection, which lasts; the
connections that jobs use are closed after each run.
"""

import concurrent.futures
import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from apscheduler.job import Job
from django.db import DatabaseError, InterfaceError, router

from jobstore import conf
from jobstore.database.timeouts import set_session_timeouts
from jobstore.execution import deadlines
from jobstore.execution.run import ActiveRun, carry_out
from jobstore.executors import endings, queued_rows
from jobstore.executors.queued_rows import QueuedRun
from jobstore.history.recorder import Recorder, Result, write
from jobstore.leadership.clock import DatabaseClock
from jobstore.leadership.membership import HEARTBEAT_SECONDS, Membership, Role
from jobstore.leadership.retries import Retries
from jobstore.models import DjangoJob, DjangoJobExecution, database_now
from jobstore.storage import run_arguments, serializer
from jobstore.texts import one_line
from jobstore.util import (
    get_django_internal_datetime,
    release_connections,
    renew_idle_connection,
)

logger = logging.getLogger("jobstore.runs")

Run = DjangoJobExecution
R = TypeVar("R")
Over = tuple[type[BaseException], ...]

# Seconds that a worker keeps a result for a database that is away, before it gives the run up.
PATIENCE_SECONDS = 60.0
# How the note begins of a run that a worker sent back, since it could not restore the job.
SENT_BACK = "Sent back by"
PARTING = "The worker process that ran this ended before the run did."


class RemoteWorker(Membership):
    """A process that carries out queued runs, on any number of its threads."""

    def __init__(self, using: str) -> None:
        super().__init__(using)
        self.role = Role.WORKER
        self.clock = DatabaseClock()
        self._retries = Retries(self.id, using)
        self._recorder = Recorder(self.id, using, self._retries)
        self._database = concurrent.futures.ThreadPoolExecutor(1, "jobstore-worker")
        self._ending = threading.Event()
        # Seconds between two signs of life.
        self._pause = min(HEARTBEAT_SECONDS, conf.get("SCHEDULER_DEAD_SECONDS") / 3)
        # Runs that this process has taken and knows of, until their results are written. For the
        # thread that has the connection.
        self._known: set[int] = set()
        # When the last sign of life was given, on this machine's monotonic clock.
        self._beat_at = 0.0
        self._beats = threading.Thread(target=self._beat, name="jobstore-heartbeat", daemon=True)

    # --- Life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Register this process, and give signs of life from now on.

        :raises DatabaseError: if the database does not answer.
        """
        self._ask(self._heartbeat)
        self._beats.start()

    def stop(self) -> None:
        """Write what waits, and sign off: runs that have not ended are lost."""
        self._ending.set()
        self._recorder.stop(5.0)
        self._parting = PARTING
        self._ask(self._sign_off)
        self._database.submit(release_connections)
        self._database.shutdown()

    def _beat(self) -> None:
        while not self._ending.wait(self._pause):
            try:
                self._ask(self._heartbeat)
            except Exception as error:
                logger.warning("This worker cannot give a sign of life: %s", one_line(error))

    def _heartbeat(self) -> None:
        if not self._registered:
            self._register()
        asked_at = time.monotonic()
        now = database_now(self.using)
        self.clock.read(now, asked_at, time.monotonic())
        self._write(role=Role.WORKER)
        self._beat_at = time.monotonic()
        self._put_back()

    def _ask(self, work: Callable[..., R], *args: Any) -> R:
        """Do something with the database on the thread that has the connection for it."""

        def asked() -> R:
            try:
                renew_idle_connection(self.using)
                set_session_timeouts(self.using)
                return work(*args)
            except (DatabaseError, InterfaceError):
                release_connections()  # it may be broken, and Django would keep it
                raise

        return self._database.submit(asked).result()

    # --- Runs -----------------------------------------------------------------------------------

    def carry_out(self, run_id: int, attempt: int, over: Over = ()) -> str:
        """Carry out a queued run; return how it ended, or why there is nothing to do.

        Nothing that the job does is raised: how it ended is in its row.

        :param over: what the engine raises in a run whose time is over.
        :raises DatabaseError: if the database is away before the run has begun; the run stays
            queued.
        """
        found = self._ask(self._taken, run_id, attempt)
        if isinstance(found, str):
            logger.debug("Run %d: %s", run_id, found)
            return found
        row, job = found
        run = ActiveRun(
            row.pk,
            job.id,
            row.run_time,
            row.epoch,
            func=job.func_ref or "",
            executor=job.executor,
            attempt=attempt,
            reporter=self._recorder.report,
        )
        run.take()
        status = self._call(run, job, row.timeout, over)
        self._record(
            Result(
                run.execution_id,
                status,
                finished=get_django_internal_datetime(run.finished or self.clock.now()),
                started_at=get_django_internal_datetime(run.started_at),
                duration=run.duration,
                note=run.note,
                **cast(dict[str, Any], run.details or {}),
            )
        )
        return status

    def _taken(self, run_id: int, attempt: int) -> str | tuple[QueuedRun, Job]:
        """Take a run if it still waits for this attempt; return it and its job, or why not."""
        row = queued_rows.read(run_id, self.using)
        if row is None:
            return "There is no such run any more."
        if row.status != Run.QUEUED or row.attempt != attempt:
            return f"It does not wait for a worker: {row.status}, attempt {row.attempt}."
        try:
            if row.job is None:
                raise serializer.UnreadableState("The job's row is gone.")
            job = serializer.restore(row.job)
            if row.has_arguments:
                run_arguments.give(job, Run.objects.using(self.using).get(pk=run_id))
        except serializer.UnreadableState as error:
            return self._send_back(row, error)
        # Its row was deleted, or it has been silent, perhaps frozen, and may count as dead.
        if not self._registered or time.monotonic() - self._beat_at > 2 * self._pause:
            self._heartbeat()
        if not queued_rows.take(row, self.id, self.clock.now(), self.using):
            return "Another worker was faster, or it was cancelled."
        self._known.add(run_id)
        return row, job

    def _put_back(self) -> None:
        """Queue runs again that were taken although the reply was lost. They have not begun.

        Otherwise nobody would carry them out, for this process lives. It looks each time: a server
        may carry out what was sent over a connection long after that has broken.
        """
        mine = Run.objects.using(self.using).filter(instance=self.id, status=Run.RUNNING)
        number = mine.exclude(pk__in=self._known).update(
            status=Run.QUEUED, started_at=None, published_at=None
        )
        if number:
            logger.warning("%d runs are queued again: the reply to taking them was lost.", number)

    def _send_back(self, row: QueuedRun, error: Exception) -> str:
        """Leave a run to another worker, with other code, once; the second time it has failed."""
        why = one_line(error)
        queued = Run.objects.using(self.using).filter(
            pk=row.pk, status=Run.QUEUED, attempt=row.attempt
        )
        if row.note.startswith(f"{SENT_BACK} worker {self.host}:") and not queued.filter(
            publications__gt=1
        ):
            return row.note  # the same message once more, here
        if row.note.startswith(SENT_BACK):
            logger.error("Run %d of job %r cannot be restored here: %s", row.pk, row.job_id, why)
            queued.update(status=Run.ERROR, finished=database_now(self.using), exception=why)
            return Run.ERROR
        note = f"{SENT_BACK} worker {self}, which could not restore the job: {why}"
        logger.error("Run %d of job %r is sent back: %s", row.pk, row.job_id, why)
        queued.update(note=note)
        return note

    def _call(self, run: ActiveRun, job: Job, timeout: float | None, over: Over) -> str:
        logger.info("Job %r begins (run %d, attempt %d).", job.id, run.execution_id, run.attempt)
        watched = None if timeout is None else deadlines.after(timeout, lambda: _is_over(run))
        try:
            contextvars.copy_context().run(
                carry_out, run, self.clock.now, job.func, job.args, job.kwargs
            )
        except BaseException as error:  # SystemExit would end the worker
            logger.error("Job %r failed (run %d).", job.id, run.execution_id, exc_info=error)
            if timeout is None or not (isinstance(error, over) or _took(run) >= timeout):
                return Run.ERROR
            run.details = (run.details or {}) | {"exception": endings.too_long(timeout)}
            return Run.TIMED_OUT
        finally:
            if watched is not None:
                watched.cancel()
        logger.info("Job %r was executed (run %d).", job.id, run.execution_id)
        return Run.SUCCESS

    def _record(self, result: Result) -> None:
        """Write a result before the engine is told that its task is done."""
        try:
            self._ask(self._write_result, result)
        except (ValueError, TypeError, DatabaseError, InterfaceError):
            # The recorder tries again, and writes one that cannot be stored without its texts.
            self._recorder.put(result)
            if not self._recorder.flush(PATIENCE_SECONDS):
                logger.error("The result of run %d is not written yet.", result.execution_id)
            else:
                self._database.submit(self._known.discard, result.execution_id)

    def _write_result(self, result: Result) -> None:
        write([result], self.id, self.using, self._retries)
        self._known.discard(result.execution_id)

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


def _took(run: ActiveRun) -> float:
    return run.duration or 0.0


def _is_over(run: ActiveRun) -> None:
    """Let the function know that its time is over; the holder of the lease has it ended."""
    run.stop_reason = run.stop_reason or "Its timeout is over."


_lock = threading.Lock()
_workers: dict[int, RemoteWorker] = {}


def carry_out_queued(run_id: int, attempt: int, over: Over = ()) -> str:
    """Carry out a queued run in this process, as `RemoteWorker.carry_out` does."""
    return this_worker().carry_out(run_id, attempt, over)


def this_worker() -> RemoteWorker:
    """Return this process as a worker, which it becomes with the first call."""
    with _lock:
        pid = os.getpid()  # a fork must not take itself for its parent
        if pid not in _workers:
            worker = RemoteWorker(router.db_for_write(DjangoJob))
            worker.start()
            _workers.clear()
            _workers[pid] = worker
        return _workers[pid]


def leave() -> None:
    """Sign off, if this process has been a worker."""
    with _lock:
        worker = _workers.pop(os.getpid(), None)
    if worker is not None:
        worker.stop()
