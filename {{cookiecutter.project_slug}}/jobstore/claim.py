"""The claim: take due runs and advance their jobs, in one transaction.

It carries two invariants. I1: the lease must carry the claimer's epoch and be unexpired, read
with a lock that makes a take-over wait until the claim is done. I2: a job advances by
compare-and-set on its old time and version, and a (job, scheduled time) is unique, so a time is
claimed at most once, even after history was pruned.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.db import connections, transaction

from .lease import Term
from .limits import limit_transaction
from .models import DjangoJob, DjangoJobExecution, SchedulerLease, database_now
from .plan import Plan
from .util import as_aware, as_json, get_django_internal_datetime

SENT, MISSED, SKIPPED = (
    DjangoJobExecution.SENT,
    DjangoJobExecution.MISSED,
    DjangoJobExecution.MAX_INSTANCES,
)


class NotHolder(Exception):
    """The lease is not, or no longer, held with this epoch. Nothing was claimed."""


@dataclasses.dataclass(frozen=True)
class Claimed:
    """A row of history that a claim wrote."""

    id: int
    job_id: str
    run_time: dt.datetime
    status: str


def claim(plans: Sequence[Plan], term: Term, using: str) -> list[Claimed]:
    """Write the plans; return the rows of history that resulted.

    A job that somebody changed since it was read is left alone, and comes up again. A time that
    already has a row is not repeated.

    :raises NotHolder: if the lease is not held with this epoch.
    """
    if not plans:
        return []
    if connections[using].vendor == "postgresql":
        return _claim_postgresql(plans, term, using)
    return _claim_in_transaction(plans, term, using)


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
        taken = set(requests.select_for_update().values_list("pk", flat=True))
        requests.filter(pk__in=taken).update(
            status=SENT, claimed_at=now, epoch=term.epoch, instance=term.instance
        )
    return taken


def _outcomes(plan: Plan) -> list[tuple[dt.datetime, str, str | None]]:
    """Return (time, status, explanation) for every time that the plan settles."""
    reached = (
        f"Execution of job '{plan.job.id}' skipped: maximum number of running instances "
        f"reached ({plan.job.max_instances})"
    )
    late = f"Run time of job '{plan.job.id}' was missed by more than the misfire grace time"
    return (
        [(time, MISSED, late) for time in plan.missed]
        + [(time, SKIPPED, reached) for time in plan.skipped]
        + [(time, SENT, None) for time in plan.start]
    )


def _claim_postgresql(plans: Sequence[Plan], term: Term, using: str) -> list[Claimed]:
    """Claim in one statement, so that no pause of this process can keep a lock.

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
            ), moved AS (
                UPDATE jobstore_djangojob AS job
                SET next_run_time = plan.following,
                    version = job.version + 1,
                    retired_at = CASE WHEN plan.following IS NULL THEN statement_timestamp() END
                FROM term, json_to_recordset(%(plans)s) AS plan (
                    id text, version bigint, due timestamptz, following timestamptz
                )
                WHERE job.id = plan.id AND job.version = plan.version
                    AND job.next_run_time = plan.due
                RETURNING job.id, term.holder, term.epoch
            ), written AS (
                INSERT INTO jobstore_djangojobexecution (
                    job_id, run_time, status, exception, claimed_at, finished, epoch, instance_id,
                    exception_type, requested_by, attempt
                )
                SELECT run.job_id, run.run_time, run.status, run.exception,
                    statement_timestamp(),
                    CASE WHEN run.status <> %(sent)s THEN statement_timestamp() END,
                    moved.epoch, moved.holder, '', '', 1
                FROM moved JOIN json_to_recordset(%(runs)s) AS run (
                    job_id text, run_time timestamptz, status text, exception text
                ) ON run.job_id = moved.id
                ON CONFLICT (job_id, run_time) DO NOTHING
                RETURNING id, job_id, run_time, status
            )
            SELECT id, job_id, run_time::text, status FROM term LEFT JOIN written ON true
            """,
            {
                "lease": SchedulerLease.DEFAULT,
                "holder": term.instance,
                "epoch": term.epoch,
                "sent": SENT,
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
                    {"job_id": plan.job.id, "run_time": time, "status": status, "exception": text}
                    for plan in plans
                    for time, status, text in _outcomes(plan)
                ),
            },
        )
        rows = cursor.fetchall()
    if not rows:
        raise NotHolder
    return [
        Claimed(pk, job_id, dt.datetime.fromisoformat(run_time).astimezone(dt.UTC), status)
        for pk, job_id, run_time, status in rows
        if pk is not None
    ]


def _claim_in_transaction(plans: Sequence[Plan], term: Term, using: str) -> list[Claimed]:
    """Claim on MariaDB, MySQL and SQLite (where the transaction begins IMMEDIATE)."""
    with transaction.atomic(using=using):
        now = assert_holder(term, using)
        jobs = DjangoJob.objects.using(using).filter(pk__in=[plan.job.id for plan in plans])
        rows = {row.pk: row for row in jobs.select_for_update().only("version", "next_run_time")}
        unchanged = [plan for plan in plans if _is_unchanged(plan, rows.get(plan.job.id))]
        _advance(unchanged, now, using)
        runs = DjangoJobExecution.objects.using(using)
        taken = set(
            runs.filter(
                job__in=[plan.job.id for plan in unchanged],
                run_time__in=[
                    get_django_internal_datetime(time)
                    for plan in unchanged
                    for time, *_ in _outcomes(plan)
                ],
            ).values_list("job_id", "run_time")
        )
        written = runs.bulk_create(
            DjangoJobExecution(
                job_id=plan.job.id,
                run_time=get_django_internal_datetime(time),
                status=status,
                exception=text,
                claimed_at=now,
                finished=None if status == SENT else now,
                epoch=term.epoch,
                instance_id=term.instance,
            )
            for plan in unchanged
            for time, status, text in _outcomes(plan)
            if (plan.job.id, get_django_internal_datetime(time)) not in taken
        )
        if written and written[0].pk is None:  # MySQL returns no keys of rows inserted together
            written = list(runs.filter(instance=term.instance, epoch=term.epoch, claimed_at=now))
    return [
        Claimed(row.pk, row.job_id, as_aware(row.run_time).astimezone(dt.UTC), row.status)
        for row in written
    ]


def assert_holder(term: Term, using: str) -> dt.datetime:
    """Lock the lease against a take-over until the transaction ends; return the time.

    :raises NotHolder: if the lease is not held with this epoch.
    """
    lease = SchedulerLease.objects.using(using).filter(
        name=SchedulerLease.DEFAULT, holder=term.instance, epoch=term.epoch
    )
    limit_transaction(using)
    # Locked by writing, since SQLite cannot upgrade a transaction that began by reading.
    lease.update(epoch=term.epoch)
    now = database_now(using)
    if not lease.filter(expires_at__gt=now).exists():
        raise NotHolder
    return now


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
    """Move jobs on by one statement that is composed here: Django takes half of a claim for it."""
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
