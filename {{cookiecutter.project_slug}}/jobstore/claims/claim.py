"""The claim: take due runs and advance their jobs, in one transaction.

It guarantees two things. At most one process claims: the lease must have the claimer's epoch and
not have expired, and it is read with a lock that makes a take-over wait until the claim is done. A
time is claimed at most once: a job advances by compare-and-set on its old time and version, and a
(job, scheduled time) is unique. The first of these holds even after history was pruned.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connections, transaction

from jobstore.claims import outcomes
from jobstore.claims.outcomes import Outcome
from jobstore.claims.plan import Plan
from jobstore.leadership.lease import NotHolder, Term, assert_holder
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerLease
from jobstore.util import as_aware, as_json, get_django_internal_datetime

RUNNING = DjangoJobExecution.RUNNING
# What to write for each job.
Rows = Mapping[str, Sequence[Outcome]]


@dataclasses.dataclass(frozen=True)
class RunRow:
    """What a claim wrote into one row of history.

    `run_time` is the first of `times` times that it added; the row stands for `total` by now.
    """

    id: int
    job_id: str
    run_time: dt.datetime
    status: str
    times: int = 1
    total: int = 1


class Written(list[RunRow]):
    """The rows of history that a claim wrote, and the jobs that it moved to their next times."""

    def __init__(self, rows: Iterable[RunRow] = (), moved: Iterable[str] = ()) -> None:
        """Take both."""
        super().__init__(rows)
        self.moved = frozenset(moved)


def claim(plans: Sequence[Plan], term: Term, using: str) -> Written:
    """Write the plans; return the rows of history that resulted.

    A job that was changed since it was read is skipped, and is read again by the next claim. So is
    a job whose row is locked, where the database can skip locked rows. A time that already has a
    row is not repeated.

    :raises NotHolder: if the lease is not held with this epoch.
    """
    if not plans:
        return Written()
    rows = {plan.job.id: outcomes.of(plan) for plan in plans}
    if connections[using].vendor == "postgresql":
        return _claim_postgresql(plans, rows, term, using)
    return _claim_in_transaction(plans, rows, term, using)


def claim_requests(ids: Sequence[int], term: Term, using: str) -> set[int]:
    """Start requested runs; return those of `ids` that are now this process's to run.

    :raises NotHolder: if the lease is not held with this epoch.
    """
    if not ids:
        return set()
    with transaction.atomic(using=using):
        now = assert_holder(term, using)
        requests = DjangoJobExecution.objects.using(using).filter(
            pk__in=ids, status=DjangoJobExecution.REQUESTED
        )
        # A locked row must not hold up the others.
        locked = requests.select_for_update(skip_locked=outcomes.can_skip_locked(using))
        taken = set(locked.values_list("pk", flat=True))
        requests.filter(pk__in=taken).update(
            status=RUNNING, claimed_at=now, epoch=term.epoch, instance=term.instance
        )
    return taken


def _claim_postgresql(plans: Sequence[Plan], rows: Rows, term: Term, using: str) -> Written:
    """Claim in one statement, so that this process cannot freeze while it keeps a lock.

    FOR SHARE, since FOR KEY SHARE would let a take-over pass. Being a single statement, it also
    works through a pooler in transaction mode.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            WITH term AS (
                SELECT holder, epoch FROM jobstore_schedulerlease
                WHERE name = %(lease)s AND holder = %(holder)s AND epoch = %(epoch)s
                    AND expires_at > clock_timestamp()
                FOR SHARE
            ), free AS (
                SELECT job.id, plan.version, plan.due, plan.following, term.holder, term.epoch
                FROM term, jobstore_djangojob AS job JOIN json_to_recordset(%(plans)s) AS plan (
                    id text, version bigint, due timestamptz, following timestamptz
                ) ON job.id = plan.id AND job.version = plan.version
                    AND job.next_run_time = plan.due
                FOR UPDATE OF job SKIP LOCKED
            ), moved AS (
                UPDATE jobstore_djangojob AS job
                SET next_run_time = free.following,
                    version = job.version + 1,
                    retired_at = CASE WHEN free.following IS NULL THEN statement_timestamp() END
                FROM free
                WHERE job.id = free.id AND job.version = free.version
                    AND job.next_run_time = free.due
                RETURNING job.id, free.holder, free.epoch
            ), outcome AS (
                SELECT run.*, moved.holder, moved.epoch
                FROM moved JOIN json_to_recordset(%(runs)s) AS run (
                    job_id text, run_time timestamptz, last_run_time timestamptz,
                    last timestamptz, times integer, status text, exception text,
                    "into" bigint, "after" timestamptz
                ) ON run.job_id = moved.id
            ), counted AS (
                UPDATE jobstore_djangojobexecution AS run
                SET times = run.times + outcome.times, last_run_time = outcome.last,
                    finished = statement_timestamp(), exception = outcome.exception
                FROM outcome
                WHERE run.id = outcome."into" AND run.status = outcome.status
                    AND COALESCE(run.last_run_time, run.run_time) = outcome."after"
                RETURNING run.id, run.job_id, outcome.run_time, run.status,
                    outcome.times, run.times AS total
            ), written AS (
                INSERT INTO jobstore_djangojobexecution (
                    job_id, run_time, last_run_time, times, status, exception, claimed_at,
                    finished, epoch, instance_id, exception_type, requested_by, attempt
                )
                SELECT job_id, run_time, last_run_time, times, status, exception,
                    statement_timestamp(),
                    CASE WHEN status <> %(sent)s THEN statement_timestamp() END,
                    epoch, holder, '', '', 1
                FROM outcome
                WHERE "into" IS NULL OR NOT EXISTS (
                    SELECT FROM counted
                    WHERE counted.job_id = outcome.job_id AND counted.status = outcome.status
                )
                ON CONFLICT (job_id, run_time) DO NOTHING
                RETURNING id, job_id, run_time, status, times, times AS total
            )
            SELECT moved.id, row.id, row.run_time::text, row.status, row.times, row.total
            FROM term LEFT JOIN moved ON true LEFT JOIN (
                SELECT * FROM counted UNION ALL SELECT * FROM written
            ) AS row ON row.job_id = moved.id
            """,
            {
                "lease": SchedulerLease.DEFAULT,
                "holder": term.instance,
                "epoch": term.epoch,
                "sent": RUNNING,
                "plans": as_json(
                    {
                        "id": plan.job.id,
                        "version": plan.version,
                        "due": plan.due,
                        "following": plan.next_run_time,
                    }
                    for plan in plans
                ),
                "runs": as_json(
                    row for plan in plans for row in outcomes.as_rows(rows[plan.job.id])
                ),
            },
        )
        found = cursor.fetchall()
    if not found:
        raise NotHolder
    return Written(
        (
            RunRow(pk, job_id, _from_text(run_time), status, times, total)
            for job_id, pk, run_time, status, times, total in found
            if pk is not None
        ),
        (job_id for job_id, *_ in found if job_id is not None),
    )


def _from_text(time: str) -> dt.datetime:
    return dt.datetime.fromisoformat(time).astimezone(dt.UTC)


def _claim_in_transaction(plans: Sequence[Plan], rows: Rows, term: Term, using: str) -> Written:
    """Claim on MariaDB, MySQL and SQLite (where the transaction begins IMMEDIATE)."""
    with transaction.atomic(using=using):
        now = assert_holder(term, using)
        jobs = DjangoJob.objects.using(using).filter(pk__in=[plan.job.id for plan in plans])
        locked = jobs.select_for_update(skip_locked=outcomes.can_skip_locked(using))
        stored = {row.pk: row for row in locked.only("version", "next_run_time")}
        unchanged = [plan for plan in plans if _is_unchanged(plan, stored.get(plan.job.id))]
        _advance(unchanged, now, using)
        found = [one for plan in unchanged for one in rows[plan.job.id]]
        added = [one for one in found if one.previous and outcomes.add_to(one, now, using)]
        written = _insert([one for one in found if one not in added], term, now, using)
        totals = _totals(added, using)
    return Written(
        [
            RunRow(
                previous.id,
                one.job_id,
                one.run_time,
                one.status,
                len(one.times),
                totals[previous.id],
            )
            for one in added
            if (previous := one.previous) and previous.id
        ]
        + [
            RunRow(
                row.pk,
                row.job_id,
                as_aware(row.run_time).astimezone(dt.UTC),
                row.status,
                row.times,
                row.times,
            )
            for row in written
        ],
        [plan.job.id for plan in unchanged],
    )


def _totals(added: Sequence[Outcome], using: str) -> dict[int, int]:
    ids = [one.previous.id for one in added if one.previous and one.previous.id]
    if not ids:
        return {}
    runs = DjangoJobExecution.objects.using(using).filter(pk__in=ids)
    return dict(runs.order_by().values_list("pk", "times"))


def _insert(
    found: Sequence[Outcome], term: Term, now: dt.datetime, using: str
) -> list[DjangoJobExecution]:
    """Write the outcomes whose times have no row yet."""
    runs = DjangoJobExecution.objects.using(using)
    taken = set(
        runs.filter(
            job__in={one.job_id for one in found},
            run_time__in=[get_django_internal_datetime(one.run_time) for one in found],
        ).values_list("job_id", "run_time")
    )
    written = runs.bulk_create(
        DjangoJobExecution(
            job_id=one.job_id,
            run_time=get_django_internal_datetime(one.run_time),
            last_run_time=get_django_internal_datetime(one.last_run_time),
            times=len(one.times),
            status=one.status,
            exception=one.text,
            claimed_at=now,
            finished=None if one.status == RUNNING else now,
            epoch=term.epoch,
            instance_id=term.instance,
        )
        for one in found
        if (one.job_id, get_django_internal_datetime(one.run_time)) not in taken
    )
    if written and written[0].pk is None:  # MySQL returns no keys of rows inserted together
        return list(runs.filter(instance=term.instance, epoch=term.epoch, claimed_at=now))
    return written


def _is_unchanged(plan: Plan, row: DjangoJob | None) -> bool:
    return (
        row is not None
        and row.version == plan.version
        and row.next_run_time is not None
        and as_aware(row.next_run_time) == plan.due
    )


def _advance(plans: Sequence[Plan], now: dt.datetime, using: str) -> None:
    following = [plan for plan in plans if plan.next_run_time is not None]
    if following:
        _reschedule(following, using)
    finished = [plan.job.id for plan in plans if plan.next_run_time is None]
    if finished:
        DjangoJob.objects.using(using).filter(pk__in=finished).update(
            next_run_time=None, retired_at=now
        )


def _reschedule(plans: Sequence[Plan], using: str) -> None:
    """Move jobs to their next times, in plain SQL: Django would take half of a claim for it."""
    connection = connections[using]
    ids = [plan.job.id for plan in plans]
    choices: list[Any] = []
    for plan in plans:
        at: Any = get_django_internal_datetime(plan.next_run_time)
        choices += [plan.job.id, connection.ops.adapt_datetimefield_value(at)]
    whens = "WHEN %s THEN %s " * len(plans)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE jobstore_djangojob
            SET next_run_time = CASE id {whens} END, version = version + 1
            WHERE id IN ({", ".join(["%s"] * len(ids))})
            """,  # noqa: S608 - nothing but placeholders is put in
            [*choices, *ids],
        )
