"""Makes jobs and history with the real package, and ends as if the power had failed."""

import datetime as dt
import os
import time
from collections.abc import Callable

import django

django.setup()

from apscheduler.schedulers.background import BackgroundScheduler  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db.backends.sqlite3.base import DatabaseWrapper  # noqa: E402
from django_apscheduler.jobstores import DjangoJobStore  # noqa: E402
from django_apscheduler.models import DjangoJobExecution  # noqa: E402

import closed  # noqa: E402
import errands  # noqa: E402


# On SQLite django-apscheduler's scheduler dies when two threads write, unless they take turns.
def begin(connection: DatabaseWrapper) -> None:
    connection.cursor().execute("BEGIN IMMEDIATE")


DatabaseWrapper._start_transaction_under_autocommit = begin  # type: ignore[attr-defined]

# However slow the machine: a run that is a second late would be missed.
PATIENT = {"trigger": "interval", "misfire_grace_time": 600}
HOUR = PATIENT | {"hours": 1}
SOON = PATIENT | {"seconds": 5}


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def seen(job_id: str, status: str) -> Callable[[], bool]:
    return lambda: DjangoJobExecution.objects.filter(job_id=job_id, status=status).exists()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the old scheduler did not get so far"
        time.sleep(0.1)


scheduler = BackgroundScheduler(timezone=settings.TIME_ZONE)
scheduler.add_jobstore(DjangoJobStore(), "default")
scheduler.start()


def add(func: Callable[..., None], job_id: str, **options: object) -> None:
    scheduler.add_job(func, id=job_id, **options)


# Jobs with a history.
add(errands.note, "tägliche Grüße 日本", args=["Zoë"], next_run_time=now(), name="Grüße", **HOUR)
wait_for(seen("tägliche Grüße 日本", "Executed"))
add(errands.fail, "fails", next_run_time=now(), **HOUR)
wait_for(seen("fails", "Error!"))
add(errands.note, "late", args=["late"], next_run_time=now() - dt.timedelta(hours=0.5), **HOUR)
wait_for(seen("late", "Missed!"))
add(errands.wait, "slow", args=[2.5], seconds=1, **PATIENT)
wait_for(seen("slow", "Max instances!"))
scheduler.pause_job("slow")
wait_for(seen("slow", "Executed"))
add(errands.wait, "cut", args=[600], next_run_time=now(), **HOUR)
wait_for(seen("cut", "Started execution"))

# Jobs of all kinds.
add(errands.note, "weekly", trigger="cron", year=2098, day_of_week="mon", kwargs={"text": "Zoë"})
add(errands.note, "jitter", args=["jitter"], trigger="interval", hours=1, jitter=60, max_instances=3)
add(errands.note, "once", args=["once"], trigger="date", run_date=dt.datetime(2099, 1, 1, tzinfo=dt.UTC))
add(closed.errand, "gone", **HOUR)
add(errands.note, "unreadable", args=[closed.Parcel()], **HOUR)

# Jobs that the new project is to run at once.
add(errands.note, "often", args=["often"], **SOON)
add(errands.Greeter("Ada").greet, "method", args=["Hello"], **SOON)
os._exit(0)
