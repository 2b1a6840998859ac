"""Quarantine: jobs that cannot be run are kept, out of the way and visible, until they can be."""

import dataclasses
import logging

from django.db import router
from django.utils import timezone

from . import state
from .due import DueJob
from .models import DjangoJob, JobQuerySet, database_now

logger = logging.getLogger("jobstore.store")


@dataclasses.dataclass(frozen=True)
class Retried:
    """What came of trying a quarantined job again; `reason` is empty if it is back in service."""

    job_id: str
    reason: str


def quarantined(using: str) -> JobQuerySet:
    """Return the jobs that are in quarantine."""
    jobs: JobQuerySet = DjangoJob.objects.using(using).filter(quarantined_at__isnull=False)
    return jobs


def put(row: DjangoJob | DueJob, reason: str, using: str) -> bool:
    """Quarantine a job unless somebody changed it meanwhile; return whether that was done."""
    rows = DjangoJob.objects.using(using).filter(pk=row.pk, version=row.version)
    changes = {"quarantined_at": database_now(using), "quarantine_reason": reason}
    if not rows.filter(quarantined_at=None).update(**changes):
        return False
    logger.error("Job %r is quarantined: %s", row.pk, reason)
    return True


def release(row: DjangoJob) -> bool:
    """Put a quarantined job back into service; return whether it was in quarantine.

    Its next run time stays: if that has passed, the misfire rules decide about it.

    :raises UnreadableState: if the job cannot be restored, and stays where it is.
    :raises ValueError: if its trigger cannot be used.
    """
    using = router.db_for_write(DjangoJob)
    job = state.restore(row)
    try:
        job.trigger.get_next_fire_time(None, timezone.localtime(timezone=state.zone_of(job)))
    except Exception as error:  # a trigger is anybody's code
        raise ValueError(f"its trigger raised {error!r}") from error
    kept = quarantined(using).filter(pk=row.pk)
    return bool(kept.update(quarantined_at=None, quarantine_reason=""))


def retry(job_ids: list[str] | None = None) -> list[Retried]:
    """Try quarantined jobs again, all of them or those with these ids; return what came of it.

    A reason that has changed is stored, so that the admin shows the present one.
    """
    using = router.db_for_write(DjangoJob)
    rows = quarantined(using).order_by("pk")
    if job_ids is not None:
        rows = rows.filter(pk__in=job_ids)
    return [_retry(row, using) for row in rows]


def _retry(row: DjangoJob, using: str) -> Retried:
    try:
        release(row)
    except (state.UnreadableState, ValueError) as error:
        reason = str(error)
        if reason != row.quarantine_reason:
            rows = quarantined(using).filter(pk=row.pk, version=row.version)
            rows.update(quarantine_reason=reason)
        return Retried(row.pk, reason)
    return Retried(row.pk, "")
