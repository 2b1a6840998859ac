"""Further attempts at runs that failed.

An attempt is a request like any other: the active scheduler starts it, whoever that is by then. It
is written in the transaction that records the failure, and only if the failure is recorded: a late
result of a run that was marked as lost asks for nothing.
"""

import datetime as dt
import logging
import random
import uuid
from collections.abc import Iterable, Iterator, Sequence

from django.db.models import Q, QuerySet

from jobstore import exception_names
from jobstore.batches import batched
from jobstore.database.notifications import notify
from jobstore.history.recorder import Result
from jobstore.leadership.losses import ended_by_themselves, most_attempts
from jobstore.models import DjangoJob, DjangoJobExecution, database_now
from jobstore.storage import run_arguments, serializer
from jobstore.texts import one_line

logger = logging.getLogger("jobstore.scheduler")

Run = DjangoJobExecution

# Seconds; no retry waits longer, however often it doubled.
MAX_DELAY_SECONDS = 3600.0
# The share of a delay that chance adds or takes away, so that jobs which failed together do not
# all come back at once.
JITTER = 0.1
# What a run that took longer than its timeout counts as.
TIMEOUT_NAMES = "TimeoutError,OSError,Exception"
# Runs that are read at once, and bytes of arguments that are written at once.
BATCH_RUNS = 100
BATCH_BYTES = 4_000_000


def delay_of(job: DjangoJob, attempt: int) -> float:
    """Return the seconds between the end of an attempt, 1 for the first, and the next one."""
    doubled = job.retry_delay * 2.0 ** min(attempt - 1, 30)
    jittered = min(doubled, MAX_DELAY_SECONDS) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    return min(jittered, MAX_DELAY_SECONDS)


def is_worth_another(result: Result, job: DjangoJob, attempt: int) -> bool:
    """Return whether a job asks for another attempt after one that ended so.

    What is lost may have done its work, so `on_lost` alone decides about it.
    """
    if result.status == Run.LOST:
        return job.on_lost == DjangoJob.OnLost.RERUN and attempt < most_attempts(job)
    if attempt > job.retries:
        return False
    raised = TIMEOUT_NAMES if result.status == Run.TIMED_OUT else result.exception_names
    names = set(raised.split(",")) if raised else set()
    if job.retry_on:
        return exception_names.is_among(job.retry_on, names)
    # A function that raises SystemExit wants to end. What was never called raised nothing.
    return not names or "Exception" in names


class Retries:
    """Decides for one process which of its failed runs are tried again, and requests that."""

    def __init__(self, instance: uuid.UUID, using: str) -> None:
        self._instance = instance
        self._using = using

    def are_wanted(self, failed: Sequence[Result]) -> bool:
        """Tell with one statement whether another attempt may follow one of these results."""
        asking = Q(job__retries__gt=0) | Q(job__on_lost=DjangoJob.OnLost.RERUN)
        return self._running(result.execution_id for result in failed).filter(asking).exists()

    def _running(self, run_ids: Iterable[int]) -> QuerySet[DjangoJobExecution]:
        return Run.objects.using(self._using).filter(
            pk__in=[*run_ids], status=Run.RUNNING, instance=self._instance
        )

    def decide(self, failed: Sequence[Result]) -> dict[int, DjangoJobExecution]:
        """Return, by the runs' ids, the attempts that follow, and lock those runs."""
        results = {result.execution_id: result for result in failed}
        following: dict[int, DjangoJobExecution] = {}
        taken: set[tuple[str, dt.datetime]] = set()
        # Results may have waited for the database: their retries have not.
        now = database_now(self._using)
        for ids in batched(sorted(results), BATCH_RUNS):
            # Somebody who cancelled a run does not want it again.
            runs = self._running(ids).filter(cancel_requested_at=None).order_by("pk")
            locked = list(runs.select_for_update())
            jobs = self._jobs({run.job_id for run in locked})
            for run in locked:
                job = jobs.get(run.job_id)
                if job is None or not is_worth_another(results[run.pk], job, run.attempt):
                    continue
                delay = dt.timedelta(seconds=delay_of(job, run.attempt))
                run_time = max(results[run.pk].finished + delay, now)
                while (run.job_id, run_time) in taken:
                    run_time += dt.timedelta(microseconds=1)
                if (attempt := _following(run, run_time)) is not None:
                    taken.add((run.job_id, run_time))
                    following[run.pk] = attempt
        return following

    def _jobs(self, job_ids: set[str]) -> dict[str, DjangoJob]:
        """Return the jobs that go on: neither paused, nor in quarantine, nor out of service."""
        rows = DjangoJob.all_objects.using(self._using).defer("job_state")
        jobs = rows.filter(quarantined_at=None).in_bulk(job_ids)
        # A job that has no further time was not stopped by anybody.
        ended = ended_by_themselves(jobs.values(), self._using)
        return {
            job_id: job
            for job_id, job in jobs.items()
            if job.next_run_time is not None or job_id in ended
        }

    def request(self, attempts: Iterable[DjangoJobExecution]) -> None:
        """Write what `decide` returned."""
        manager = Run.objects.using(self._using)
        written = 0
        for rows in _in_packets(attempts):
            manager.bulk_create(rows)
            written += len(rows)
        if written:
            notify(self._using)


def _following(run: DjangoJobExecution, run_time: dt.datetime) -> DjangoJobExecution | None:
    """Return the next attempt at a run, with the arguments that it had."""
    try:
        signer = run_arguments.signer_again(run)
    except serializer.UnreadableState as error:
        logger.error("Run %d is not tried again: %s", run.pk, one_line(error))
        return None
    return Run(
        job_id=run.job_id,
        status=Run.REQUESTED,
        run_time=run_time,
        requested_by=f"retry of run {run.pk}",
        attempt=run.attempt + 1,
        attempt_of=run.attempt_of or run.pk,
        **(signer(run_time) if signer else {}),
    )


def _in_packets(rows: Iterable[DjangoJobExecution]) -> Iterator[list[DjangoJobExecution]]:
    """Return rows in groups that a statement can carry."""
    packet: list[DjangoJobExecution] = []
    size = 0
    for row in rows:
        own = len(row.arguments_state or b"")
        if packet and (size + own > BATCH_BYTES or len(packet) >= BATCH_RUNS):
            yield packet
            packet, size = [], 0
        packet.append(row)
        size += own
    if packet:
        yield packet
