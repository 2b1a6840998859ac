"""Which jobs start now: the due ones and the requested ones, as many as there are workers for."""

import collections
import datetime as dt
import logging
from collections.abc import Collection, Iterable
from typing import Any, Protocol

from apscheduler.job import Job
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from jobstore.claims import claim, due, outcomes
from jobstore.claims.bad_jobs import BadJobs
from jobstore.claims.capacity import MAX_CLAIMED_JOBS, PREFETCH_SECONDS, Capacity, workers_of
from jobstore.claims.executor_failures import ExecutorFailures
from jobstore.claims.lost_replies import LostReplies
from jobstore.claims.plan import Plan, UnusableTrigger, plan
from jobstore.claims.prefetch import Prefetch
from jobstore.claims.requests import RequestedRuns
from jobstore.claims.result import ClaimResult, LacksKeys, Settled
from jobstore.database.timeouts import set_session_timeouts
from jobstore.execution.run import ActiveRun, ClaimedJob
from jobstore.history.recorder import Recorder
from jobstore.leadership.elector import Elector
from jobstore.leadership.lease import NotHolder, Term, assert_holder
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.storage import key_rotation, quarantine, run_arguments, serializer
from jobstore.storage.rows import DueJob
from jobstore.texts import one_line
from jobstore.util import (
    as_aware,
    renew_idle_connection,
    retry_on_db_operational_error,
)

logger = logging.getLogger("jobstore.store")

# Scheduled times of all jobs together that one claim decides at most, so that it does not hold its
# locks for long, or exceed the limit of a statement.
MAX_SETTLED_TIMES = 1_000
# Seconds until the next look at the database while something waits for a worker.
BUSY_LOOK_SECONDS = 1.0
# Seconds until a job is tried again that a claim skipped (locked or changed): at first, at most.
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.1, 1.0


class Store(Protocol):
    """The job store, as far as its dispatcher needs it."""

    recorder: Recorder | None
    _scheduler: Any

    @property
    def using(self) -> str:
        """The alias of the database that the jobs are routed to."""

    def restore(self, row: DjangoJob | DueJob) -> Job | None:
        """Return the job of a row, or None for one that cannot be restored."""

    def restore_or_raise(self, row: DjangoJob | DueJob) -> Job:
        """Return the job of a row, or raise UnreadableState."""

    def finish(self, run: ActiveRun, status: str, **details: Any) -> None:
        """Record how a run ended."""

    def executor_failed(self, failed: list[ActiveRun], error: BaseException) -> None:
        """Report runs that never came to their function."""


