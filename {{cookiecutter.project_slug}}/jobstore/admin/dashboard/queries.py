"""The statements of the overview: at most eight, however many jobs there are.

Runs are read by their scheduled time (the last day, for all jobs) or by job and scheduled time (the
jobs of one page), both of which are indexes.
"""

import collections
import dataclasses
import datetime as dt
import functools
import operator
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import (
    Avg,
    Count,
    DateTimeField,
    F,
    FloatField,
    Func,
    IntegerField,
    Max,
    Model,
    OuterRef,
    Q,
    Subquery,
    Sum,
    Value,
    Window,
)
from django.db.models.functions import Cast, Coalesce, Floor

from jobstore import api
from jobstore.admin.dashboard import prepared
from jobstore.admin.dashboard.strips import SLOT_SECONDS, SLOTS
from jobstore.admin.filters import BEGAN
from jobstore.leadership.lease import waiting_jobs
from jobstore.models import (
    DeclarationProblem,
    DjangoJob,
    DjangoJobExecution,
    SchedulerInstance,
    SchedulerLease,
    database_now,
)
from jobstore.util import as_aware, get_django_internal_datetime

Run = DjangoJobExecution

DAY = dt.timedelta(days=1)
# Minutes that the charts show.
MINUTES = 60
# Seconds after which a start was late.
LATE_SECONDS = 10.0
LATE = dt.timedelta(seconds=LATE_SECONDS)
# Rows of the lists.
MAX_SCHEDULERS, MAX_RUNNING, MAX_NEXT, JOBS_PER_PAGE = 10, 8, 8, 50
# Runs that the usual duration of a job is computed from.
USUAL_RUNS = 20
BEFORE_ALL = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _columns(model: type[Model], *names: str) -> tuple[str, ...]:
    """Return columns in the order in which `from_db` takes them."""
    fields = [field.attname for field in model._meta.concrete_fields]
    return tuple(sorted(names, key=fields.index))


# The columns of the lists, which are read into objects that have no others.
PROCESS = _columns(
    SchedulerInstance,
    *("id", "host", "pid", "version", "role", "started_at", "heartbeat_at"),
    *("problem", "saturated"),
)
LEASE = ("holder", "acquired_at", "expires_at")
RUNNING = _columns(
    Run,
    *("id", "job_id", "status", "run_time", "started_at", "claimed_at", "requested_by"),
    *("progress_done", "progress_total", "progress_text"),
)
NEXT = _columns(DjangoJob, "id", "next_run_time", "trigger", "executor")


class Clock(Func):
    """The clock of a database server, in UTC and without a zone."""

    output_field = DateTimeField()

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **extra: Any) -> Any:
        """Return the SQL of the clock. SQLite has no clock of its own: its host's is used."""
        statements = {
            "postgresql": "CLOCK_TIMESTAMP() AT TIME ZONE 'UTC'",
            "mysql": "UTC_TIMESTAMP(6)",
        }
        return statements.get(connection.vendor, "NULL"), []


class SecondsBetween(Func):
    """Seconds from the second time to the first."""

    output_field = FloatField()
    # Not EXTRACT: its decimal numbers take PostgreSQL several times as long.
    template = "DATE_PART('epoch', %(expressions)s)"
    arg_joiner = " - "

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        """Return it for MySQL, whose function has the opposite order."""
        swapped = self.copy()
        swapped.set_source_expressions(self.get_source_expressions()[::-1])
        template = "(TIMESTAMPDIFF(MICROSECOND, %(expressions)s) / 1000000.0)"
        return swapped.as_sql(compiler, connection, template=template, arg_joiner=", ", **extra)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        """Return it for SQLite, whose function counts days."""
        left, right = self.get_source_expressions()
        days = [
            Func(side, function="JULIANDAY", output_field=FloatField()) for side in (left, right)
        ]
        swapped = self.copy()
        swapped.set_source_expressions(days)
        return swapped.as_sql(
            compiler, connection, template="((%(expressions)s) * 86400.0)", **extra
        )


@dataclasses.dataclass(frozen=True)
class Totals:
    """How many jobs there are in service, and the time."""

    now: dt.datetime
    jobs: int
    paused: int
    quarantined: int
    problems: int


@dataclasses.dataclass(frozen=True)
class Schedulers:
    """The processes that have not left, the active one first, and the lease."""

    rows: list[Any]
    holder: str
    acquired_at: dt.datetime | None


@dataclasses.dataclass(frozen=True)
class Minute:
    """What was scheduled within one minute."""

    at: dt.datetime
    good: int = 0
    bad: int = 0
    delay: float | None = None
    longest_delay: float | None = None


@dataclasses.dataclass(frozen=True)
class History:
    """The last day by status, and its last hour by minute."""

    since: dt.datetime
    counts: dict[str, int]
    late: int
    minutes: list[Minute]


