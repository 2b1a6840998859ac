"""Times that come while as many runs of their job as may be are under way.

With `overlap="queue"` or "cancel_running" a time waits: its job stays due, so another scheduler
finds it as well. What has waited is not late (see `plan`). "cancel_running" also asks for the end
of what it waits for, as `api.cancel` does.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence

from django.db import transaction
from django.db.models import Q

from jobstore.claims.due import Waiting
from jobstore.claims.plan import PROMPT, Span
from jobstore.database.notifications import notify
from jobstore.job_options import CANCEL_RUNNING, NONE, SKIP
from jobstore.leadership.lease import Term, assert_holder
from jobstore.models import DjangoJobExecution
from jobstore.storage.rows import DueJob
from jobstore.util import as_aware, get_django_internal_datetime

Run = DjangoJobExecution

# Who asks for the end of a run.
SUCCESSOR = "its next run"
# Runs that one look reads to find out how long times have waited for them.
MAX_RUNS = 2000


def cancel_predecessors(
    waiting: Iterable[Waiting], term: Term, ended: Collection[int], using: str
) -> int:
    """Ask for the end of what is under way of jobs that want that; return how many runs it is.

    :param ended: runs that have ended although their rows do not say so yet.
    :raises NotHolder: if the lease is not held with this epoch.
    """
    ids = [one.id for one in waiting if one.overlap == CANCEL_RUNNING]
    if not ids:
        return 0
    under_way = Run.objects.using(using).filter(
        Q(status=Run.RUNNING, cancel_requested_at=None) | Q(status=Run.QUEUED), job__in=ids
    )
    runs = list(under_way.exclude(pk__in=ended).order_by().values_list("pk", flat=True))
    if not runs:
        return 0
    with transaction.atomic(using=using):
        now = assert_holder(term, using)
        chosen = Run.objects.using(using).filter(pk__in=runs)
        number = chosen.filter(status=Run.QUEUED).update(
            status=Run.CANCELLED,
            finished=now,
            exception=f"Cancelled by {SUCCESSOR} before it started.",
        )
        number += chosen.filter(status=Run.RUNNING, cancel_requested_at=None).update(
            cancel_requested_at=now, cancel_requested_by=SUCCESSOR
        )
        notify(using)
    return number


def busy_spans(rows: Iterable[DueJob], now: dt.datetime, using: str) -> Mapping[str, list[Span]]:
    """Return when as many runs of late jobs as may be were under way, for jobs whose times wait.

    One statement, and none if no such job is late.
    """
    late = {row.pk: row for row in rows if row.overlap != SKIP and _may_be_late(row, now)}
    if not late:
        return {}
    since = min(as_aware(row.next_run_time) for row in late.values())
    runs = (
        Run.objects.using(using)
        .filter(
            Q(finished=None) | Q(finished__gt=get_django_internal_datetime(since)),
            job__in=late,
            claimed_at__isnull=False,
            epoch__isnull=False,
        )
        .exclude(status__in=(Run.MISSED, Run.MAX_INSTANCES))
        .order_by("-claimed_at")
        .values_list("job", "requested_by", "run_time", "claimed_at", "finished")
    )
    claims: dict[str, dict[object, Span]] = {job_id: {} for job_id in late}
    for job_id, requested_by, run_time, claimed_at, finished in runs[:MAX_RUNS]:
        # The times that one claim took run one after the other, and so count as one.
        key = ("asked", run_time) if requested_by else claimed_at
        begin = as_aware(claimed_at or run_time)
        end = as_aware(finished) if finished else now
        known = claims[job_id].get(key, (begin, end))
        claims[job_id][key] = min(known[0], begin), max(known[1], end)
    return {
        job_id: covered(list(found.values()), late[job_id].max_instances)
        for job_id, found in claims.items()
    }


def covered(spans: Sequence[Span], number: int) -> list[Span]:
    """Return when at least so many of the spans overlapped, in order and without overlaps."""
    changes = sorted(
        [(begin, 1) for begin, end in spans if begin < end]
        + [(end, -1) for begin, end in spans if begin < end],
        key=lambda change: (change[0], -change[1]),
    )
    found: list[Span] = []
    open_since: dt.datetime | None = None
    under_way = 0
    for moment, change in changes:
        under_way += change
        if under_way >= number and open_since is None:
            open_since = moment
        elif under_way < number and open_since is not None:
            found.append((open_since, moment))
            open_since = None
    return found


def _may_be_late(row: DueJob, now: dt.datetime) -> bool:
    late = now - as_aware(row.next_run_time)
    grace = row.misfire_grace_time
    is_late = grace is not None and late > dt.timedelta(seconds=grace)
    return is_late or (row.catch_up == NONE and late > PROMPT)
