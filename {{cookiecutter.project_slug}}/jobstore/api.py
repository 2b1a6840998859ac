"""What may be done with stored jobs, from any process: the admin's pages call nothing else.

The active scheduler notices a change at once where the database can tell of it, elsewhere within
the two seconds between renewals of the lease.
"""

from django.db import router
from django.utils import timezone

from jobstore.models import DjangoJob, DjangoJobExecution, database_now
from jobstore.schedules.wording import first_run_time
from jobstore.storage import serializer
from jobstore.texts import described
from jobstore.util import as_aware, get_django_internal_datetime

__all__ = ["pause", "resume", "retire", "run_now"]


def pause(job_id: str) -> bool:
    """Stop scheduling a job until `resume`; return whether that changed anything."""
    jobs = DjangoJob.objects.filter(pk=job_id, next_run_time__isnull=False)
    return bool(jobs.update(next_run_time=None))


def resume(job_id: str) -> bool:
    """Schedule a paused job again from now on; return whether that changed anything.

    :raises UnreadableState: if the job cannot be restored.
    :raises ValueError: if its trigger has no more run times, or raises.
    """
    row = DjangoJob.objects.filter(pk=job_id).first()
    if row is None:
        return False
    job = serializer.restore(row)
    now = as_aware(database_now(router.db_for_write(DjangoJob)))
    try:
        next_run_time = first_run_time(job.trigger, timezone.localtime(now))
    except Exception as error:  # a trigger is anybody's code
        raise ValueError(f"The trigger of job {job_id!r} raised {described(error)}.") from error
    if next_run_time is None:
        raise ValueError(f"The trigger of job {job_id!r} has no run time left.")
    paused = DjangoJob.objects.filter(pk=job_id, next_run_time__isnull=True)
    return bool(paused.update(next_run_time=get_django_internal_datetime(next_run_time)))


def run_now(job_id: str, requested_by: str) -> DjangoJobExecution:
    """Ask the active scheduler for one run, now; return the row to watch.

    :param requested_by: who or what asks, shown in the history.
    :raises ValueError: if there is no such job in service.
    """
    if not DjangoJob.objects.filter(pk=job_id).exists():
        raise ValueError(f"Job {job_id!r} is retired, or there is none; it does not run.")
    using = router.db_for_write(DjangoJobExecution)
    return DjangoJobExecution.objects.db_manager(using).request(job_id, requested_by)


def retire(job_id: str, why: str = "The job was retired") -> bool:
    """Take a job out of service; return whether it was in service. Its history stays.

    What was asked for and has not started is cancelled.

    :param why: how the text begins that such runs are cancelled with.
    """
    return bool(DjangoJob.objects.filter(pk=job_id).retire(why))