def totals(using: str, visible: api.Visible) -> Totals:
    """Return how many jobs there are. One statement.

    :param visible: here and below, the jobs that may be seen.
    """
    [found] = _asked(_totals, using, visible)
    clock, jobs, paused, quarantined, problems = found
    if clock is None:
        now = database_now(using)
    else:
        now = get_django_internal_datetime(clock.replace(tzinfo=dt.UTC))
    return Totals(
        now=now,
        jobs=jobs,
        paused=paused,
        quarantined=quarantined,
        problems=problems or 0,
    )


def _totals(using: str, *, visible: api.Visible) -> Any:
    problems = DeclarationProblem.objects.using(using).filter(visible.q("subject")).order_by()
    number = problems.values(one=Value(1)).annotate(number=Count("pk")).values("number")
    jobs: Any = DjangoJob.objects.using(using).filter(visible.q("pk")).order_by()
    return (
        jobs.values(one=Value(1))
        .annotate(
            clock=Max(Clock()),
            jobs=Count("pk"),
            paused=Count("pk", filter=Q(next_run_time=None, quarantined_at=None)),
            quarantined=Count("pk", filter=Q(quarantined_at__isnull=False)),
            problems=Max(Coalesce(Subquery(number), 0)),
        )
        .values_list("clock", "jobs", "paused", "quarantined", "problems")
    )


def schedulers(using: str, now: dt.datetime) -> Schedulers:
    """Return the processes and who holds the lease. One statement, two if no process is known."""
    found = prepared.rows(_schedulers, using, is_converted=True)
    number = len(PROCESS)
    rows: list[Any] = [SchedulerInstance.from_db(using, PROCESS, one[:number]) for one in found]
    leases = SchedulerLease.objects.using(using).filter(name=SchedulerLease.DEFAULT)
    values = found[0][number:] if found else leases.values_list(*LEASE).first()
    holder, acquired_at, expires_at = values or (None,) * 3
    if holder is None or expires_at is None or expires_at <= now:
        holder = acquired_at = None
    rows.sort(key=lambda row: (row.pk != holder, row.started_at))
    # A holder without a row is shown by its id.
    known = str(rows[0]) if rows and rows[0].pk == holder else str(holder or "")
    return Schedulers(rows, known, acquired_at)


def _schedulers(using: str) -> Any:
    leases = SchedulerLease.objects.using(using).filter(name=SchedulerLease.DEFAULT)
    lease: dict[str, Any] = {f"lease_{name}": Subquery(leases.values(name)[:1]) for name in LEASE}
    processes = SchedulerInstance.objects.using(using).exclude(role__in=SchedulerInstance.GONE)
    rows = processes.annotate(**lease).order_by("-heartbeat_at").values_list(*PROCESS, *lease)
    return rows[:MAX_SCHEDULERS]


def running(using: str, visible: api.Visible) -> tuple[list[Any], int]:
    """Return the running runs, the longest first, and how many there are in all.

    Each has `since`, and `usual`: the median of its job's last successful runs in seconds, or None.
    Two statements.
    """
    found = _asked(_running, using, visible, converted=True)
    rows: list[Any] = []
    recent: list[prepared.Given] = []
    for *values, since, recent_since, _number in found:
        row: Any = Run.from_db(using, RUNNING, values)
        row.since = since
        rows.append(row)
        recent += [row.job_id, recent_since or get_django_internal_datetime(BEFORE_ALL)]
    lengths = collections.defaultdict(list)
    if recent:
        for job_id, status, duration in prepared.rows(_recent, using, *recent):
            if status == Run.SUCCESS and duration is not None:
                lengths[job_id].append(float(duration))
    for row in rows:
        row.usual = statistics.median(lengths[row.job_id]) if lengths[row.job_id] else None
    return rows, found[0][-1] if found else 0


def _running(using: str, *, visible: api.Visible) -> Any:
    of_job = Run.objects.using(using).filter(job=OuterRef("job")).order_by("-run_time")
    runs = Run.objects.using(using).filter(visible.q(), status=Run.RUNNING)
    rows = runs.annotate(
        since=Coalesce("started_at", "claimed_at", "run_time"),
        recent_since=Subquery(of_job.values("run_time")[USUAL_RUNS - 1 : USUAL_RUNS]),
        number=Window(Count("pk")),
    ).values_list(*RUNNING, "since", "recent_since", "number")
    return rows.order_by("since", "pk")[:MAX_RUNNING]


def _recent(using: str, *given: Any) -> Any:
    """Compose what asks for the runs of some jobs, each followed by a time, since that time."""
    of_each = zip(given[::2], given[1::2], strict=True)
    wanted = [Q(job=job_id, run_time__gte=since) for job_id, since in of_each]
    ended = Run.objects.using(using).filter(functools.reduce(operator.or_, wanted)).order_by()
    return ended.values_list("job", "status", "duration")


def next_jobs(using: str, visible: api.Visible) -> list[DjangoJob]:
    """Return the jobs that run next, overdue ones first. One statement."""
    found = _asked(_next_jobs, using, visible, converted=True)
    return [DjangoJob.from_db(using, NEXT, values) for values in found]


