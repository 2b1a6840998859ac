"""Ends runs elsewhere that took too long, or that somebody cancelled while they ran.

The holder of the lease does so, since a worker may be stuck or frozen. The row says first how the
run ended, by compare-and-set; what its worker writes afterwards has no effect. Then the engine is
asked to end it, if it can.
"""

import contextlib
import datetime as dt
import logging
from collections.abc import Mapping
from typing import Any

from django.db.models import Q

from jobstore.executors.elsewhere import ElsewhereExecutor, Message
from jobstore.history.recorder import Result, write
from jobstore.leadership.retries import Retries
from jobstore.models import DjangoJobExecution, SchedulerInstance, database_now
from jobstore.util import as_aware

logger = logging.getLogger("jobstore.runs")

Run = DjangoJobExecution

# Seconds that a worker gets to report an overlong run itself, with its traceback.
REPORT_SECONDS = 1.0
# Runs that one look reads.
MAX_RUNS = 1000


def too_long(timeout: float) -> str:
    """Return what the history says of a run that was ended after so many seconds."""
    return f"It did not end within its timeout of {timeout:g} s, and was ended."


def _goes_on(timeout: float) -> str:
    return (
        f"It did not end within its timeout of {timeout:g} s. Its executor cannot end it, so its "
        "function goes on until it asks `current_run().is_cancelled`, or returns."
    )


def can_end(executor: Any) -> bool:
    """Tell whether an executor ends runs; otherwise their functions are told that they must."""
    if isinstance(executor, ElsewhereExecutor):
        return type(executor).end is not ElsewhereExecutor.end
    return hasattr(executor, "end_run")


def end_what_must(executors: Mapping[str, ElsewhereExecutor], using: str) -> int:
    """End what is over its timeout or was cancelled; return how many runs that were."""
    running = Run.objects.using(using).filter(
        Q(cancel_requested_at__isnull=False) | Q(job__timeout__isnull=False),
        status=Run.RUNNING,
        instance__role=SchedulerInstance.Role.WORKER,
    )
    rows = list(running.select_related("job").order_by("pk")[:MAX_RUNS])
    now = as_aware(database_now(using)) if rows else None
    return sum(_end_if_due(row, now, executors, using) for row in rows if now)


def _end_if_due(
    row: Run, now: dt.datetime, executors: Mapping[str, ElsewhereExecutor], using: str
) -> bool:
    seconds = (now - as_aware(row.started_at or row.claimed_at or row.run_time)).total_seconds()
    timeout = row.job.timeout
    if row.cancel_requested_at is not None:
        status = Run.CANCELLED
        text = f"Cancelled by {row.cancel_requested_by} after {seconds:.0f} s."
    elif timeout is not None and seconds > timeout + REPORT_SECONDS:
        status, text = Run.TIMED_OUT, too_long(timeout)
        if not can_end(executors.get(row.job.executor)):
            text = _goes_on(timeout)
    else:
        return False
    if row.instance_id is None:
        return False
    result = Result(
        row.pk,
        status,
        finished=database_now(using),
        started_at=row.started_at,
        duration=seconds,
        exception=text,
    )
    # If it has just ended by itself, this changes nothing, and there is nothing left to end.
    write([result], row.instance_id, using, Retries(row.instance_id, using))
    logger.warning("Run %d of job %r is ended: %s", row.pk, row.job_id, text)
    executor = executors.get(row.job.executor)
    if executor is not None:
        with contextlib.suppress(Exception):  # the engine is away: its row says what counts
            executor.end(Message(row.pk, row.attempt, row.job_id, row.job.executor, timeout))
    return True
