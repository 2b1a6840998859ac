"""Fills the tables of this template for its pages: jobs of all kinds, their runs, one active process.

fill_pages.py '{"rows": 1000000, "jobs": 1000, "days": 30}' writes runs that are spread evenly over so
many days, the newest now. Of a thousand runs some failed, were missed, skipped, lost or late; eight
run at the moment. No process is there: the one that is written will look alive for a year.
"""

import contextlib
import datetime as dt
import json
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import django

django.setup()

from apscheduler.job import Job  # noqa: E402
from apscheduler.schedulers.background import BackgroundScheduler  # noqa: E402
from apscheduler.triggers.cron import CronTrigger  # noqa: E402
from apscheduler.triggers.interval import IntervalTrigger  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402
from jobstore.models import DjangoJob, SchedulerInstance, SchedulerLease  # type: ignore[import-not-found] # noqa: E402
from jobstore.storage import serializer  # type: ignore[import-not-found] # noqa: E402

import load  # noqa: E402
from fill_history import SERIES, TIME, TRACEBACK  # noqa: E402

# In turn: what people schedule, by how often it runs.
TRIGGERS = (
    CronTrigger(hour=3, minute=30, timezone="UTC"),
    IntervalTrigger(minutes=5, timezone="UTC"),
    CronTrigger(minute="*/15", timezone="Europe/Berlin"),
    IntervalTrigger(hours=1, timezone="UTC"),
    CronTrigger(day_of_week="mon-fri", hour="8-18", minute=0, timezone="America/New_York"),
)
RUNNING = 8
TABLE = "jobstore_djangojobexecution"
YEAR = 365 * 86400
# The remainder of a run's number by a thousand, below which it is of that kind.
LOST, SKIPPED, MISSED, LATE, ASKED, FAILED = 1, 4, 10, 30, 60, 80
COLUMNS = {
    "job_id": "'job-' || ((n * 17 + n / {jobs}) %% {jobs})",
    "status": (
        f"CASE WHEN r < {LOST} THEN 'Lost!' WHEN r < {SKIPPED} THEN 'Max instances!'"
        f" WHEN r < {MISSED} THEN 'Missed!' WHEN r >= {ASKED} AND r < {FAILED} THEN 'Error!'"
        " ELSE 'Executed' END"
    ),
    "run_time": "at",
    "claimed_at": "at",
    "started_at": f"CASE WHEN r < {SKIPPED} OR r >= {MISSED} THEN {{started}} END",
    "finished": "at",
    "duration": f"CASE WHEN r < {LOST} OR r >= {MISSED} THEN 0.25 + r / 250.0 END",
    "exception_type": f"CASE WHEN r >= {ASKED} AND r < {FAILED} THEN 'ValueError' ELSE '' END",
    "exception": f"CASE WHEN r >= {ASKED} AND r < {FAILED} THEN 'no such thing: ' || n END",
    "traceback": f"CASE WHEN r >= {ASKED} AND r < {FAILED} THEN %(traceback)s END",
    "requested_by": f"CASE WHEN r >= {LATE} AND r < {ASKED} THEN 'anna' ELSE '' END",
    "attempt": "1",
    "epoch": "1",
    "instance_id": "%(instance)s",
}
# A late one by half a minute, the others by some milliseconds.
WAITED = f"CASE WHEN r >= {MISSED} AND r < {LATE} THEN 30 ELSE r / 1e5 END"
STARTED = {"postgresql": f"at + make_interval(secs => {WAITED})", "sqlite": "at"}


def main() -> None:
    """Fill them."""
    given = json.loads(sys.argv[-1])
    now = timezone.now()
    jobs(given["jobs"])
    made = SchedulerInstance.objects.create(
        host="bench", pid=1, role="active", epoch=1, started_at=now,
        heartbeat_at=now + dt.timedelta(seconds=YEAR),
    )  # fmt: skip
    lease = {"epoch": 1, "holder": made.pk, "acquired_at": now, "renewed_at": now}
    SchedulerLease.objects.update_or_create(
        name="default", defaults=lease | {"expires_at": now + dt.timedelta(seconds=YEAR)}
    )
    runs(given, made.pk)