def _next_jobs(using: str, *, visible: api.Visible) -> Any:
    jobs = waiting_jobs(using).filter(visible.q("pk")).order_by("next_run_time", "pk")
    return jobs.values_list(*NEXT)[:MAX_NEXT]


def history(using: str, now: dt.datetime, visible: api.Visible) -> History:
    """Return the outcomes of the runs of the last day. One statement."""
    since = now - DAY
    # Whole minutes, so that a bar does not change once its minute has passed.
    start = now.replace(second=0, microsecond=0) - dt.timedelta(minutes=MINUTES - 1)
    counts: dict[str, int] = collections.Counter()
    late = 0
    by_minute: dict[int, list[Any]] = collections.defaultdict(list)
    names = ("status", "number", "late", "minute", "delay", "longest", "started")
    for values in _asked(_history, using, visible, since, start, now):
        row = dict(zip(names, values, strict=True))
        # MySQL's sums are decimal numbers.
        row["number"] = int(row["number"])
        counts[row["status"]] += row["number"]
        late += row["late"]
        by_minute[row["minute"]].append(row)
    minutes = [
        _minute(start + dt.timedelta(minutes=one), by_minute.get(one, ())) for one in range(MINUTES)
    ]
    return History(since, dict(counts), late, minutes)


def _history(
    using: str, since: dt.datetime, start: dt.datetime, now: dt.datetime, *, visible: api.Visible
) -> Any:
    runs: Any = Run.objects.using(using).filter(visible.q(), run_time__lte=now).order_by()
    runs = runs.alias(began=BEGAN).values("status")
    always = {
        "number": Sum("times"),
        "late": Count("pk", filter=Q(began__gt=F("run_time") + LATE)),
    }
    # Delays and minutes are asked of the last hour alone: they take longer than all the rest.
    earlier = runs.filter(run_time__gte=since, run_time__lt=start).annotate(
        **always,
        minute=Value(-1),
        delay=Value(0.0),
        longest=Value(0.0),
        started=Value(0),
    )
    minute = Floor(SecondsBetween("run_time", Value(start, DateTimeField())) / 60.0)
    delay = SecondsBetween(BEGAN, "run_time")
    last_hour = runs.filter(run_time__gte=start).annotate(
        **always,
        minute=Cast(minute, IntegerField()),
        delay=Avg(delay),
        longest=Max(delay),
        started=Count(BEGAN),
    )
    # Newer versions of Django order what is united as well, by a column that it lacks.
    return earlier.union(last_hour, all=True).order_by()


def _asked(
    compose: Any, using: str, visible: api.Visible, *times: dt.datetime, converted: bool = False
) -> list[tuple[Any, ...]]:
    """Return the rows of a statement, which is composed anew for users who may not see all jobs."""
    kept = visible.is_everything
    return prepared.rows(
        compose, using, *times, is_kept=kept, is_converted=converted, visible=visible
    )


def jobs_page(using: str, first: int, end: int, visible: api.Visible) -> list[DjangoJob]:
    """Return some of the jobs in service, by id. One statement."""
    return list(DjangoJob.objects.using(using).filter(visible.q("pk")).order_by("pk")[first:end])


def slots(
    using: str, job_ids: Sequence[str], now: dt.datetime
) -> dict[str, dict[tuple[int, str], int]]:
    """Return how many runs each job had in each half hour and state. One statement."""
    found: dict[str, dict[tuple[int, str], int]] = collections.defaultdict(dict)
    current = int(as_aware(now).timestamp()) // SLOT_SECONDS
    start = dt.datetime.fromtimestamp((current - SLOTS + 1) * SLOT_SECONDS, dt.UTC)
    since = get_django_internal_datetime(start)
    if job_ids:
        for job_id, status, slot, number in prepared.rows(_slots, using, since, *job_ids):
            # MySQL's sums are decimal numbers.
            found[job_id][current - SLOTS + 1 + slot, status] = int(number)
    return found


def _slots(using: str, since: dt.datetime, *job_ids: str) -> Any:
    slot = Floor(SecondsBetween("run_time", Value(since, DateTimeField())) / float(SLOT_SECONDS))
    return (
        Run.objects.using(using)
        .filter(job__in=job_ids, run_time__gte=since)
        .order_by()
        .values("job", "status", slot=Cast(slot, IntegerField()))
        .annotate(number=Sum("times"))
        .values_list("job", "status", "slot", "number")
    )


def _minute(at: dt.datetime, rows: Iterable[dict[str, Any]]) -> Minute:
    good = bad = started = 0
    waited, longest = 0.0, None
    for row in rows:
        if row["status"] in (Run.SUCCESS, Run.RUNNING):
            good += row["number"]
        elif row["status"] not in (Run.REQUESTED, Run.CANCELLED):
            bad += row["number"]
        if row["started"]:
            started += row["started"]
            waited += row["delay"] * row["started"]
            longest = max(longest or 0.0, row["longest"])
    return Minute(at, good, bad, waited / started if started else None, longest)
