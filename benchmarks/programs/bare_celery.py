"""Sends a scenario's jobs to Celery at the instant at which they are due, with no scheduler at all."""

import time

import spec
from beat_app import work


def main() -> None:
    """Wait for the instant, and send them one after the other."""
    jobs = list(spec.jobs(spec.given()))
    work.app.pool.acquire(block=True).release()
    time.sleep(max(jobs[0].at.timestamp() - time.time(), 0.0))
    for job in jobs:
        work.apply_async(args=(job.number, job.seconds), ignore_result=True)
    time.sleep(3600)


if __name__ == "__main__":
    main()
