"""Quarantine: jobs that cannot be run are kept, with the reason, until they can be run."""

import dataclasses
import logging
from collections.abc import Callable, Collection, Iterable

from django.db import router, transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from jobstore.batches import batched
from jobstore.models import DjangoJob, JobQuerySet, database_now
from jobstore.schedules.next_times import following
from jobstore.sentences import said
from jobstore.storage import serializer
from jobstore.storage.rows import DueJob
from jobstore.texts import described, one_line

logger = logging.getLogger("jobstore.store")

# Jobs that are tried again in one transaction.
BATCH_JOBS = 100


@dataclasses.dataclass(frozen=True)
class Retried:
    """The outcome of trying a quarantined job again; `reason` is empty if it is back in service."""

    job_id: str
    reason: str


def quarantined(using: str) -> JobQuerySet:
    """Return the jobs that are in quarantine."""
    jobs: JobQuerySet = DjangoJob.objects.using(using).filter(quarantined_at__isnull=False)
    return jobs


def put(row: DjangoJob | DueJob, reason: str, using: str) -> bool:
    """Quarantine a job unless it was changed meanwhile; return whether that was done.

    Only the active scheduler may do this. Another process that cannot read a job may have the wrong
    key, or older code.
    """
    rows = DjangoJob.objects.using(using).filter(pk=row.pk, version=row.version)
    changes = {"quarantined_at": database_now(using), "quarantine_reason": reason}
    if not rows.filter(quarantined_at=None).update(**changes):
        return False
    logger.error("Job %r is quarantined: %s", row.pk, one_line(reason))
    return True


def put_all(
    found: Iterable[tuple[DjangoJob | DueJob, str]], fence: Callable[[], object], using: str
) -> None:
    """Quarantine jobs, each with its reason, in a transaction that begins with the fence.

    :param fence: raises if this process may not, or no longer, do so.
    """
    with transaction.atomic(using=using):
        fence()
        for row, reason in found:
            put(row, reason, using)


def release(row: DjangoJob) -> bool:
    """End a job's quarantine; return whether it was in quarantine.

    Its next run time stays. If that has passed, the misfire rules decide about it.

    :raises UnreadableState: if the job cannot be restored; it stays in quarantine.
    :raises ValueError: if its trigger cannot be used.
    """
    using = router.db_for_write(DjangoJob)
    job = serializer.restore(row)
    try:
        following(job.trigger, None, timezone.localtime(timezone=serializer.zone_of(job)))
    except Exception as error:  # the trigger may be code of the project
        raise ValueError(
            said(gettext_noop("its trigger raised %(error)s"), error=described(error))
        ) from error
    kept = quarantined(using).filter(pk=row.pk)
    return bool(kept.update(quarantined_at=None, quarantine_reason=""))


def bring_back(executors: Collection[str], fence: Callable[[], object], using: str) -> list[str]:
    """End the quarantine of jobs that can be restored now; return their ids.

    Each start does this, since the process before it may have lacked code or keys.

    :param executors: the names of the configured executors; jobs of others stay.
    :param fence: called in the transaction; raises if this process may not, or no longer, do so.
    """
    found = list(quarantined(using).filter(executor__in=executors).order_by("pk"))
    brought: list[str] = []
    for batch in batched(found, BATCH_JOBS):
        with transaction.atomic(using=using):
            fence()
            brought += [row.pk for row in batch if _is_back(row)]
    if brought:
        names = one_line(", ".join(brought))
        logger.warning("Back from quarantine, since they can be restored: %s", names)
    return brought


def _is_back(row: DjangoJob) -> bool:
    try:
        return release(row)
    except (serializer.UnreadableState, ValueError):
        return False


def retry(job_ids: list[str] | None = None) -> list[Retried]:
    """Try quarantined jobs again, all of them or those with these ids; return the outcomes.

    If a reason has changed, it is stored, so that the admin shows the current one.
    """
    using = router.db_for_write(DjangoJob)
    rows = quarantined(using).order_by("pk")
    if job_ids is not None:
        rows = rows.filter(pk__in=job_ids)
    return [_retry(row, using) for row in rows]


def _retry(row: DjangoJob, using: str) -> Retried:
    try:
        release(row)
    except (serializer.UnreadableState, ValueError) as error:
        reason = str(error)
        if reason != row.quarantine_reason:
            rows = quarantined(using).filter(pk=row.pk, version=row.version)
            rows.update(quarantine_reason=reason)
        return Retried(row.pk, reason)
    return Retried(row.pk, "")
