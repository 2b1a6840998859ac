"""Stores a scenario's jobs as celery-beat's rows.

A job that is due once a day becomes a crontab of its minute and hour, another an interval of whole
seconds: those are the two kinds of schedule that its users write. Crontabs have no seconds.
"""

import datetime as dt
import json

import django

import spec

django.setup()

from django_celery_beat.models import (  # type: ignore[import-not-found]  # noqa: E402
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
)

DAY = 24 * 3600.0


def main() -> None:
    """Store them, and tell a running scheduler once."""
    now = dt.datetime.now(dt.UTC)
    schedules: dict[tuple[int, ...], dict[str, object]] = {}
    tasks = []
    for job in spec.jobs(spec.given()):
        key = (job.at.minute, job.at.hour) if job.every == DAY else (max(round(job.every), 1),)
        if key not in schedules:
            schedules[key] = {"crontab": crontab(*key)} if len(key) == 2 else {"interval": interval(*key)}
        # A start time is only looked at in whole seconds, so it is left out where it changes nothing.
        later = job.at - now > dt.timedelta(hours=12)
        due = job.at - dt.timedelta(seconds=job.every)
        tasks.append(
            PeriodicTask(
                name=job.id,
                task="work",
                args=json.dumps([job.number, job.seconds]),
                start_time=job.at if later else None,
                # An interval begins with the last run.
                last_run_at=due if len(key) == 1 and not later else now,
                **schedules[key],
            )
        )
    PeriodicTask.objects.bulk_create(tasks, batch_size=1000)
    PeriodicTasks.update_changed()


def crontab(minute: int, hour: int) -> CrontabSchedule:
    """Return a schedule of once a day."""
    return CrontabSchedule.objects.create(minute=str(minute), hour=str(hour), timezone="UTC")


def interval(seconds: int) -> IntervalSchedule:
    """Return a schedule of so many seconds."""
    return IntervalSchedule.objects.create(every=seconds, period=IntervalSchedule.SECONDS)


if __name__ == "__main__":
    main()