class Dispatcher:
    """Claims runs for one store in one scheduler, and knows those that have not finished."""

    def __init__(self, store: Store, elector: Elector) -> None:
        self.runs: dict[tuple[str, dt.datetime], ActiveRun] = {}
        # Executors without a free worker, and since when jobs have been waiting for one.
        self.saturated: dict[str, dt.datetime] = {}
        # The epoch in which that was observed; it holds if the lease was only briefly distrusted.
        self._epoch: int | None = None
        self._lost_replies = LostReplies()
        # When the next job is due, if this look at the database has found that out already.
        self.known_first: tuple[dt.datetime | None] | None = None
        self._prefetch = Prefetch(PREFETCH_SECONDS, MAX_CLAIMED_JOBS)
        # What this look at the database found that cannot be run.
        self._bad_jobs = BadJobs(store.restore_or_raise, store.using)
        self._requested = RequestedRuns(
            store.using, self._bad_jobs.restore, self._bad_jobs.quarantine, self._ended
        )
        # Executors whose last worker went to a requested run: due jobs come first there.
        self._due_first: set[str] = set()
        # Jobs that the last claims skipped (locked or changed), and how often.
        self._left: collections.Counter[str] = collections.Counter()
        # Claim again once no more than this many runs are unfinished.
        self._refill_at = 0
        self._store = store
        self._elector = elector
        # The epoch for which `_begin` has run: all jobs are signed with the current key.
        self._begun_epoch: int | None = None
        self._connection: BaseDatabaseWrapper | None = None
        self._failures = ExecutorFailures(store.executor_failed)

    @property
    def using(self) -> str:
        """The alias of the database that the jobs are routed to."""
        return self._store.using

    @property
    def is_unsure(self) -> bool:
        """Whether the reply to a claim was lost, and no look at the database has followed."""
        return self._lost_replies.is_unsure

    @property
    def is_looking_for_runs(self) -> bool:
        """Whether runs may appear whose claim's reply was lost."""
        return self._lost_replies.since is not None

    @property
    def running(self) -> list[ActiveRun]:
        """The runs that were claimed and are not finished."""
        return list(self.runs.values())

    @property
    def _executors(self) -> dict[str, Any]:
        executors: dict[str, Any] = self._store._scheduler._executors
        return executors

    def close_connection(self) -> None:
        """Close the connection of APScheduler's thread, which may end without closing it.

        During a shutdown the scheduler holds its lock on job stores, so the thread is not using the
        connection.
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
        return due.first_run_time(without=self.saturated, besides=self._left, using=self.using)

    @property
    def look_within(self) -> float | None:
        """Seconds until the next look if something waits, even if no job is due; otherwise None."""
        if self._requested.has_more:
            return 0.0
        if self._left:
            return float(
                min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** (max(self._left.values()) - 1))
            )
        waits = self.saturated or self._requested.waiting_since or self.is_looking_for_runs
        return BUSY_LOOK_SECONDS if waits else None

    def take(self, term: Term | None, taken: ClaimResult) -> None:
        """Claim due and requested runs; put them into `taken` as soon as they are certain.

        :param term: the right to claim; None if this process does not hold the lease.
        :raises NotHolder: if the lease is no longer held with this epoch.
        :raises LacksKeys: if too few keys of the stored jobs are known here.
        """
        self._connection = connections[self.using]
        renew_idle_connection(self.using)
        set_session_timeouts(self.using)
        self.known_first = None
        now = self._elector.now()
        self._prefetch.look(len(self.runs))
        # Counted before runs are taken up whose claim had no reply: these count as having workers.
        capacity = Capacity(self._executors, self.running, self._prefetch)
        if self._lost_replies.since is not None:
            self._recover(self._lost_replies.since, taken)
            self._lost_replies.looked(now)
        if term is not None and term.epoch != self._epoch:
            self.saturated.clear()
            self._left.clear()
            self._due_first.clear()
            self._requested.waiting_since = None
            self._epoch = term.epoch
        if term is not None and term.epoch != self._begun_epoch:
            self._begin(term)
            self._begun_epoch = term.epoch
        if term is None or self._finds_nothing(now):
            return
        before = self._lost_replies.claim_is_sent(now)
        try:
            self._claim(term, now, capacity, taken)
        except NotHolder:  # this is a reply, too
            self._lost_replies.claim_is_answered(before)
            raise
        self._lost_replies.claim_is_answered(before)

    def _begin(self, term: Term) -> None:
        """Before the first claim of an epoch, sign jobs with the current key and end quarantines.

        :raises LacksKeys: if this process would quarantine most jobs.
        """
        if problem := key_rotation.problem(self.using):
            raise LacksKeys(problem)

        def fence() -> None:
            assert_holder(term, self.using)

        renewal = key_rotation.sign_anew(self.using, fence)
        if renewal.signed:
            logger.info("%d jobs were signed anew with the present key.", renewal.signed)
        quarantine.bring_back(list(self._executors), fence, self.using)

    def _claim(self, term: Term, now: dt.datetime, capacity: Capacity, taken: ClaimResult) -> None:
        has_rivals = bool(self.saturated) or self._is_expected(now)
        # If due and requested runs both wait for workers, they take turns. A turn is used up when a
        # run gets a worker, not when a look finds all workers busy.
        yielding = set(self._due_first)
        if not yielding.issuperset(self._executors):
            places = capacity.places
            most = (places + 1) // 2 if has_rivals else places
            self._claim_requested(term, now, capacity, most, taken, without=yielding)
        plans = list(self._plans(now, capacity))
        self._bad_jobs.quarantine(term)
        self._explain(plans, now)
        written = claim.claim(plans, term, self.using)
        self._take_up(plans, written, term, now, taken)
        self._note_left({one.job.id for one in plans} - written.moved)
        if yielding:
            self._claim_requested(term, now, capacity, capacity.places, taken)
        # Half of those that wait for a worker now; many may have ended during the claim.
        queued = len(self.runs) - sum(map(workers_of, self._executors.values()))
        self._refill_at = len(self.runs) - max(queued // 2, 1)

    def _claim_requested(
        self,
        term: Term,
        now: dt.datetime,
        capacity: Capacity,
        most: int,
        taken: ClaimResult,
        without: Collection[str] = (),
    ) -> None:
        if not self._elector.requested:
            return
        for job, request in self._requested.claim(term, now, capacity, most, without):
            self._due_first.add(job.executor)
            run = ActiveRun(request.pk, job.id, as_aware(request.run_time), term.epoch)
            taken.jobs.append(self._claimed_job(job, [run], now))
        waits = self._requested.waiting_since is not None
        self._elector.requested = waits or self._requested.has_more or bool(without)

    def _take_up(
        self,
        plans: list[Plan],
        written: claim.Written,
        term: Term,
        now: dt.datetime,
        taken: ClaimResult,
    ) -> None:
        """Put what a claim has written into `taken`."""
        rows: dict[str, list[claim.RunRow]] = {}
        for row in written:
            rows.setdefault(row.job_id, []).append(row)
        for one in plans:
            runs: list[ActiveRun] = []
            for row in sorted(rows.get(one.job.id, []), key=lambda row: row.run_time):
                if row.status == DjangoJobExecution.RUNNING:
                    runs.append(ActiveRun(row.id, row.job_id, row.run_time, term.epoch))
                    continue
                of_its_kind = one.missed if row.status == outcomes.MISSED else one.skipped
                first = of_its_kind.index(row.run_time)
                times = of_its_kind[first : first + row.times]
                taken.settled.append(Settled(row.job_id, row.status, times, row.total))
            if runs:
                self._due_first.discard(one.job.executor)
                taken.jobs.append(self._claimed_job(one.job, runs, one.next_run_time or now))
            if one.next_run_time is None and one.job.id in written.moved:
                taken.ended.append(one.job.id)

    def _explain(self, plans: list[Plan], now: dt.datetime) -> None:
        """Look up which rows count further missed or skipped times, and why times are skipped."""
        settled = [one for one in plans if one.missed or one.skipped]
        previous = outcomes.previous_rows([one.job.id for one in settled], self.using)
        skipped = [one.job.id for one in settled if one.skipped]
        reasons = outcomes.reasons(skipped, now, self.using)
        for one in settled:
            one.previous = previous.get(one.job.id)
            one.reason = reasons.get(one.job.id, "")

    def _note_left(self, left: set[str]) -> None:
        """Remember jobs that were skipped, and log those that are skipped again and again."""
        for job_id in set(self._left) - left:
            del self._left[job_id]
        self._left.update(left)
        for job_id in left:
            if self._left[job_id] == 5:
                logger.warning("Job %r is due, but another transaction has locked its row.", job_id)

    def _is_expected(self, now: dt.datetime) -> bool:
        planned = self._elector.planned_wake
        return planned is not None and planned <= now

    def _finds_nothing(self, now: dt.datetime) -> bool:
        """Tell with one small statement whether no job is due, when none is expected."""
        if self._is_expected(now) or self.saturated or self._left or self._elector.requested:
            return False
        first = self.first_run_time()
        if first is not None and as_aware(first) <= now:
            return False
        self.known_first = (first,)
        return True

    def _recover(self, since: dt.datetime, taken: ClaimResult) -> None:
        """Take up runs of a claim that was committed, but whose reply was lost."""
        found = self._lost_replies.unknown_runs(self._elector.id, self.running, self.using)
        jobs = DjangoJob.all_objects.using(self.using).in_bulk({row.job_id for row, _ in found})
        for row, one in found:
            job_id = row.job_id
            job = self._restore_for(jobs.get(job_id), row)
            if job is not None and job.executor in self._executors:
                logger.warning("Job %r is started late: the reply to its claim was lost.", job_id)
                taken.jobs.append(self._claimed_job(job, one, since))
                continue
            for run in one:
                text = (
                    "The reply to the claim of this run was lost, and the job could not be "
                    "restored afterwards."
                )
                self._store.finish(run, DjangoJobExecution.ERROR, exception=text)

    def _restore_for(self, row: DjangoJob | None, run: DjangoJobExecution) -> Job | None:
        """Return the job of a row with the arguments of a run; None if it cannot be restored."""
        job = self._store.restore(row) if row is not None else None
        try:
            if job is not None:
                run_arguments.give(job, run)
        except serializer.UnreadableState as error:
            logger.error("Run %d cannot be started: %s", run.pk, one_line(error))
            return None
        return job

    def _plans(self, now: dt.datetime, capacity: Capacity) -> Iterable[Plan]:
        """Plan as many due jobs as can start now or soon; note which executors are full."""
        limit = capacity.places
        full = set(capacity.blocked)
        rows = self._due_rows(now, limit + 1, full) if limit else []
        was_saturated = dict(self.saturated)
        zone = self._store._scheduler.timezone
        times_left = MAX_SETTLED_TIMES
        for row in rows[:limit]:
            if not capacity.knows(row.executor):
                reason = f"No executor named {row.executor!r} is configured here."
                self._bad_jobs.note(row, reason)
                continue
            if not capacity.admits(row.executor, row.func):
                continue
            if times_left <= 0:
                break  # the others stay due for the next claim, which follows at once
            if (job := self._bad_jobs.restore(row)) is None:
                continue
            try:
                one = plan(
                    job,
                    row.version,
                    now.astimezone(zone),
                    running=row.running,
                    saturated_since=was_saturated.get(row.executor),
                    most=times_left,
                )
            except UnusableTrigger as error:
                self._bad_jobs.note(row, str(error))
                continue
            times_left -= len(one.missed) + len(one.skipped) + len(one.start)
            if one.start:
                capacity.take(row.executor, row.func)
            yield one
        if len(rows) > limit and capacity.is_full(rows[limit].executor):
            capacity.blocked.add(rows[limit].executor)
        self.saturated = {alias: was_saturated.get(alias, now) for alias in capacity.blocked}
        self._elector.saturation.note(self.saturated)

    def _due_rows(self, now: dt.datetime, limit: int, full: set[str]) -> list[DueJob]:
        return due.due_jobs(now, limit, without=full, ended=self._ended(), using=self.using)

    def _ended(self) -> list[int]:
        """Return runs that have ended but are not written yet: after an outage, often many."""
        recorder = self._store.recorder
        return recorder.unwritten() if recorder is not None else []

    def end(self, job_id: str, run_time: dt.datetime) -> ActiveRun | None:
        """Forget a run that has ended; None if it is not one of this process."""
        run = self.runs.pop((job_id, run_time), None)
        if run is not None:
            self._prefetch.ended(run.func, run.duration)
        return run

    @property
    def wants_more(self) -> bool:
        """Whether jobs wait for a worker, and enough of those that were claimed have ended."""
        waits = self.saturated or self._requested.waiting_since is not None
        return bool(waits) and len(self.runs) <= self._refill_at

    def _claimed_job(self, job: Job, runs: list[ActiveRun], following: dt.datetime) -> Job:
        self._prefetch.claimed(len(runs))
        for run in runs:
            run.func, run.executor = job.func_ref or "", job.executor
            run.reporter = self._store.recorder.report if self._store.recorder else None
            self.runs[run.job_id, run.run_time] = run
            self._lost_replies.started(run)
        executor = self._executors[job.executor]
        self._failures.watch(executor)
        return ClaimedJob.of(job, runs, following, executor, self._elector.now)
