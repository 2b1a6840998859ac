"""Stores a scenario's jobs a thousand at a time, as the rows that the job store itself would write.

Job stores write one row at a time, which would take longer than all that is measured.
"""

import itertools
import os
import pickle
from collections.abc import Callable
from typing import Any

from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

import apscheduler_store
import load
import spec

BATCH = 1000


def main() -> None:
    """Store them."""
    store, scenario = apscheduler_store.store(), spec.given()
    is_ours = os.environ["BENCH_STORE"].startswith("jobstore.")
    manager, row = ours() if is_ours else peers(store.pickle_protocol)
    scheduler = BackgroundScheduler(timezone="UTC")
    jobs = (made(scheduler, job, scenario["options"]) for job in spec.jobs(scenario))
    while batch := list(itertools.islice(jobs, BATCH)):
        manager.bulk_create([row(job) for job in batch])


def made(scheduler: BackgroundScheduler, job: spec.Job, options: dict[str, Any]) -> Job:
    """Return the job that `add_job` would make."""
    return Job(
        scheduler,
        id=job.id,
        func=load.work,
        args=(job.number, job.seconds),
        kwargs={},
        name="work",
        executor="default",
        trigger=IntervalTrigger(seconds=job.every, start_date=job.at, timezone="UTC"),
        next_run_time=job.at,
        **options,
    )


def ours() -> tuple[Any, Callable[[Job], Any]]:
    """Return the manager, and what makes a row of a job: each state is signed for its id."""
    from jobstore.models import DjangoJob  # type: ignore[import-not-found]
    from jobstore.storage import serializer  # type: ignore[import-not-found]

    return DjangoJob.all_objects, lambda job: DjangoJob(
        id=job.id, next_run_time=job.next_run_time, **serializer.values(job)
    )


def peers(protocol: int) -> tuple[Any, Callable[[Job], Any]]:
    """Return the same of django-apscheduler."""
    from django_apscheduler.models import DjangoJob

    return DjangoJob.objects, lambda job: DjangoJob(
        id=job.id,
        next_run_time=job.next_run_time,
        job_state=pickle.dumps(job.__getstate__(), protocol),
    )


if __name__ == "__main__":
    main()
