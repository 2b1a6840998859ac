"""Fills the history with runs of the stored jobs, by one statement.

fill_history.py '{"rows": 1000000, "jobs": 1000, "newest_days": 40, "days": 30}' writes rows that are
spread evenly over so many days, the newest of them so many days old. Each 50th failed.
"""

import json
import os
import sys
import uuid

import django

django.setup()

from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

# The numbers from 1 up, and the time of a run that is n seconds old, on each database.
SERIES = {
    "postgresql": "series(n) AS (SELECT generate_series(1, {rows}))",
    "mysql": "series(n) AS (SELECT seq FROM seq_1_to_{rows})",
    "sqlite": "RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows})",
}
TIME = {
    "postgresql": "now() - make_interval(secs => {age})",
    "mysql": "UTC_TIMESTAMP(6) - INTERVAL {age} SECOND",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', '-' || ({age}) || ' seconds')",
}
TRACEBACK = "Traceback (most recent call last):\n" + '  File "work.py", line 1, in work\n' * 20


def main() -> None:
    """Fill it."""
    given = json.loads(sys.argv[-1])
    vendor = connection.vendor
    age = f"{given['newest_days'] * 86400} + n * {given['days'] * 86400 / given['rows']}"
    time = TIME[vendor].format(age=age)
    job = f"n %% {given['jobs']}"
    columns = {
        "job_id": f"CONCAT('job-', {job})" if vendor == "mysql" else f"'job-' || ({job})",
        "status": "CASE WHEN n %% 50 = 0 THEN 'Error!' ELSE 'Executed' END",
        "run_time": time,
        "duration": "0.25",
        "exception": "CASE WHEN n %% 50 = 0 THEN %(text)s END",
        "traceback": "CASE WHEN n %% 50 = 0 THEN %(traceback)s END",
    }
    parameters = {"text": "ValueError: no such thing", "traceback": TRACEBACK}
    if os.environ.get("BENCH_STORE", "").startswith("jobstore."):
        table = "jobstore_djangojobexecution"
        times = dict.fromkeys(("claimed_at", "started_at", "finished"), time)
        failed = "CASE WHEN n %% 50 = 0 THEN 'ValueError' ELSE '' END"
        columns |= times | {"exception_type": failed, "requested_by": "''", "attempt": "1", "epoch": "1"}
        columns["instance_id"] = "%(instance)s"
        parameters["instance"] = process()
    elif "django_celery_results" in os.environ["BENCH_APPS"].split():
        table = "django_celery_results_taskresult"
        columns = {
            "task_id": "'00000000-0000-0000-0000-' || n",
            "periodic_task_name": columns["job_id"],
            "task_name": "'load.work'",
            "status": "CASE WHEN n %% 50 = 0 THEN 'FAILURE' ELSE 'SUCCESS' END",
            "traceback": columns["traceback"],
            "result": "CASE WHEN n %% 50 = 0 THEN %(text)s ELSE 'null' END",
            **dict.fromkeys(("date_created", "date_started", "date_done"), time),
            **dict.fromkeys(("content_type", "content_encoding"), "'utf-8'"),
        }
    else:
        table = "django_apscheduler_djangojobexecution"
        columns["finished"] = "1700000000"
    statement = (
        f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 - of constants and numbers
        f" WITH {SERIES[vendor].format(rows=given['rows'])} SELECT {', '.join(columns.values())} FROM series"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        if vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")


def process() -> str:
    """Return the key, as stored, of a process that is said to have made the runs."""
    from jobstore.models import SchedulerInstance  # type: ignore[import-not-found]

    now = timezone.now()
    made = SchedulerInstance.objects.create(
        id=uuid.uuid4(), host="bench", pid=1, role="stopped", started_at=now, heartbeat_at=now
    )
    return str(SchedulerInstance._meta.pk.get_db_prep_value(made.pk, connection))


if __name__ == "__main__":
    main()
