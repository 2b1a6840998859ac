"""Which jobs are due, and when the next one is: the first questions of each look at the database.

They are asked all day, and Django takes longer to compose them (3 and 1.5 ms) than a database to
answer. So they are written in plain SQL that every database understands.
"""

import datetime as dt
from collections.abc import Collection
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from jobstore.models import DjangoJobExecution
from jobstore.storage.rows import DueJob
from jobstore.storage.signing import SHOWN
from jobstore.util import get_django_internal_datetime

# With the table's name in front, so that no database takes one of them for a word of SQL.
SHOWN_COLUMNS = ", ".join(f"job.{name}" for name in SHOWN)


def due_jobs(
    now: dt.datetime, limit: int, *, without: Collection[str], ended: Collection[int], using: str
) -> list[DueJob]:
    """Return the jobs that are due and not in quarantine, the longest due first.

    :param without: executors whose jobs are not wanted.
    :param ended: runs that have ended although their rows do not say so yet.
    """
    connection = connections[using]
    at: Any = get_django_internal_datetime(now)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id, job_state, next_run_time, version, {SHOWN_COLUMNS}, (
                SELECT COUNT(DISTINCT
                    CASE WHEN run.requested_by = '' THEN run.claimed_at ELSE run.run_time END)
                FROM jobstore_djangojobexecution AS run
                WHERE run.job_id = job.id AND run.status = %s {_not_in("run.id", ended)}
            )
            FROM jobstore_djangojob AS job
            WHERE next_run_time <= %s AND quarantined_at IS NULL {_not_in("executor", without)}
            ORDER BY next_run_time, id
            LIMIT %s
            """,  # noqa: S608 - nothing but placeholders is put in
            [
                DjangoJobExecution.RUNNING,
                *ended,
                connection.ops.adapt_datetimefield_value(at),
                *without,
                limit,
            ],
        )
        return [
            DueJob(pk, state, _as_read(when, connection), *others)
            for pk, state, when, *others in cursor
        ]


def first_run_time(
    *, without: Collection[str], using: str, besides: Collection[str] = ()
) -> dt.datetime | None:
    """Return when the next job is due, as stored; None if none waits.

    :param without: executors whose jobs do not matter.
    :param besides: jobs that do not matter.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT MIN(next_run_time) FROM jobstore_djangojob
            WHERE quarantined_at IS NULL
            {_not_in("executor", without)} {_not_in("id", besides)}
            """,  # noqa: S608 - as above
            [*without, *besides],
        )
        first: dt.datetime | None = _as_read(cursor.fetchone()[0], connection)
    return first


def _not_in(column: str, values: Collection[object]) -> str:
    return f"AND {column} NOT IN ({', '.join(['%s'] * len(values))})" if values else ""


def _as_read(value: Any, connection: BaseDatabaseWrapper) -> Any:
    """Return a time as Django's ORM reads it: converted, where the driver does not do so."""
    convert = getattr(connection.ops, "convert_datetimefield_value", None)
    return convert(value, None, connection) if convert else value
