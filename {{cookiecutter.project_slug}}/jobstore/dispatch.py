"""Which jobs start now: the due ones and the requested ones, as many as there are workers for."""

import collections
import dataclasses
import datetime as dt
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from apscheduler.executors.base import MaxInstancesReachedError
from apscheduler.job import Job
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Case, Count, When

from . import claim, due, quarantine, rotation, state
from .lease import Term
from .limits import limit_waiting
from .models import DjangoJob, DjangoJobExecution, database_now
from .pace import Pace
from .plan import Plan, UnusableTrigger, plan
from .presence import Presence
from .recorder import MAX_WAITING
from .runs import ClaimedJob, Run, runs_of
from .util import (
    as_aware,
    get_django_internal_datetime,
    renew_idle_connection,
    retry_on_db_operational_error,
)

if TYPE_CHECKING:
    from .jobstores import DjangoJobStore

logger = logging.getLogger("jobstore.store")

# What was started together counts as one: the times that one claim took of a job run one after
# the other. Runs that were asked for are started on their own.
TOGETHER = Case(When(requested_by="", then="claimed_at"), default="run_time")

# For how long a server may still commit a claim after it answers again: it works on a statement
# until it writes the reply, and its own limit (limits.py) is half of this.
LATE_COMMIT = dt.timedelta(seconds=10)
# What a request's time may be ahead of this process's knowledge of the database's clock.
A_MOMENT = dt.timedelta(seconds=1)
# Rows that one claim takes at the most.
MAX_CLAIM = 500
# Seconds of work that is claimed ahead of the free workers, so that a burst of short jobs does not
# cost a claim for every few of them. What is claimed and has not begun is lost with the process.
AHEAD = 0.1


class LacksKeys(claim.NotHolder):
    """Too few keys of the stored jobs are known here for a claim; its text says what to do."""


@dataclasses.dataclass
class Taken:
    """What one look at the database brought: jobs to start, runs settled, jobs that ended."""

    jobs: list[Job] = dataclasses.field(default_factory=list)
    settled: list[claim.Claimed] = dataclasses.field(default_factory=list)
    ended: list[str] = dataclasses.field(default_factory=list)


