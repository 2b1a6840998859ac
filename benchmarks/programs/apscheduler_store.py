"""Stores a scenario's jobs by APScheduler's own calls, with the job store that BENCH_STORE names.

apscheduler_store.py store '{...}'   stores the jobs and ends
apscheduler_store.py run '{...}'     runs what is stored, or, in memory, stores and runs
"""

import importlib
import os
import signal
import sys
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler

import load
import spec


def store() -> Any:
    """Return the job store, after setting Django up for it if it needs that."""
    module, _, name = os.environ["BENCH_STORE"].rpartition(".")
    if "DJANGO_SETTINGS_MODULE" in os.environ:
        import django

        django.setup()
    return getattr(importlib.import_module(module), name)()


def fill(scheduler: BaseScheduler, scenario: dict[str, Any]) -> None:
    """Add every job. None may be missed or skipped for being late: what is measured is how late."""
    for job in spec.jobs(scenario):
        scheduler.add_job(
            load.work,
            "interval",
            id=job.id,
            seconds=job.every,
            start_date=job.at,
            next_run_time=job.at,
            args=(job.number, job.seconds),
            **scenario["options"],
        )


def main() -> None:
    """Do what the command line says."""
    what, scenario = sys.argv[1], spec.given()
    kind = BackgroundScheduler if what == "store" else BlockingScheduler
    workers = ThreadPoolExecutor(scenario["threads"])
    scheduler = kind(timezone="UTC", executors={"default": workers}, jobstores={"default": store()})
    if what == "store" or os.environ["BENCH_STORE"].startswith("apscheduler."):
        fill(scheduler, scenario)
    if what == "store":
        scheduler.start(paused=True)
        scheduler.shutdown()
        return
    signal.signal(signal.SIGTERM, lambda *_: scheduler.shutdown(wait=False))
    scheduler.start()


if __name__ == "__main__":
    main()
