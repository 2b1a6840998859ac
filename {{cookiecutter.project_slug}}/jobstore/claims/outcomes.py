"""What a claim writes into the history: a row for each run, and one for consecutive lost times.

Consecutive times that are missed or skipped are counted in one row, within a claim and across
claims, so that a job that hangs does not push real runs out of the history.
"""

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import connections
from django.db.models import F, OuterRef, Q, Subquery

from jobstore import conf
from jobstore.claims.plan import Plan, Previous
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance
from jobstore.util import as_aware, get_django_internal_datetime, get_local_dt_format

RUNNING, MISSED, SKIPPED = (
    DjangoJobExecution.RUNNING,
    DjangoJobExecution.MISSED,
    DjangoJobExecution.MAX_INSTANCES,
)
# Seconds without a heartbeat after which a skip names the silent process as its reason. A process
# writes a heartbeat every two to five seconds.
SILENT_SECONDS = 7.5


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One row to write, or times to add to a row; all times are in UTC."""

    job_id: str
    status: str
    times: Sequence[dt.datetime]
    text: str | None = None
    # The row that they are added to, unless it was changed.
    previous: Previous | None = None

    @property
    def run_time(self) -> dt.datetime:
        """The first of the times."""
        return self.times[0]

    @property
    def last_run_time(self) -> dt.datetime | None:
        """The last of several times."""
        return self.times[-1] if len(self.times) > 1 else None


def of(plan: Plan) -> list[Outcome]:
    """Return what to write for a plan."""
    job_id, previous = plan.job.id, plan.previous
    late = f"Run time of job '{job_id}' was missed by more than the misfire grace time"
    reached = plan.reason or (
        f"Execution of job '{job_id}' skipped: maximum number of running instances "
        f"reached ({plan.job.max_instances})"
    )
    found: list[Outcome] = []
    for status, times, text in ((MISSED, plan.missed, late), (SKIPPED, plan.skipped, reached)):
        if not times:
            continue
        if previous is not None and previous.newest >= times[0]:
            # The job was set back, or a run was requested meanwhile. Times that have a row already
            # are not repeated.
            found += [Outcome(job_id, status, [time], text) for time in times]
            continue
        goes_on = previous is not None and previous.status == status and not found
        found.append(Outcome(job_id, status, times, text, previous if goes_on else None))
    return found + [Outcome(job_id, RUNNING, [time]) for time in plan.start]


def previous_rows(job_ids: Collection[str], using: str) -> dict[str, Previous]:
    """Return the newest row of each job's schedule; requested runs do not count."""
    if not job_ids:
        return {}
    runs = DjangoJobExecution.objects.using(using)
    of_any = runs.filter(job=OuterRef("pk")).order_by("-run_time")
    scheduled = of_any.filter(requested_by="")
    jobs = DjangoJob.all_objects.using(using).filter(pk__in=job_ids).order_by()
    newest = {
        job_id: (pk, time)
        for job_id, pk, time in jobs.annotate(
            newest=Subquery(scheduled.values("pk")[:1]),
            time=Subquery(of_any.values("run_time")[:1]),
        ).values_list("pk", "newest", "time")
        if time is not None
    }
    rows = runs.in_bulk([pk for pk, _ in newest.values() if pk is not None])
    found: dict[str, Previous] = {}
    for job_id, (pk, time) in newest.items():
        row = rows.get(pk)
        latest = as_aware(time).astimezone(dt.UTC)
        last = as_aware(row.last_run_time or row.run_time).astimezone(dt.UTC) if row else latest
        status = row.status if row else ""
        found[job_id] = Previous(pk if row else None, status, last, max(last, latest))
    return found


def reasons(job_ids: Collection[str], now: dt.datetime, using: str) -> Mapping[str, str]:
    """Return why jobs are skipped, for those whose run belongs to a process that seems dead.

    :param now: the database's time.
    """
    if not job_ids:
        return {}
    silent_since = get_django_internal_datetime(now - dt.timedelta(seconds=SILENT_SECONDS))
    runs = DjangoJobExecution.objects.using(using).filter(job__in=job_ids, status=RUNNING)
    owners = dict(runs.order_by().values_list("job_id", "instance"))
    silent = SchedulerInstance.objects.using(using).filter(
        Q(heartbeat_at__lt=silent_since) | Q(role__in=SchedulerInstance.GONE),
        pk__in=set(owners.values()),
    )
    dead = {one.pk: one for one in silent}
    wait = dt.timedelta(seconds=conf.get("SCHEDULER_DEAD_SECONDS"))
    return {
        job_id: (
            f"Execution of job '{job_id}' skipped: its run belongs to the process {dead[owner]}, "
            f"which has given no sign of life since "
            f"{get_local_dt_format(dead[owner].heartbeat_at)}; that run counts as lost at "
            f"{get_local_dt_format(dead[owner].heartbeat_at + wait)}"
        )
        for job_id, owner in owners.items()
        if owner in dead
    }


def add_to(outcome: Outcome, now: dt.datetime, using: str) -> bool:
    """Add times to the row of the times before them; False if that row was changed."""
    before = outcome.previous
    if before is None or before.id is None:
        return False
    last = get_django_internal_datetime(before.last)
    rows = DjangoJobExecution.objects.using(using).filter(
        Q(last_run_time=last) | Q(last_run_time=None, run_time=last),
        pk=before.id,
        status=outcome.status,
    )
    changed = rows.update(
        times=F("times") + len(outcome.times),
        last_run_time=get_django_internal_datetime(outcome.times[-1]),
        finished=now,
        exception=outcome.text,
    )
    return bool(changed)


def as_rows(outcomes: Collection[Outcome]) -> list[dict[str, Any]]:
    """Return outcomes as dicts, for a statement that takes them as JSON."""
    return [
        {
            "job_id": one.job_id,
            "run_time": one.run_time,
            "last_run_time": one.last_run_time,
            "last": one.times[-1],
            "times": len(one.times),
            "status": one.status,
            "exception": one.text,
            "into": one.previous.id if one.previous else None,
            "after": one.previous.last if one.previous else None,
        }
        for one in outcomes
    ]


def can_skip_locked(using: str) -> bool:
    """Tell whether the database can skip locked rows."""
    return bool(connections[using].features.has_select_for_update_skip_locked)
