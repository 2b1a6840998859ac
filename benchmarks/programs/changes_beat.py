"""Changes celery-beat's rows from another process; the lines and answers are those of changes.py."""

import datetime as dt
import json
import sys
import time

import django

django.setup()

from django_celery_beat.models import PeriodicTask  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    """Do what each line says, until there are no more."""
    print("ready", flush=True)
    for line in sys.stdin:
        given = json.loads(line)
        change(given["change"], given["job"])
        print(time.time(), flush=True)


def change(what: str, number: int) -> None:
    """Make one change, by rows alone: there is no other way."""
    name, long_ago = f"job-{number}", dt.datetime.now(dt.UTC) - dt.timedelta(days=366)
    if what == "add":
        # As those that are due once a day.
        task = PeriodicTask.objects.get(name="job-1")
        task.pk, task.name, task.args = None, name, json.dumps([number, 0.0])
    else:
        task = PeriodicTask.objects.get(name=name)
    if what == "delete by row":
        task.delete()
        return
    if what == "pause by row":
        task.enabled = False
    elif what in ("add", "due by row"):
        # There is no time of the next run, only one of the last.
        task.start_time, task.last_run_at = None, long_ago
    else:
        raise ValueError(f"There is no change {what!r}.")
    task.save()


if __name__ == "__main__":
    main()
