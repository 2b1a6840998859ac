"""Which scheduler is active, which others exist, and whether jobs start on time, from the database.

The web server and monitors ask for it, too, since a dead scheduler cannot report itself.
"""

import dataclasses
import datetime as dt
import json
from typing import Any

from django.db.models import Max

from jobstore import conf
from jobstore.database.timeouts import limited_look
from jobstore.leadership.elector import holder
from jobstore.leadership.lease import waiting_jobs
from jobstore.models import (
    DeclarationProblem,
    DjangoJob,
    DjangoJobExecution,
    JobQuerySet,
    SchedulerInstance,
    database_now,
)
from jobstore.storage import key_rotation
from jobstore.util import as_aware

# Seconds that a process may take for its first claim after it became active.
FIRST_CLAIM_SECONDS = 5.0
# Running runs that are listed.
MAX_LISTED_RUNS = 100


def verdict(using: str) -> dict[str, Any]:
    """Return whether one scheduler is active and jobs start on time.

    `cause` names what is wrong in one word, and `reason` in a sentence; both are empty if all is
    well. Ages and `due_lag` are in seconds. `saturated` are executors whose workers are all busy:
    jobs that wait for one of them do not count as late. `quarantined` is the number of jobs that
    do not run until they are repaired; they do not count as late either.

    It takes a few statements, each with a time limit.

    :raises DatabaseError, InterfaceError: if the database does not answer.
    """
    with limited_look(using):
        return _verdict(using)


def _verdict(using: str) -> dict[str, Any]:
    lease, process = holder(using)
    now = as_aware(database_now(using))
    left = _until(lease.expires_at, now) if lease and lease.expires_at else None
    silent = -_until(process.heartbeat_at, now) if process else None
    saturated = _saturated(process)
    waiting = waiting_jobs(using)
    late = stuck = _lateness(waiting, now)
    if saturated:
        stuck = _lateness(waiting.exclude(executor__in=saturated), now)
    if lease and lease.acquired_at and -_until(lease.acquired_at, now) < FIRST_CLAIM_SECONDS:
        stuck = 0.0  # for the time before, another one would have to answer
    cause = reason = ""
    if left is None or left <= 0:
        cause, reason = "no_active_scheduler", "No scheduler is active: nobody holds the lease."
    elif silent is not None and silent > conf.get("SCHEDULER_DEAD_SECONDS"):
        cause = "scheduler_silent"
        reason = f"{process} holds the lease and has given no sign of life for {silent:.0f} s."
    elif stuck > conf.get("SCHEDULER_HUNG_SECONDS"):
        cause, reason = "jobs_late", f"A job has been due for {stuck:.0f} s and does not start."
    return {
        "status": "unavailable" if reason else "ok",
        "cause": cause,
        "reason": reason,
        "epoch": lease.epoch if lease else None,
        "holder": str(process) if process else None,
        "lease_expires_in": left,
        "heartbeat_age": silent,
        "due_lag": late,
        "saturated": saturated,
        "quarantined": DjangoJob.objects.using(using).filter(quarantined_at__isnull=False).count(),
    }


def _saturated(process: SchedulerInstance | None) -> list[str]:
    """Return the executors for which jobs wait, as the holder wrote with its heartbeat."""
    if process is None or not process.saturated:
        return []
    try:
        return [str(alias) for alias in json.loads(process.saturated)]
    except (ValueError, TypeError):
        return []


def _lateness(waiting: JobQuerySet, now: dt.datetime) -> float:
    first = waiting.values_list("next_run_time", flat=True).first()
    return max(0.0, -_until(first, now)) if first else 0.0


def running(using: str) -> list[dict[str, Any]]:
    """Return the runs that a stop of their processes would have to wait for, the longest first.

    `seconds` is how long each has been running, `longest` the longest successful run of its job in
    seconds, or None. A stop abandons runs that do not end within the drain time of their process;
    `may_be_cut` says whether that is likely.
    """
    drain = float(conf.get("SCHEDULER_DRAIN_SECONDS"))
    now = as_aware(database_now(using))
    runs = DjangoJobExecution.objects.using(using).filter(status=DjangoJobExecution.RUNNING)
    rows = list(
        runs.select_related("instance")
        .defer("result", "exception", "traceback", "arguments_state")
        .order_by("claimed_at")[:MAX_LISTED_RUNS]
    )
    ended = DjangoJobExecution.objects.using(using).filter(
        job__in={run.job_id for run in rows}, status=DjangoJobExecution.SUCCESS
    )
    longest = dict(
        ended.order_by()
        .values("job")
        .annotate(longest=Max("duration"))
        .values_list("job", "longest")
    )
    found: list[dict[str, Any]] = []
    for run in rows:
        seconds = -_until(run.started_at or run.claimed_at or run.run_time, now)
        known = longest.get(run.job_id)
        expected = float("inf") if known is None else float(known)
        found.append(
            {
                "run": run.pk,
                "job": run.job_id,
                "process": str(run.instance) if run.instance else None,
                "seconds": seconds,
                "longest": None if known is None else float(known),
                "may_be_cut": max(expected, seconds) > drain / 2,
            }
        )
    return found


def overview(using: str) -> dict[str, Any]:
    """Return the verdict, every process that has not left, and how many jobs and runs there are.

    :raises DatabaseError, InterfaceError: if the database does not answer.
    """
    now = as_aware(database_now(using))
    processes = SchedulerInstance.objects.using(using).exclude(role__in=SchedulerInstance.GONE)
    jobs = DjangoJob.objects.using(using)
    runs = DjangoJobExecution.objects.using(using)
    seen = verdict(using)
    use = key_rotation.key_use(using)
    return seen | {
        "processes": [
            {
                "process": str(one),
                "role": one.role,
                "epoch": one.epoch,
                "version": one.version,
                "heartbeat_age": -_until(one.heartbeat_at, now),
                "started": as_aware(one.started_at).isoformat(timespec="seconds"),
                "problem": one.problem,
            }
            for one in processes
        ],
        "jobs": {
            "scheduled": waiting_jobs(using).count(),
            "paused": jobs.filter(next_run_time=None, quarantined_at=None).count(),
            "quarantined": seen["quarantined"],
        },
        "runs": {
            "running": runs.filter(status=DjangoJobExecution.RUNNING).count(),
            "requested": runs.filter(status=DjangoJobExecution.REQUESTED).count(),
        },
        "running": running(using),
        "paused": [
            {"job": job_id, "reason": reason}
            for job_id, reason in jobs.filter(next_run_time=None, quarantined_at=None)
            .exclude(pause_reason="")
            .order_by("pk")
            .values_list("pk", "pause_reason")[:MAX_LISTED_RUNS]
        ],
        "drain_seconds": float(conf.get("SCHEDULER_DRAIN_SECONDS")),
        "declaration_problems": [
            {
                "subject": one.subject,
                "place": one.place,
                "text": one.text,
                "is_fatal": one.is_fatal,
                "since": as_aware(one.noticed_at).isoformat(timespec="seconds"),
            }
            for one in DeclarationProblem.objects.using(using)
        ],
        "signed_by": dataclasses.asdict(use),
        "advice": _advice(seen["quarantined"]) + key_rotation.advice(use),
    }


def _advice(in_quarantine: int) -> list[str]:
    if not in_quarantine:
        return []
    return [
        f"Jobs in quarantine: {in_quarantine}. They do not run; `manage.py check --database "
        "default` names them and the reasons, `manage.py retry_quarantined_jobs` tries them again."
    ]


def _until(when: dt.datetime, now: dt.datetime) -> float:
    return round((as_aware(when) - now).total_seconds(), 3)
