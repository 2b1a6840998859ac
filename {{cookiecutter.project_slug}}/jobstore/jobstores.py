"""The job stores: what an APScheduler scheduler talks to.

`DjangoJobStore` keeps jobs and history in the Django database and works with every APScheduler 3
scheduler. Its `get_due_jobs` is the claim, so that any number of schedulers may share the
database: the one that holds the lease runs the jobs, the others run none.
"""

import dataclasses
import datetime as dt
import logging
import pickle
import random
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from apscheduler import events
from apscheduler.events import JobEvent, JobExecutionEvent, JobSubmissionEvent
from apscheduler.job import Job
from apscheduler.jobstores.base import BaseJobStore, ConflictingIdError, JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    connections,
    router,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, Min, OuterRef, Subquery

from . import claim, state
from .lease import Term, waiting_jobs
from .models import DjangoJob, DjangoJobExecution, database_now
from .plan import Plan, UnusableTrigger, plan
from .presence import Presence
from .recorder import Recorder, Result
from .results import STATUS, DjangoResultStoreMixin, describe_event
from .runs import ClaimedJob, Run
from .util import (
    as_aware,
    get_apscheduler_datetime,
    get_django_internal_datetime,
    outside_event_loop,
    release_connections,
    retry_on_db_operational_error,
)

logger = logging.getLogger("jobstore.store")

R = TypeVar("R")

# Rows that one claim takes at the most, where no executor says how many workers are free.
MAX_CLAIM = 500
# Seconds until the next look at the database: without the lease, and while all workers are busy.
STANDBY_WAIT = 5.0
BUSY_WAIT = 1.0
# Seconds between two tries while the database fails; half of the promised 2 s to resume in.
MAX_BACKOFF = 1.0


@dataclasses.dataclass
class Taken:
    """What one look at the database brought: jobs to start, runs settled, jobs that ended."""

    jobs: list[Job] = dataclasses.field(default_factory=list)
    settled: list[claim.Claimed] = dataclasses.field(default_factory=list)
    ended: list[str] = dataclasses.field(default_factory=list)