def jobs(count: int) -> None:
    """Store jobs of every kind; of a hundred, two are paused and one is in quarantine."""
    scheduler, now = BackgroundScheduler(timezone="UTC"), timezone.now()
    rows = []
    for number in range(count):
        trigger = TRIGGERS[number % len(TRIGGERS)]
        job = Job(
            scheduler, id=f"job-{number}", func=load.work, args=(number, 0.0), kwargs={}, name="work",
            executor="default", trigger=trigger, next_run_time=trigger.get_next_fire_time(None, now),
            misfire_grace_time=60, coalesce=True, max_instances=1,
        )  # fmt: skip
        state: dict[str, Any] = {"next_run_time": job.next_run_time}
        if number % 100 in (3, 4):
            state = {"next_run_time": None, "pause_reason": "the supplier is down until Monday"}
        elif number % 100 == 5:
            state |= {"quarantined_at": now, "quarantine_reason": "Its function is not there."}
        rows.append(DjangoJob(id=job.id, **serializer.values(job) | state))
    DjangoJob.all_objects.bulk_create(rows, batch_size=1000)


def runs(given: dict[str, Any], instance: uuid.UUID) -> None:
    """Write the runs, the oldest first, as they come in life too; then those that run."""
    vendor = connection.vendor
    age = f"({given['rows']} - n) * {given['days'] * 86400 / given['rows']}"
    names = {"jobs": given["jobs"], "started": STARTED[vendor]}
    values = ", ".join(text.format(**names) for text in COLUMNS.values())
    statement = (
        f"INSERT INTO {TABLE} ({', '.join(COLUMNS)})"  # noqa: S608 - of constants
        f" WITH {SERIES[vendor].format(rows=given['rows'])},"
        # Scrambled, or else each job would have runs of one kind alone.
        f" numbered(n, r, at) AS (SELECT n, (n * 37 + n / 1000 * 31) %% 1000, {TIME[vendor].format(age=age)}"
        f" FROM series) SELECT {values} FROM numbered"
    )
    pk = SchedulerInstance._meta.pk.get_db_prep_value(instance, connection)
    with connection.cursor() as cursor, built_afterwards(cursor):
        cursor.execute(statement, {"traceback": TRACEBACK, "instance": pk})
    with connection.cursor() as cursor:
        newest = f"SELECT id FROM {TABLE} WHERE status = 'Executed' ORDER BY id DESC LIMIT {RUNNING}"  # noqa: S608
        cursor.execute(
            f"UPDATE {TABLE} SET status = 'Started execution', duration = NULL, finished = NULL,"  # noqa: S608
            f" started_at = run_time WHERE id IN ({newest})"
        )
        cursor.execute("VACUUM ANALYZE" if vendor == "postgresql" else "ANALYZE")


@contextlib.contextmanager
def built_afterwards(cursor: Any) -> Iterator[None]:
    """Let PostgreSQL build the indexes when all rows are there, which takes a fraction of the time."""
    if connection.vendor != "postgresql":
        yield
        return
    cursor.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = %s::regclass AND contype = 'u'",
        [TABLE],
    )
    unique = dict(cursor.fetchall())
    for name in unique:
        cursor.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT {name}")
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND indexname <> %s",
        [TABLE, f"{TABLE}_pkey"],
    )
    indexes = dict(cursor.fetchall())
    for name in indexes:
        cursor.execute(f"DROP INDEX {name}")
    yield
    for name, definition in unique.items():
        cursor.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT {name} {definition}")
    for definition in indexes.values():
        cursor.execute(definition)


if __name__ == "__main__":
    main()
