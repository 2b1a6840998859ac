"""The two statements with which a worker takes a queued run.

They are made for each run, and Django takes longer to compose them than a database to answer. So
they are written in plain SQL that every database understands, as in claims/due.py.
"""

import datetime as dt
import uuid
from typing import Any, NamedTuple

from django.db import connections

from jobstore.models import DjangoJobExecution
from jobstore.storage.rows import DueJob
from jobstore.storage.signing import SHOWN
from jobstore.util import as_aware, as_read, get_django_internal_datetime

SHOWN_COLUMNS = ", ".join(f"job.{name}" for name in SHOWN)
Run = DjangoJobExecution


class QueuedRun(NamedTuple):
    """What a worker must know of a run; `job` is None if its row is gone."""

    pk: int
    status: str
    attempt: int
    job_id: str
    run_time: dt.datetime
    epoch: int | None
    note: str
    has_arguments: bool
    timeout: float | None
    job: DueJob | None


def read(run_id: int, using: str) -> QueuedRun | None:
    """Return a run with its job; None if there is no such run."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT run.status, run.attempt, run.job_id, run.run_time, run.epoch, run.note,
                CASE WHEN run.arguments_state IS NULL THEN 0 ELSE 1 END, job.timeout,
                job.id, job.job_state, job.next_run_time, job.version, {SHOWN_COLUMNS}
            FROM jobstore_djangojobexecution AS run
            LEFT JOIN jobstore_djangojob AS job ON job.id = run.job_id
            WHERE run.id = %s
            """,  # noqa: S608 - nothing but names of columns is put in
            [run_id],
        )
        found = cursor.fetchone()
    if found is None:
        return None
    status, attempt, job_id, run_time, epoch, note, has_arguments, timeout, *of_job = found
    pk, state, due, version, *shown = of_job
    job = None
    if pk is not None:
        columns = dict(zip(SHOWN, shown, strict=True))
        due = as_read(due, connection)
        job = DueJob(pk, state, due, version, **columns, timeout=timeout, running=0)
    at = as_aware(as_read(run_time, connection)).astimezone(dt.UTC)
    return QueuedRun(
        *(run_id, status, attempt, job_id, at, epoch, note or ""), bool(has_arguments), timeout, job
    )


def take(run: QueuedRun, instance: uuid.UUID, started: dt.datetime, using: str) -> bool:
    """Take a run, if it still waits for this attempt; return whether it did."""
    connection = connections[using]
    whom: Any = Run._meta.get_field("instance")
    at: Any = get_django_internal_datetime(started)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE jobstore_djangojobexecution
            SET status = %s, instance_id = %s, started_at = %s
            WHERE id = %s AND status = %s AND attempt = %s
            """,
            [
                Run.RUNNING,
                whom.get_db_prep_save(instance, connection),
                connection.ops.adapt_datetimefield_value(at),
                run.pk,
                Run.QUEUED,
                run.attempt,
            ],
        )
        return bool(cursor.rowcount)
