"""The load: many jobs that run each second and write what they did to a file outside the database.

Each run appends two lines to the file named by LOAD_TRACE: `+` when it starts, `-` when it ends,
then job, execution id, scheduled time, epoch, process id and the time by this host's clock. Lines
are appended in one call each, so those of several processes do not mix.
"""

import datetime as dt
import functools
import os
import time

from jobstore.registry import scheduled  # type: ignore[import-not-found]
from jobstore.runs import current_run  # type: ignore[import-not-found]

# Jobs that run each second, no time of which may be left out, and jobs that people change meanwhile.
STEADY = int(os.environ.get("LOAD_JOBS", "100"))
CHANGED = 5
# They are due in this many portions a second.
PORTIONS = 10
EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@functools.cache
def trace() -> int:
    """Return the open trace file, one for the whole process."""
    return os.open(os.environ["LOAD_TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(sign: str) -> None:
    """Write that the current run starts or ends."""
    run = current_run()
    when = run.run_time.isoformat()
    line = f"{sign} {run.job_id} {run.execution_id} {when} {run.epoch} {os.getpid()} {time.time():.6f}\n"
    os.write(trace(), line.encode())


def work(seconds: float = 0.0) -> None:
    """Take some time."""
    note("+")
    if seconds:
        time.sleep(seconds)
    note("-")


def fork() -> None:
    """Fork, and let both sides return; the child outlives its run, and perhaps the scheduler."""
    note("+")
    if os.fork() == 0:
        time.sleep(8)
        return
    note("-")


def declare(job_id: str, seconds: float, every: float, number: int = 0, **options: object) -> None:
    """Declare a job that takes `seconds` and runs every so many seconds."""
    offset = dt.timedelta(seconds=(number % PORTIONS) / PORTIONS)
    options = {"coalesce": False, "max_instances": 1000, "args": (seconds,)} | options
    scheduled("interval", id=job_id, seconds=every, start_date=EPOCH + offset, **options)(work)


def declare_all() -> None:
    """Declare the load; the beginning of a job's name says what may be expected of it."""
    for number in range(STEADY):
        declare(f"steady-{number:03}", 0.0, 1, number)
    for number in range(5):
        declare(f"slow-{number}", 1.5, 5, 2 * number)
    # Takes longer than its interval: every other time is skipped, and no two overlap.
    declare("long", 1.5, 1, 3, max_instances=1, coalesce=True)
    # Is asked for again whenever a process dies with it.
    declare("again", 0.7, 1, 5, on_lost="rerun", coalesce=True)
    options = {"start_date": EPOCH, "coalesce": False, "max_instances": 1000}
    scheduled("interval", id="fork", seconds=5, **options)(fork)
    for number in range(CHANGED):
        declare(f"changed-{number}", 0.0, 1, 2 * number, coalesce=True)


# `scheduled` refuses one id for two functions, and one function may have many.
declare_all()
