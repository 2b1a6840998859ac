"""Changes stored jobs from a process that runs none, as people's programs do.

Reads a change in each line, {"change": "pause by call", "job": 7}, and answers with the time by this
machine's clock at which it was committed. "By call" is APScheduler's own way, a second scheduler
that is started paused; "by row" is a QuerySet.
"""

import datetime as dt
import importlib
import json
import os
import sys
import time
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

import apscheduler_store
import load

DAY = 24 * 3600.0


def main() -> None:
    """Do what each line says, until there are no more."""
    scheduler = BackgroundScheduler(timezone="UTC", jobstores={"default": apscheduler_store.store()})
    scheduler.start(paused=True)
    module = os.environ["BENCH_STORE"].partition(".")[0]
    model = importlib.import_module(f"{module}.models").DjangoJob
    print("ready", flush=True)
    for line in sys.stdin:
        given = json.loads(line)
        change(scheduler, model, given["change"], given["job"])
        print(time.time(), flush=True)
    scheduler.shutdown()


def change(scheduler: BackgroundScheduler, model: Any, what: str, number: int) -> None:
    """Make one change."""
    job_id, now = f"job-{number}", dt.datetime.now(dt.UTC)
    rows = model.objects.filter(pk=job_id)
    if what == "due by call":
        scheduler.modify_job(job_id, next_run_time=now)
    elif what == "due by row":
        rows.update(next_run_time=now)
    elif what == "run now":
        rows.get().request_run("benchmark")
    elif what == "add":
        options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        scheduler.add_job(
            load.work,
            "interval",
            id=job_id,
            seconds=DAY,
            next_run_time=now,
            args=(number, 0.0),
            **options,
        )
    elif what == "pause by call":
        scheduler.pause_job(job_id)
    elif what == "pause by row":
        rows.update(next_run_time=None)
    elif what == "delete by call":
        scheduler.remove_job(job_id)
    elif what == "delete by row":
        rows.delete()
    else:
        raise ValueError(f"There is no change {what!r}.")


if __name__ == "__main__":
    main()
