"""Evaluates expressions over the project's models, one a line, for the tests that run the schedulers.

It reads JSON texts from its input, each a Python expression, and answers each with a line of JSON:
{"value": ...} or {"error": ...}. It stands for what people and other processes do to the jobs.
"""

import datetime as dt
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path.cwd()))

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.db import connection, connections, models  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402
from jobstore.models import (  # type: ignore[import-not-found]  # noqa: E402
    DjangoJob,
    DjangoJobExecution,
    SchedulerInstance,
    SchedulerLease,
    database_now,
)
from jobstore.storage import serializer  # type: ignore[import-not-found]  # noqa: E402


def sql(statement: str) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows, if it has any."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def versions() -> dict[str, str]:
    """Return what runs here."""
    statement = "SELECT sqlite_version()" if connection.vendor == "sqlite" else "SELECT version()"
    database = " ".join(str(sql(statement)[0][0]).split("-")[0].split(" on ")[0].split()[:2])
    return {
        "database": {"sqlite": "SQLite ", "mysql": "MariaDB "}.get(connection.vendor, "") + database,
        "Python": platform.python_version(),
        "Django": version("django"),
        "APScheduler": version("apscheduler"),
    }


def signed_by_others() -> int:
    """Return how many jobs the present secret key cannot restore without its predecessors."""
    fallbacks, settings.SECRET_KEY_FALLBACKS = settings.SECRET_KEY_FALLBACKS, []
    try:
        return sum(not is_readable(job) for job in DjangoJob.objects.all())
    finally:
        settings.SECRET_KEY_FALLBACKS = fallbacks


def is_readable(job: Any) -> bool:
    """Tell whether a job's signature is one of this process's keys."""
    try:
        serializer.restore(job)
    except serializer.UnreadableState as error:
        return "signature" not in str(error)
    return True


def be_impatient(connection: Any, **_: object) -> None:
    """Wait no more than two seconds for a lock that somebody holds, who may be frozen."""
    patience = {
        "postgresql": "SET lock_timeout = '2s'",
        "mysql": "SET SESSION innodb_lock_wait_timeout = 2",
        "sqlite": "PRAGMA busy_timeout = 2000",
    }
    with connection.cursor() as cursor:
        cursor.execute(patience[connection.vendor])


def plain(value: Any) -> Any:
    """Return what JSON has no word for as text, or as a list."""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, models.QuerySet | set):
        return list(value)
    return str(value)


NAMES = {
    "Job": DjangoJob,
    "Run": DjangoJobExecution,
    "Lease": SchedulerLease,
    "Instance": SchedulerInstance,
    "F": models.F,
    "dt": dt,
    "now": lambda: database_now("default"),
    "sql": sql,
    "versions": versions,
    "signed_by_others": signed_by_others,
}


def answer(expression: str) -> dict[str, Any]:
    """Evaluate an expression; a connection that broke is given back, so that the next one works."""
    try:
        return {"value": eval(expression, dict(NAMES))}  # noqa: S307 - that is what it is for
    except Exception as error:  # noqa: BLE001 - whoever asked is told
        for one in connections.all():
            one.close()
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer until the input ends."""
    connection_created.connect(be_impatient)
    for line in sys.stdin:
        given = answer(json.loads(line))
        try:
            text = json.dumps(given, default=plain)
        except Exception as error:  # noqa: BLE001 - a lazy query is asked while it is written
            text = json.dumps({"error": f"{type(error).__name__}: {error}"})
            connections["default"].close()
        print(text, flush=True)


if __name__ == "__main__":
    main()
