"""Who is active, which processes there are, and whether jobs start on time, as the database knows.

Also asked by the web and by outside monitors, since a scheduler that died cannot report itself.
"""

import datetime as dt
from typing import Any

from . import conf
from .lease import waiting_jobs
from .models import DjangoJob, DjangoJobExecution, SchedulerInstance, database_now
from .presence import holder
from .util import as_aware


def verdict(using: str) -> dict[str, Any]:
    """Return whether exactly one scheduler is active and jobs start on time, in three statements.

    `reason` says what is wrong, and is empty if all is well. Ages and `late_by` are in seconds.
    Raises DatabaseError or InterfaceError if the database does not answer.
    """
    lease, process = holder(using)
    now = as_aware(database_now(using))
    first = waiting_jobs(using).values_list("next_run_time", flat=True).first()
    late = max(0.0, -_until(first, now)) if first else 0.0
    left = _until(lease.expires_at, now) if lease and lease.expires_at else None
    silent = -_until(process.heartbeat_at, now) if process else None
    reason = ""
    if left is None or left <= 0:
        reason = "No scheduler is active: nobody holds the lease."
    elif silent is not None and silent > conf.get("SCHEDULER_DEAD_SECONDS"):
        reason = f"{process} holds the lease and has given no sign of life for {silent:.0f} s."
    elif late > conf.get("SCHEDULER_HUNG_SECONDS"):
        reason = f"A job has been due for {late:.0f} s and does not start."
    return {
        "status": "unavailable" if reason else "ok",
        "reason": reason,
        "epoch": lease.epoch if lease else None,
        "holder": str(process) if process else None,
        "lease_expires_in": left,
        "heartbeat_age": silent,
        "late_by": late,
    }


def overview(using: str) -> dict[str, Any]:
    """Return the verdict, every process that has not left, and how many jobs and runs there are.

    Raises DatabaseError or InterfaceError if the database does not answer.
    """
    now = as_aware(database_now(using))
    processes = SchedulerInstance.objects.using(using).exclude(role__in=SchedulerInstance.GONE)
    jobs = DjangoJob.objects.using(using)
    runs = DjangoJobExecution.objects.using(using)
    return verdict(using) | {
        "processes": [
            {
                "process": str(one),
                "role": one.role,
                "epoch": one.epoch,
                "version": one.version,
                "heartbeat_age": -_until(one.heartbeat_at, now),
                "started": as_aware(one.started_at).isoformat(timespec="seconds"),
            }
            for one in processes
        ],
        "jobs": {
            "scheduled": waiting_jobs(using).count(),
            "paused": jobs.filter(next_run_time=None, quarantined_at=None).count(),
            "quarantined": jobs.filter(quarantined_at__isnull=False).count(),
        },
        "runs": {
            "running": runs.filter(status=DjangoJobExecution.SENT).count(),
            "requested": runs.filter(status=DjangoJobExecution.REQUESTED).count(),
        },
    }


def _until(when: dt.datetime, now: dt.datetime) -> float:
    return round((as_aware(when) - now).total_seconds(), 3)
