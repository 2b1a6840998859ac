"""Processes that are gone, and the runs that they left.

A process is gone when it has signed off, or has given no sign of life for SCHEDULER_DEAD_SECONDS.
The former holder of the lease is gone sooner if its database session has ended, which the session
lock proves, and no sign of life has come since: a process that only lost its connection reconnects.
"""

import contextlib
import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from jobstore import conf
from jobstore.leadership.lease import NotHolder, Term, assert_holder
from jobstore.models import (
    DjangoJob,
    DjangoJobExecution,
    DjangoJobExecutionManager,
    SchedulerInstance,
    database_now,
)
from jobstore.storage import run_arguments, serializer
from jobstore.texts import one_line

logger = logging.getLogger("jobstore.scheduler")

Role = SchedulerInstance.Role

# Attempts at a lost run, the first included, where its job asks for another after a loss.
MAX_ATTEMPTS = 3
# Seconds that a repeated run is put off, so that it does not begin while a thread still runs the
# lost one.
PUT_OFF_SECONDS = 3.0


def mark_lost(
    instances: Iterable[uuid.UUID], using: str, reason: str, *, put_off: float = 0.0
) -> int:
    """Mark the unfinished runs of processes as lost; return how many there were.

    If a job asks for it, another run is requested in the same transaction.

    :param put_off: seconds that must pass before such a run starts.
    """
    manager = DjangoJobExecution.objects.db_manager(using)
    unfinished = manager.filter(instance_id__in=instances, status=DjangoJobExecution.RUNNING)
    with transaction.atomic(using=using):
        lost = list(unfinished.select_for_update())
        if not lost:
            return 0
        unfinished.filter(pk__in=[run.pk for run in lost]).update(
            status=DjangoJobExecution.LOST, finished=database_now(using), exception=reason
        )
        rerun = DjangoJob.all_objects.using(using).filter(on_lost=DjangoJob.OnLost.RERUN)
        jobs = rerun.in_bulk({run.job_id for run in lost})
        goes_on = {job.pk for job in jobs.values() if job.next_run_time is not None}
        # Jobs that have no further time were not stopped by anybody.
        goes_on |= ended_by_themselves(jobs.values(), using)
        for run in lost:
            if run.job_id in goes_on and run.attempt < MAX_ATTEMPTS:
                _request_again(run, manager, put_off)
    return len(lost)


def _request_again(
    run: DjangoJobExecution, manager: DjangoJobExecutionManager, put_off: float
) -> None:
    """Ask for another attempt at a lost run, with the arguments that it had."""
    try:
        arguments = run_arguments.signer_again(run)
    except serializer.UnreadableState as error:
        logger.error("Run %d is not repeated: %s", run.pk, one_line(error))
        return
    again = f"loss of run {run.pk}"
    manager.request(run.job_id, again, run.attempt + 1, put_off=put_off, arguments=arguments)


def ended_by_themselves(jobs: Iterable[DjangoJob], using: str) -> set[str]:
    """Return the ids of jobs that were retired because their last run was claimed.

    Jobs that somebody retired, or whose declaration is gone, are not among them.
    """
    retired = [job.pk for job in jobs if job.retired_at is not None]
    if not retired:
        return set()
    last = DjangoJobExecution.objects.using(using).filter(
        job__in=retired, claimed_at=F("job__retired_at")
    )
    return set(last.order_by().values_list("job_id", flat=True))


@dataclasses.dataclass(frozen=True)
class Suspect:
    """The former holder of the lease, whose database session has ended: it is dead or cut off."""

    instance: uuid.UUID
    # When its successor took over, as Django stores it. A later heartbeat proves that it lives.
    since: dt.datetime

    def is_due(self, now: dt.datetime) -> bool:
        """Return whether two renewals have passed, in which it could have come back."""
        grace = 2 * conf.get("SCHEDULER_RENEW_SECONDS")
        return now > self.since + dt.timedelta(seconds=grace)


def anybody_is_gone(me: uuid.UUID, using: str, now: dt.datetime, suspect: Suspect | None) -> bool:
    """Tell with one statement whether `reap_dead_instances` would find anything to do."""
    gone = ~Q(pk=me) & (_is_silent(now, suspect) | _has_left_runs())
    return SchedulerInstance.objects.using(using).filter(gone).exists()


def reap_dead_instances(
    me: uuid.UUID, term: Term | None, using: str, now: dt.datetime, suspect: Suspect | None
) -> int:
    """Mark processes that are gone as lost, and their runs. Only the lease's holder may call it.

    A process that is only frozen is marked, too; its late results will change nothing.

    :param me: the caller, whose own runs are never lost.
    :param term: the caller's right to claim, which is asserted in the transaction.
    :param now: the database's time, as Django stores it.
    :return: how many runs were lost.
    """
    others = SchedulerInstance.objects.using(using).exclude(pk=me)
    with contextlib.suppress(NotHolder), transaction.atomic(using=using):
        # A process that was only frozen may have come back, and may hold the lease by now.
        if term is not None:
            assert_holder(term, using)
        others.filter(_is_silent(now, suspect)).update(role=Role.LOST)
        ids = list(others.filter(_has_left_runs()).values_list("pk", flat=True))
        return mark_lost(ids, using, "The process that ran this ended before the run did.")
    return 0


def _is_silent(now: dt.datetime, suspect: Suspect | None) -> Q:
    silent_since = now - dt.timedelta(seconds=conf.get("SCHEDULER_DEAD_SECONDS"))
    silent = Q(heartbeat_at__lt=silent_since)
    if suspect is not None and suspect.is_due(now):
        silent |= Q(pk=suspect.instance, heartbeat_at__lte=suspect.since)
    return ~Q(role__in=SchedulerInstance.GONE) & silent


def _has_left_runs() -> Q:
    """Return the processes that are gone and have runs which are not finished."""
    running = DjangoJobExecution.objects.filter(
        instance=OuterRef("pk"), status=DjangoJobExecution.RUNNING
    )
    return Q(Exists(running), role__in=SchedulerInstance.GONE)