class DjangoJobStore(DjangoResultStoreMixin, BaseJobStore):  # type: ignore[misc]
    """Keeps jobs in the Django database and runs each due time once, whoever else runs.

    :param int pickle_protocol: protocol of the job state's pickle.
    """

    def __init__(self, pickle_protocol: int = pickle.HIGHEST_PROTOCOL) -> None:
        super().__init__()
        self.pickle_protocol = pickle_protocol
        self.presence: Presence | None = None
        self.recorder: Recorder | None = None
        self._runs: dict[tuple[str, dt.datetime], Run] = {}
        self._saturated: dict[str, dt.datetime] = {}
        self._backoff = 0.0
        self._retry_at = 0.0
        # When a claim was sent whose reply has not come: its runs may have been committed.
        self._unsure_since: dt.datetime | None = None
        self._started_since: set[int] = set()
        self._announcing = False
        self._is_shut_down = False
        self._loop_connection: BaseDatabaseWrapper | None = None

    @property
    def using(self) -> str:
        """The alias of the database that the jobs are routed to."""
        return router.db_for_write(DjangoJob)

    @property
    def running(self) -> list[Run]:
        """The runs that this process has claimed and not finished."""
        return list(self._runs.values())

    # --- Life ----------------------------------------------------------------------------------

    def start(self, scheduler: Any, alias: str) -> None:
        """Begin to compete for the lease. A scheduler without it runs no job of this store."""
        super().start(scheduler, alias)
        self._is_shut_down = False
        if self.presence is None:
            self.presence = Presence(self.using, self._wake)
        self.recorder = Recorder(self.presence.id, self.using)
        self.presence.start()

    def shutdown(self) -> None:
        """Give up the lease, write what is left of the history, close connections."""
        self._is_shut_down = True
        if self.presence is not None and self.recorder is not None:
            outside_event_loop(self.presence.drain)
            self.recorder.stop(timeout=10.0)
            outside_event_loop(self.presence.stop)
            self.presence = self.recorder = None
        super().shutdown()
        outside_event_loop(release_connections)
        self._close_loop_connection()

    def _close_loop_connection(self) -> None:
        """Close the connection of APScheduler's thread, which may end without coming back here.

        The scheduler holds its lock on job stores during a shutdown: that thread is not using it.
        """
        connection, self._loop_connection = self._loop_connection, None
        if connection is not None:
            connection.inc_thread_sharing()
            connection.close()
            connection.dec_thread_sharing()

    def _wake(self) -> None:
        if self._scheduler is not None and self._scheduler.running:
            self._scheduler.wakeup()

    # --- The contract of a job store ------------------------------------------------------------

    def lookup_job(self, job_id: str) -> Job | None:
        """Return the job, or None if there is none or it cannot be restored."""
        row = outside_event_loop(self._first, job_id)
        return self._restore(row) if row is not None else None

    @retry_on_db_operational_error
    def _first(self, job_id: str) -> DjangoJob | None:
        row: DjangoJob | None = DjangoJob.objects.using(self.using).filter(pk=job_id).first()
        return row

    def get_all_jobs(self) -> list[Job]:
        """Return all jobs that can be restored, the next to run first, paused ones last."""
        rows = outside_event_loop(self._all)
        jobs = [job for row in rows if (job := self._restore(row)) is not None]
        return sorted(jobs, key=lambda job: (job.next_run_time is None, job.next_run_time or 0))

    @retry_on_db_operational_error
    def _all(self) -> list[DjangoJob]:
        return list(DjangoJob.objects.using(self.using).order_by("next_run_time", "pk"))

    def add_job(self, job: Job) -> None:
        """Store a job.

        Raises ConflictingIdError if there is one with its id, and ValueError, saying what to do,
        if it cannot be stored.
        """
        outside_event_loop(self._add, job)

    def _add(self, job: Job) -> None:
        values = self._values(job)
        using = self.using
        try:
            with transaction.atomic(using=using):
                DjangoJob.all_objects.using(using).create(pk=job.id, **values)
        except IntegrityError:
            retired = DjangoJob.all_objects.using(using).filter(pk=job.id, retired_at__isnull=False)
            if not retired.update(declaration="", **values):
                raise ConflictingIdError(job.id) from None

    def update_job(self, job: Job) -> None:
        """Store a changed job. Raises JobLookupError if there is none with its id."""
        if not isinstance(job, ClaimedJob):  # whose next time the claim has written already
            outside_event_loop(self._update, job)

    @retry_on_db_operational_error
    def _update(self, job: Job) -> None:
        rows = DjangoJob.objects.using(self.using).filter(pk=job.id)
        if not rows.update(**self._values(job)):
            raise JobLookupError(job.id)

    def remove_job(self, job_id: str) -> None:
        """Take a job out of service; its history stays. Raises JobLookupError if there is none."""
        outside_event_loop(self._remove, job_id)

    def _remove(self, job_id: str) -> None:
        if not DjangoJob.objects.using(self.using).filter(pk=job_id).retire():
            raise JobLookupError(job_id)

    def remove_all_jobs(self) -> None:
        """Take all jobs out of service; their history stays."""
        outside_event_loop(lambda: DjangoJob.objects.using(self.using).all().retire())

    def get_due_jobs(self, now: dt.datetime) -> list[Job]:
        """Claim the jobs that are due by the database's clock, as many as can start.

        Returns nothing without the lease, and nothing while the database fails: the loop that
        calls this must go on. A store that was not started returns what is due at `now`.
        """
        if self._is_shut_down:
            # APScheduler's loop looks once more on its way out. It must find nothing to run.
            outside_event_loop(release_connections)
            return []
        if self.presence is None:
            return outside_event_loop(self._due_at, now)
        self._settle_unsubmitted()
        if time.monotonic() < self._retry_at:
            return []  # something else has woken the loop
        term = self.presence.term
        if term is None:
            self._saturated.clear()
            if self._unsure_since is None:
                return []
        taken = Taken()
        try:
            outside_event_loop(self._claim_due, term, taken)
            self._backoff = 0.0
        except claim.NotHolder:
            logger.warning("Nothing was claimed: the lease has passed on.")
            self._unsure_since = None
            self.presence.doubt()
            self._back_off()
        except Exception as error:
            if isinstance(error, DatabaseError | InterfaceError):
                logger.warning("Due jobs wait, the database fails: %s", str(error).strip())
            else:
                logger.exception("Due jobs wait, the claim failed.")
            release_connections()
            self._back_off()
        # Whatever was taken before something failed is this process's to run.
        self._announce(taken)
        return taken.jobs

    def get_next_run_time(self) -> dt.datetime | None:
        """Return when to look again, on the clock of this machine; None for nothing to do.

        Never raises in a running scheduler: APScheduler's loop would end.
        """
        if self._is_shut_down:
            return None
        if self.presence is None:
            first = outside_event_loop(self._first_run_time)
            return get_apscheduler_datetime(first, self._scheduler)
        if self._backoff:
            return self._in(self._backoff)
        if self.presence.term is None:
            return self._in(STANDBY_WAIT)
        try:
            first = outside_event_loop(self._first_run_time)
        except Exception as error:
            logger.warning("The next run time is not known, the database fails: %s", error)
            release_connections()
            self._back_off()
            return self._in(self._backoff)
        now = self.presence.now()
        until = None if first is None else (as_aware(first) - now).total_seconds()
        if self._saturated:
            until = BUSY_WAIT if until is None else min(until, BUSY_WAIT)
        self.presence.planned_wake = None if until is None else now + dt.timedelta(seconds=until)
        return None if until is None else self._in(max(until, 0.0))

    def _in(self, seconds: float) -> dt.datetime:
        zone = getattr(self._scheduler, "timezone", None) or dt.UTC
        return dt.datetime.now(zone) + dt.timedelta(seconds=seconds)

    def _back_off(self) -> None:
        longer = min(MAX_BACKOFF, max(0.1, 2 * self._backoff))
        self._backoff = longer * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads the tries
        self._retry_at = time.monotonic() + self._backoff

    # --- Due jobs -------------------------------------------------------------------------------

    def _due_at(self, now: dt.datetime) -> list[Job]:
        rows = waiting_jobs(self.using).filter(next_run_time__lte=get_django_internal_datetime(now))
        rows = rows.order_by("next_run_time", "pk")
        return [job for row in rows if (job := self._restore(row)) is not None]

    @retry_on_db_operational_error
    def _first_run_time(self) -> dt.datetime | None:
        rows = waiting_jobs(self.using).exclude(executor__in=list(self._saturated))
        first: dt.datetime | None = rows.aggregate(first=Min("next_run_time"))["first"]
        return first

    def _claim_due(self, term: Term | None, taken: Taken) -> None:
        """Claim what is due and what was asked for; note it in `taken` as soon as it is certain."""
        presence = self.presence
        if presence is None:
            return
        self._loop_connection = connections[self.using]
        now = presence.now()
        free = {alias: free_workers(one) for alias, one in self._scheduler._executors.items()}
        if self._unsure_since is not None:
            self._recover(self._unsure_since, taken)
            self._unsure_since = None
        if term is None:
            return
        self._unsure_since, self._started_since = now, set()
        if presence.requested:
            taken.jobs += self._claim_requested(term, now, free)
        plans = list(self._plans(now, free))
        written = claim.claim(plans, term, self.using)
        self._unsure_since = None
        started: dict[str, list[Run]] = {}
        for row in written:
            if row.status == DjangoJobExecution.SENT:
                run = Run(row.id, row.job_id, row.run_time)
                started.setdefault(row.job_id, []).append(run)
            else:
                taken.settled.append(row)
        for one in plans:
            if runs := started.get(one.job.id):
                runs.sort(key=lambda run: run.run_time)
                taken.jobs.append(self._claimed_job(one.job, runs, one.next_run_time or now))
        written_ids = {row.job_id for row in written}
        ended = [one.job.id for one in plans if one.next_run_time is None]
        taken.ended += [job_id for job_id in ended if job_id in written_ids]

    def _recover(self, since: dt.datetime, taken: Taken) -> None:
        """Take up runs of a claim whose reply was lost although the database had committed it.

        Nobody else will start them: this process lives, so they are not lost. Claims are made by
        one thread, so runs claimed since then that it does not know are those.
        """
        known = {run.execution_id for run in self.running} | self._started_since
        unknown = DjangoJobExecution.objects.using(self.using).filter(
            instance=self.presence.id,  # type: ignore[union-attr]
            status=DjangoJobExecution.SENT,
            claimed_at__gte=get_django_internal_datetime(since),
        )
        runs: dict[str, list[Run]] = {}
        for found in unknown.exclude(pk__in=known).order_by("run_time"):
            run = Run(found.pk, found.job_id, as_aware(found.run_time).astimezone(dt.UTC))
            runs.setdefault(run.job_id, []).append(run)
        jobs = DjangoJob.all_objects.using(self.using).in_bulk(list(runs))
        for job_id, one in runs.items():
            row = jobs.get(job_id)
            job = self._restore(row) if row is not None else None
            if job is not None and job.executor in self._scheduler._executors:
                logger.warning("Job %r is started late: the reply to its claim was lost.", job_id)
                taken.jobs.append(self._claimed_job(job, one, since))
                continue
            for run in one:
                text = "The reply to the claim of this run was lost, and then the job itself."
                self._finish(run, DjangoJobExecution.ERROR, exception=text)

    def _plans(self, now: dt.datetime, free: dict[str, int]) -> Iterable[Plan]:
        """Plan as many due jobs as there are free workers; note which executors have none left."""
        full = {alias for alias, workers in free.items() if workers <= 0}
        limit = min(MAX_CLAIM, sum(max(workers, 0) for workers in free.values()))
        rows = list(self._due_rows(now, full)[: limit + 1]) if limit else []
        was_saturated, waiting = dict(self._saturated), set(full)
        zone = self._scheduler.timezone
        for row in rows[:limit]:
            if row.executor not in free:
                self._quarantine(row, f"No executor named {row.executor!r} is configured here.")
            elif free[row.executor] <= 0:
                waiting.add(row.executor)
            elif (job := self._restore(row)) is not None:
                try:
                    one = plan(
                        job,
                        row.version,
                        now.astimezone(zone),
                        running=row.running or 0,
                        saturated_since=was_saturated.get(row.executor),
                    )
                except UnusableTrigger as error:
                    self._quarantine(row, str(error))
                    continue
                free[row.executor] -= bool(one.start)
                yield one
        if len(rows) > limit and free.get(rows[limit].executor, 1) <= 0:
            waiting.add(rows[limit].executor)
        self._saturated = {alias: was_saturated.get(alias, now) for alias in waiting}

    def _due_rows(self, now: dt.datetime, full: set[str]) -> Any:
        running = (
            DjangoJobExecution.objects.filter(job=OuterRef("pk"), status=DjangoJobExecution.SENT)
            .order_by()
            .values("job")
            .annotate(claims=Count("claimed_at", distinct=True))
            .values("claims")
        )
        rows = waiting_jobs(self.using).filter(next_run_time__lte=get_django_internal_datetime(now))
        rows = rows.exclude(executor__in=full).annotate(running=Subquery(running))
        return rows.order_by("next_run_time", "pk")

    def _claim_requested(self, term: Term, now: dt.datetime, free: dict[str, int]) -> list[Job]:
        """Claim the runs that somebody asked for, with the guarantees of scheduled ones."""
        runs = DjangoJobExecution.objects.using(self.using)
        requests = list(
            runs.filter(status=DjangoJobExecution.REQUESTED).order_by("run_time")[:MAX_CLAIM]
        )
        rows = DjangoJob.objects.using(self.using).in_bulk([one.job_id for one in requests])
        startable: list[tuple[DjangoJobExecution, Job]] = []
        for request in requests:
            row = rows.get(request.job_id)
            job = self._restore(row) if row is not None else None
            if job is None:
                self._refuse(request, DjangoJobExecution.ERROR, "The job cannot be restored.")
            elif job.executor not in free:
                text = f"No executor named {job.executor!r} is configured here."
                self._refuse(request, DjangoJobExecution.ERROR, text)
            elif self._running_claims(job.id) >= job.max_instances:
                text = f"Maximum number of running instances reached ({job.max_instances})."
                self._refuse(request, DjangoJobExecution.MAX_INSTANCES, text)
            elif free[job.executor] > 0:
                free[job.executor] -= 1
                startable.append((request, job))
        taken = claim.claim_requests([request.pk for request, _ in startable], term, self.using)
        self.presence.requested = len(requests) == MAX_CLAIM  # type: ignore[union-attr]
        return [
            self._claimed_job(job, [Run(request.pk, job.id, as_aware(request.run_time))], now)
            for request, job in startable
            if request.pk in taken
        ]

    def _running_claims(self, job_id: str) -> int:
        running = DjangoJobExecution.objects.using(self.using).filter(
            job=job_id, status=DjangoJobExecution.SENT
        )
        return int(running.order_by().values("claimed_at").distinct().count())

    def _refuse(self, request: DjangoJobExecution, status: str, text: str) -> None:
        DjangoJobExecution.objects.using(self.using).filter(
            pk=request.pk, status=DjangoJobExecution.REQUESTED
        ).update(status=status, exception=text, finished=database_now(self.using))

    def _claimed_job(self, job: Job, runs: list[Run], following: dt.datetime) -> Job:
        for run in runs:
            self._runs[run.job_id, run.run_time] = run
            self._started_since.add(run.execution_id)
        executor = self._scheduler._executors[job.executor]
        return ClaimedJob.of(job, runs, following, executor, self.presence.now)  # type: ignore[union-attr]

    # --- Restoring ------------------------------------------------------------------------------

    def _restore(self, row: DjangoJob) -> Job | None:
        """Return the job of a row, or None after quarantining a row that cannot be restored."""
        try:
            return state.restore(row, self._scheduler, self._alias)
        except state.UnreadableState as error:
            outside_event_loop(self._quarantine, row, str(error))
            return None

    def _quarantine(self, row: DjangoJob, reason: str) -> None:
        """Keep a job that cannot be run, out of the way and visible, until it changes."""
        rows = DjangoJob.objects.using(self.using).filter(pk=row.pk, version=row.version)
        changes = {"quarantined_at": database_now(self.using), "quarantine_reason": reason}
        if row.quarantined_at is None and rows.update(**changes):
            logger.error("Job %r is quarantined: %s", row.pk, reason)

    def _values(self, job: Job) -> dict[str, Any]:
        return {
            "next_run_time": get_django_internal_datetime(job.next_run_time),
            "job_state": state.dump(job, self.pickle_protocol),
            "quarantined_at": None,
            "quarantine_reason": "",
            "retired_at": None,
            **state.columns(job),
        }

    # --- Events ---------------------------------------------------------------------------------

    def _announce(self, taken: Taken) -> None:
        """Tell listeners of runs that the claim itself settled, and of jobs that it retired."""
        self._announcing = True
        try:
            for row in taken.settled:
                zoned = get_apscheduler_datetime(row.run_time, self._scheduler)
                if row.status == DjangoJobExecution.MISSED:
                    logger.warning("Job %r missed its run time %s.", row.job_id, zoned)
                    event = JobExecutionEvent(
                        events.EVENT_JOB_MISSED, row.job_id, self._alias, zoned
                    )
                else:
                    logger.warning("Job %r is skipped at %s: max_instances.", row.job_id, zoned)
                    event = JobSubmissionEvent(
                        events.EVENT_JOB_MAX_INSTANCES, row.job_id, self._alias, [zoned]
                    )
                self._scheduler._dispatch_event(event)
            for job_id in taken.ended:
                self._scheduler._dispatch_event(
                    JobEvent(events.EVENT_JOB_REMOVED, job_id, self._alias)
                )
        finally:
            self._announcing = False

    def _record(self, event: JobEvent) -> None:
        if event.jobstore != self._alias or self._announcing or self.recorder is None:
            return
        times = (
            event.scheduled_run_times
            if isinstance(event, JobSubmissionEvent)
            else [event.scheduled_run_time]
        )
        for time_ in times:
            if event.code == events.EVENT_JOB_SUBMITTED:
                if run := self._runs.get((event.job_id, time_)):
                    run.submitted = True
            elif run := self._runs.pop((event.job_id, time_), None):
                self._finish(run, STATUS[event.code], **(run.error or describe_event(event)))
        if self._saturated and event.code != events.EVENT_JOB_SUBMITTED:
            self._wake()

    def _settle_unsubmitted(self) -> None:
        """Record runs that APScheduler could not hand to their executor: it raises no event."""
        for run in [run for run in self.running if not run.submitted]:
            if self._runs.pop((run.job_id, run.run_time), None):
                text = "The executor did not accept this run; the log of the scheduler says why."
                self._finish(run, DjangoJobExecution.ERROR, exception=text)

    def _finish(self, run: Run, status: str, **details: Any) -> None:
        if self.presence is None or self.recorder is None:
            return
        self.recorder.put(
            Result(
                run.execution_id,
                status,
                finished=get_django_internal_datetime(run.finished or self.presence.now()),
                started_at=get_django_internal_datetime(run.started_at),
                duration=run.duration,
                **details,
            )
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (pickle_protocol={self.pickle_protocol})>"


class DjangoMemoryJobStore(DjangoResultStoreMixin, MemoryJobStore):  # type: ignore[misc]
    """Keeps jobs in memory and their history in the Django database; unguarded by the lease."""


def free_workers(executor: Any) -> int:
    """Return how many more jobs an APScheduler executor can start at once."""
    workers = getattr(getattr(executor, "_pool", None), "_max_workers", None)
    if workers is None:
        return MAX_CLAIM
    with executor._lock:
        running: int = sum(executor._instances.values())
    return int(workers) - running


def register_events(scheduler: Any, result_storage: Any = None) -> None:
    """Do nothing: every DjangoJobStore listens by itself. Deprecated."""
    warnings.warn(
        "register_events() is not needed any more: delete the call.", DeprecationWarning, 2
    )


def register_job(scheduler: Any, *args: Any, **kwargs: Any) -> Callable[[R], R]:
    """Add the decorated function as a job. Deprecated: use `jobstore.registry.scheduled`."""
    warnings.warn("register_job() is deprecated: use @scheduled.", DeprecationWarning, 2)

    def decorate(func: Any) -> Any:
        kwargs.setdefault("id", f"{func.__module__}.{func.__qualname__}")
        scheduler.add_job(func, *args, **kwargs)
        return func

    return decorate
