"""Which jobs are due, and when the next one is: the first questions of each look at the database.

They are asked all day, and Django takes longer to compose them (3 and 1.5 ms) than a database to
answer. So they are written in plain SQL that every database understands.
"""

import datetime as dt
from collections.abc import Collection
from typing import Any, NamedTuple

from django.db import connections

from jobstore.job_options import SKIP
from jobstore.models import DjangoJobExecution
from jobstore.storage.rows import DueJob
from jobstore.storage.signing import SHOWN
from jobstore.util import as_read, get_django_internal_datetime

# With the table's name in front, so that no database takes one of them for a word of SQL.
SHOWN_COLUMNS = ", ".join(f"job.{name}" for name in SHOWN)


# Jobs that wait for their own runs, of which one look asks the database.
MAX_WAITING = 1000


class Waiting(NamedTuple):
    """A due job whose time waits for the end of a run of its own."""

    id: str
    overlap: str


def due_jobs(
    now: dt.datetime,
    limit: int,
    *,
    without: Collection[str],
    ended: Collection[int],
    using: str,
    free_only: bool = False,
) -> list[DueJob]:
    """Return the jobs that are due and not in quarantine, the longest due first.

    :param without: executors whose jobs are not wanted.
    :param ended: runs that have ended although their rows do not say so yet.
    :param free_only: leaves out those that wait for a run of their own.
    """
    connection = connections[using]
    at: Any = get_django_internal_datetime(now)
    running, values = _running(ended)
    free, free_values = _free(ended) if free_only else ("", [])
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id, job_state, next_run_time, version, {SHOWN_COLUMNS}, job.timeout,
                job.overlap, job.catch_up, job.queue, {running}
            FROM jobstore_djangojob AS job
            WHERE next_run_time <= %s AND quarantined_at IS NULL {_not_in("executor", without)}
            {free}
            ORDER BY next_run_time, id
            LIMIT %s
            """,  # noqa: S608 - nothing but placeholders is put in
            [
                *values,
                connection.ops.adapt_datetimefield_value(at),
                *without,
                *free_values,
                limit,
            ],
        )
        return [
            DueJob(pk, state, as_read(when, connection), *others)
            for pk, state, when, *others in cursor
        ]


def waiting_jobs(now: dt.datetime, *, ended: Collection[int] = (), using: str) -> list[Waiting]:
    """Return the due jobs that wait for a run of their own.

    :param ended: as for `due_jobs`.
    """
    connection = connections[using]
    at: Any = get_django_internal_datetime(now)
    running, values = _running(ended)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id, job.overlap FROM jobstore_djangojob AS job
            WHERE next_run_time <= %s AND quarantined_at IS NULL AND job.overlap <> %s
                AND {running} >= job.max_instances
            LIMIT {MAX_WAITING}
            """,  # noqa: S608 - as above
            [connection.ops.adapt_datetimefield_value(at), SKIP, *values],
        )
        return [Waiting(*row) for row in cursor]


def first_run_time(
    *,
    without: Collection[str],
    using: str,
    besides: Collection[str] = (),
    ended: Collection[int] = (),
    free_only: bool = False,
) -> dt.datetime | None:
    """Return when the next job is due, as stored; None if none waits.

    :param without: executors whose jobs do not matter.
    :param besides: jobs that do not matter.
    :param ended: as for `due_jobs`, and so is `free_only`.
    """
    connection = connections[using]
    free, values = _free(ended) if free_only else ("", [])
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT MIN(next_run_time) FROM jobstore_djangojob AS job
            WHERE quarantined_at IS NULL
            {_not_in("executor", without)} {_not_in("id", besides)} {free}
            """,  # noqa: S608 - as above
            [*without, *besides, *values],
        )
        first: dt.datetime | None = as_read(cursor.fetchone()[0], connection)
    return first


def _running(ended: Collection[int]) -> tuple[str, list[Any]]:
    """Return SQL for the number of a job's claims that are running, and its values."""
    text = f"""(
        SELECT COUNT(DISTINCT
            CASE WHEN run.requested_by = '' THEN run.claimed_at ELSE run.run_time END)
        FROM jobstore_djangojobexecution AS run
        WHERE run.job_id = job.id AND run.status IN (%s, %s) {_not_in("run.id", ended)}
    )"""  # noqa: S608 - as above
    return text, [*DjangoJobExecution.CLAIMED, *ended]


def _free(ended: Collection[int]) -> tuple[str, list[Any]]:
    """Return SQL that leaves out jobs which would wait for a run of their own, and its values."""
    running, values = _running(ended)
    return f"AND (job.overlap = %s OR {running} < job.max_instances)", [SKIP, *values]


def _not_in(column: str, values: Collection[object]) -> str:
    return f"AND {column} NOT IN ({', '.join(['%s'] * len(values))})" if values else ""