class Dispatcher:
    """Claims for one store in one scheduler, and knows what it has claimed and not finished."""

    def __init__(self, store: "DjangoJobStore", presence: Presence) -> None:
        self.runs: dict[tuple[str, dt.datetime], Run] = {}
        # Executors without a free worker, and since when jobs have been waiting for one.
        self.saturated: dict[str, dt.datetime] = {}
        # The epoch in which that was seen. Whoever only doubted its lease for a moment still knows.
        self._epoch: int | None = None
        # When a claim was sent whose reply has not come: its runs may have been committed, or may
        # still be, by a server that has not noticed that nobody waits any more.
        self.unsure_since: dt.datetime | None = None
        self._look_until: dt.datetime | None = None
        # When the next job is due, if this look at the database has found that out already.
        self.known_first: tuple[dt.datetime | None] | None = None
        # What was started last. A run stays "started" in the database while its result waits to be
        # written, which must not make it look like one whose claim's reply was lost.
        self._started: collections.deque[int] = collections.deque(maxlen=2 * MAX_WAITING)
        self._pace = Pace(AHEAD, MAX_CLAIM)
        # At how many unfinished runs more are claimed, if more wait.
        self._refill_at = 0
        self._store = store
        self._presence = presence
        # Jobs that this look found and that cannot be run, with the reasons.
        self._bad: list[tuple[DjangoJob | due.DueJob, str]] = []
        self._has_foreign_key = False
        # The epoch that this process has begun: all jobs are signed by the present key.
        self._begun_epoch: int | None = None
        self._connection: BaseDatabaseWrapper | None = None
        self._watched: set[Any] = set()

    @property
    def using(self) -> str:
        """The alias of the database that the jobs are routed to."""
        return self._store.using

    @property
    def is_unsure(self) -> bool:
        """Whether the reply to a claim was lost, and no look at the database has followed."""
        return self.unsure_since is not None and self._look_until is None

    @property
    def running(self) -> list[Run]:
        """The runs that were claimed and are not finished."""
        return list(self.runs.values())

    @property
    def _executors(self) -> dict[str, Any]:
        executors: dict[str, Any] = self._store._scheduler._executors
        return executors

    def close_connection(self) -> None:
        """Close the connection of APScheduler's thread, which may end without coming back here.

        The scheduler holds its lock on job stores during a shutdown: that thread is not using it.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.inc_thread_sharing()
            connection.close()
            connection.dec_thread_sharing()

    @retry_on_db_operational_error
    def first_run_time(self) -> dt.datetime | None:
        """Return when the next job is due that could start, as stored."""
        if self.saturated.keys() >= self._executors.keys():
            return None
        return due.first_run_time(without=self.saturated, using=self.using)

    def take(self, term: Term | None, taken: Taken) -> None:
        """Claim what is due and what was asked for; note it in `taken` as soon as it is certain."""
        self._connection = connections[self.using]
        renew_idle_connection(self.using)
        limit_waiting(self.using)
        self.known_first = None
        now = self._presence.now()
        free = {alias: free_workers(one) for alias, one in self._executors.items()}
        self._pace.look(len(self.runs))
        if self.unsure_since is not None:
            self._recover_for_a_while(self.unsure_since, now, taken)
        if term is not None and term.epoch != self._epoch:
            self.saturated.clear()
            self._epoch = term.epoch
        if term is not None and term.epoch != self._begun_epoch:
            self._begin(term)
            self._begun_epoch = term.epoch
        if term is None or self._finds_nothing(now):
            return
        before = self.unsure_since, self._look_until
        self.unsure_since, self._look_until = self.unsure_since or now, None
        try:
            self._claim(term, now, free, taken)
        except claim.NotHolder:  # which is a reply, too
            self.unsure_since, self._look_until = before
            raise
        self.unsure_since, self._look_until = before

    def _begin(self, term: Term) -> None:
        """Before the first claim of an epoch, see that what is stored can be run, now and later.

        :raises LacksKeys: if this process would take most jobs out of service.
        """
        if problem := rotation.problem(self.using):
            raise LacksKeys(problem)

        def fence() -> None:
            claim.assert_holder(term, self.using)

        renewal = rotation.sign_anew(self.using, fence)
        if renewal.signed:
            logger.info("%d jobs were signed anew with the present key.", renewal.signed)
        quarantine.bring_back(list(self._executors), fence, self.using)

    def _restore(self, row: DjangoJob | due.DueJob) -> Job | None:
        """Return the job of a row, or None for one that is to be quarantined."""
        try:
            return self._store.restore_or_raise(row)
        except state.UnreadableState as error:
            self._has_foreign_key |= isinstance(error, state.UnsignedState)
            self._bad.append((row, str(error)))
            return None

    def _quarantine(self, term: Term) -> None:
        """Quarantine what this look found that cannot be run, if the lease is still held.

        :raises LacksKeys: if it is the key of this process that is wrong.
        """
        bad, self._bad = self._bad, []
        has_foreign_key, self._has_foreign_key = self._has_foreign_key, False
        if has_foreign_key and (problem := rotation.problem(self.using)):
            raise LacksKeys(problem)
        if bad:
            quarantine.put_all(bad, lambda: claim.assert_holder(term, self.using), self.using)

    def _claim(self, term: Term, now: dt.datetime, free: dict[str, int], taken: Taken) -> None:
        if self._presence.requested:
            taken.jobs += self._claim_requested(term, now, free)
        plans = list(self._plans(now, free))
        self._quarantine(term)
        written = claim.claim(plans, term, self.using)
        started: dict[str, list[Run]] = {}
        for row in written:
            if row.status == DjangoJobExecution.SENT:
                run = Run(row.id, row.job_id, row.run_time, term.epoch)
                started.setdefault(row.job_id, []).append(run)
            else:
                taken.settled.append(row)
        for one in plans:
            if runs := started.get(one.job.id):
                runs.sort(key=lambda run: run.run_time)
                taken.jobs.append(self._claimed_job(one.job, runs, one.next_run_time or now))
        written_ids = {row.job_id for row in written}
        # Half of those that were claimed ahead, as of now: many may have ended meanwhile.
        queued = len(self.runs) - sum(map(workers_of, self._executors.values()))
        self._refill_at = len(self.runs) - max(queued // 2, 1)
        ended = [one.job.id for one in plans if one.next_run_time is None]
        taken.ended += [job_id for job_id in ended if job_id in written_ids]

    def _finds_nothing(self, now: dt.datetime) -> bool:
        """Tell, by one narrow statement, that no job is due, where none was expected to be."""
        planned = self._presence.planned_wake
        is_expected = planned is not None and planned <= now
        if is_expected or self.saturated or self._presence.requested:
            return False
        first = self.first_run_time()
        if first is not None and as_aware(first) <= now:
            return False
        self.known_first = (first,)
        return True

    def _recover_for_a_while(self, since: dt.datetime, now: dt.datetime, taken: Taken) -> None:
        """Look for runs whose claim's reply was lost, and for those of a late commit as well."""
        self._recover(since, taken)
        if self._look_until is None:
            self._look_until = now + LATE_COMMIT
        elif now >= self._look_until:
            self.unsure_since = self._look_until = None

    def _recover(self, since: dt.datetime, taken: Taken) -> None:
        """Take up runs of a claim whose reply was lost although the database had committed it.

        Nobody else will start them: this process lives, so they are not lost. Claims are made by
        one thread, so runs claimed since then that it does not know are those.
        """
        known = {run.execution_id for run in self.running} | set(self._started)
        unknown = DjangoJobExecution.objects.using(self.using).filter(
            instance=self._presence.id,
            status=DjangoJobExecution.SENT,
            claimed_at__gte=get_django_internal_datetime(since),
        )
        runs: dict[str, list[Run]] = {}
        for found in unknown.exclude(pk__in=known).order_by("run_time"):
            time = as_aware(found.run_time).astimezone(dt.UTC)
            run = Run(found.pk, found.job_id, time, found.epoch)
            runs.setdefault(run.job_id, []).append(run)
        jobs = DjangoJob.all_objects.using(self.using).in_bulk(list(runs))
        for job_id, one in runs.items():
            row = jobs.get(job_id)
            job = self._store.restore(row) if row is not None else None
            if job is not None and job.executor in self._executors:
                logger.warning("Job %r is started late: the reply to its claim was lost.", job_id)
                taken.jobs.append(self._claimed_job(job, one, since))
                continue
            for run in one:
                text = "The reply to the claim of this run was lost, and then the job itself."
                self._store.finish(run, DjangoJobExecution.ERROR, exception=text)

    def _plans(self, now: dt.datetime, free: dict[str, int]) -> Iterable[Plan]:
        """Plan as many due jobs as can start now or soon; note which executors have none left."""
        ahead = self._pace.ahead
        room = {alias: workers + ahead for alias, workers in free.items()}
        full = {alias for alias, places in room.items() if places <= 0}
        limit = min(MAX_CLAIM, sum(max(places, 0) for places in room.values()))
        rows = self._due_rows(now, limit + 1, full) if limit else []
        was_saturated, waiting = dict(self.saturated), set(full)
        time_left = self._time_left()
        zone = self._store._scheduler.timezone
        for row in rows[:limit]:
            if row.executor not in free:
                self._bad.append((row, f"No executor named {row.executor!r} is configured here."))
                continue
            expected = min(self._pace.expected(row.func), AHEAD)
            if free[row.executor] <= 0 and (
                room[row.executor] <= 0 or time_left[row.executor] < expected
            ):
                # Nor is anything behind it taken: what is overtaken could wait for ever.
                waiting.add(row.executor)
            if row.executor in waiting or (job := self._restore(row)) is None:
                continue
            try:
                one = plan(
                    job,
                    row.version,
                    now.astimezone(zone),
                    running=row.running,
                    saturated_since=was_saturated.get(row.executor),
                )
            except UnusableTrigger as error:
                self._bad.append((row, str(error)))
                continue
            if one.start:
                free[row.executor] -= 1
                room[row.executor] -= 1
                time_left[row.executor] -= expected
            yield one
        if len(rows) > limit and free.get(rows[limit].executor, 1) <= 0:
            waiting.add(rows[limit].executor)
        self.saturated = {alias: was_saturated.get(alias, now) for alias in waiting}
        self._presence.note_saturated(self.saturated)

    def _time_left(self) -> dict[str, float]:
        """Return how many seconds of work the workers can take on and finish AHEAD from now.

        A run that may take longer than that, for all that is known, keeps its worker all the time.
        """
        time_left = {alias: AHEAD * workers_of(one) for alias, one in self._executors.items()}
        now = time.perf_counter()
        for run in self.running:
            takes_long = run.began and now - run.began > AHEAD
            expected = AHEAD if takes_long else min(self._pace.expected(run.func), AHEAD)
            time_left[run.executor] = time_left.get(run.executor, 0.0) - expected
        return time_left

    def _due_rows(self, now: dt.datetime, limit: int, full: set[str]) -> list[due.DueJob]:
        return due.due_jobs(now, limit, without=full, ended=self._ended(), using=self.using)

    def _claim_requested(self, term: Term, now: dt.datetime, free: dict[str, int]) -> list[Job]:
        """Claim the runs that somebody asked for, with the guarantees of scheduled ones."""
        runs = DjangoJobExecution.objects.using(self.using)
        requests = list(
            runs.filter(
                status=DjangoJobExecution.REQUESTED,
                # Those that were put off lie further ahead; clocks are known to within a moment.
                run_time__lte=get_django_internal_datetime(now + A_MOMENT),
            ).order_by("run_time")[:MAX_CLAIM]
        )
        rows = DjangoJob.all_objects.using(self.using).in_bulk({one.job_id for one in requests})
        running = self._running_claims(set(rows))
        startable: list[tuple[DjangoJobExecution, Job]] = []
        refused: dict[tuple[str, str], list[int]] = {}
        for request in requests:
            row = rows.get(request.job_id)
            # A job that ended with a run that was lost is out of service, but owes that run.
            in_service = row is not None and (row.retired_at is None or request.attempt > 1)
            job = self._restore(row) if row is not None and in_service else None
            if reason := self._objection(job, running, free):
                refused.setdefault(reason, []).append(request.pk)
            elif job is not None and free[job.executor] > 0:
                free[job.executor] -= 1
                running[job.id] = running.get(job.id, 0) + 1
                startable.append((request, job))
        self._quarantine(term)
        for (status, text), ids in refused.items():
            self._refuse(ids, status, text)
        taken = claim.claim_requests([request.pk for request, _ in startable], term, self.using)
        self._presence.requested = len(requests) == MAX_CLAIM
        return [
            self._claimed_job(
                job, [Run(request.pk, job.id, as_aware(request.run_time), term.epoch)], now
            )
            for request, job in startable
            if request.pk in taken
        ]

    @staticmethod
    def _objection(
        job: Job | None, running: dict[str, int], free: dict[str, int]
    ) -> tuple[str, str] | None:
        """Return what a request ends with, and why, if its run cannot start now or later."""
        if job is None:
            return DjangoJobExecution.ERROR, "The job is out of service or cannot be restored."
        if job.executor not in free:
            text = f"No executor named {job.executor!r} is configured here."
            return DjangoJobExecution.ERROR, text
        if running.get(job.id, 0) >= job.max_instances:
            text = f"Maximum number of running instances reached ({job.max_instances})."
            return DjangoJobExecution.MAX_INSTANCES, text
        return None

    def _running_claims(self, job_ids: set[str]) -> dict[str, int]:
        """Return how many claims of each job are running, in every process."""
        running = DjangoJobExecution.objects.using(self.using).filter(
            job__in=job_ids, status=DjangoJobExecution.SENT
        )
        running = running.exclude(pk__in=self._ended())
        counted = running.order_by().values("job").annotate(claims=Count(TOGETHER, distinct=True))
        return dict(counted.values_list("job", "claims"))

    def _ended(self) -> list[int]:
        """Return runs that have ended and wait to be written: after an outage, often many."""
        recorder = self._store.recorder
        return recorder.unwritten() if recorder is not None else []

    def _refuse(self, ids: list[int], status: str, text: str) -> None:
        DjangoJobExecution.objects.using(self.using).filter(
            pk__in=ids, status=DjangoJobExecution.REQUESTED
        ).update(status=status, exception=text, finished=database_now(self.using))

    def end(self, job_id: str, run_time: dt.datetime) -> Run | None:
        """Forget a run that has ended; None if it is not one of this process."""
        run = self.runs.pop((job_id, run_time), None)
        if run is not None:
            self._pace.ended(run.func, run.duration)
        return run

    @property
    def wants_more(self) -> bool:
        """Whether jobs wait for a worker, and enough of those that were claimed have ended."""
        return bool(self.saturated) and len(self.runs) <= self._refill_at

    def _claimed_job(self, job: Job, runs: list[Run], following: dt.datetime) -> Job:
        self._pace.claimed(len(runs))
        for run in runs:
            run.func, run.executor = job.func_ref or "", job.executor
            self.runs[run.job_id, run.run_time] = run
            self._started.append(run.execution_id)
        executor = self._executors[job.executor]
        self._watch(executor)
        return ClaimedJob.of(job, runs, following, executor, self._presence.now)

    def _watch(self, executor: Any) -> None:
        """Learn of runs that an executor fails to carry out, of which it only writes to the log."""
        if executor in self._watched:
            return
        log, submit = executor._run_job_error, executor.submit_job

        def accept(job: Job, run_times: list[dt.datetime]) -> None:
            try:
                submit(job, run_times)
            except MaxInstancesReachedError:
                raise  # of which APScheduler tells listeners itself
            except BaseException as error:
                # A pool without room for a thread has queued it all the same.
                refused = [run for run in runs_of(job.id) if run.take()]
                self._store.executor_failed(refused, error)
                raise

        def fail(job_id: str, error: BaseException, trace: Any = None) -> None:
            log(job_id, error, trace)
            self._store.executor_failed(runs_of(job_id), error)

        executor._run_job_error, executor.submit_job = fail, accept
        self._watched.add(executor)


def workers_of(executor: Any) -> int:
    """Return how many jobs an APScheduler executor runs at once; 0 if it knows no bound."""
    return int(getattr(getattr(executor, "_pool", None), "_max_workers", 0))


def free_workers(executor: Any) -> int:
    """Return how many more jobs an executor can start at once; less than 0 while some wait."""
    workers = workers_of(executor)
    if not workers:
        return MAX_CLAIM
    with executor._lock:
        running: int = sum(executor._instances.values())
    return workers - running
