"""Retention: what is deleted, and when. Used by the nightly job and by `prune_job_history`."""

import dataclasses
import datetime as dt
import logging

from django.db import router
from django.db.models import Exists, OuterRef

from jobstore.models import (
    AuditEntry,
    DjangoJob,
    DjangoJobExecution,
    SchedulerInstance,
    database_now,
)

logger = logging.getLogger(__name__)

# Entries that one statement deletes.
BATCH = 1000


@dataclasses.dataclass(frozen=True)
class Pruned:
    """How many rows were deleted."""

    runs: int
    jobs: int
    processes: int
    audit_entries: int = 0


def prune(*, days: float, keep_per_job: int | None = None) -> Pruned:
    """Delete old history, and the retired jobs and ended processes that no history names.

    :param days: age beyond which a run is deleted.
    :param keep_per_job: of each job, the number of newest runs to keep; None for all.
    :raises ValueError: if one of them is negative or not a number; nothing is deleted then.
    """
    using = router.db_for_write(DjangoJobExecution)
    runs = DjangoJobExecution.objects.delete_old_job_executions(days * 86_400, keep_per_job)
    cutoff = database_now(using) - dt.timedelta(days=days)
    history = DjangoJobExecution.objects.filter(job=OuterRef("pk"))
    jobs = DjangoJob.all_objects.using(using).filter(
        # A declared job that has finished must not come back at the next start.
        ~Exists(history),
        retired_at__lt=cutoff,
        declaration="",
    )
    named = DjangoJobExecution.objects.filter(instance=OuterRef("pk"))
    processes = SchedulerInstance.objects.using(using).filter(
        ~Exists(named), role__in=SchedulerInstance.GONE, heartbeat_at__lt=cutoff
    )
    pruned = Pruned(runs, jobs.delete()[0], processes.delete()[0], _prune_audit(cutoff, using))
    text = "Pruned %d runs, %d retired jobs, %d processes, %d audit entries."
    logger.info(text, *dataclasses.astuple(pruned))
    return pruned


def _prune_audit(cutoff: dt.datetime, using: str) -> int:
    """Delete entries that are older than the history; in batches, so that nobody waits long."""
    entries = AuditEntry.objects.using(using)
    old = entries.filter(at__lt=cutoff).order_by("pk").values_list("pk", flat=True)
    deleted = 0
    while ids := list(old[:BATCH]):
        deleted += entries.filter(pk__in=ids).delete()[0]
    return deleted
