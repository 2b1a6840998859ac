"""What becomes of a due job: which times run, which were missed, when it is due again.

Pure computation, with the same results as APScheduler's own stores and executors. Triggers are
asked in their own time zone. Results are in UTC, since Python compares two times of one zone by
local time, which repeats an hour once a year.
"""

import copy
import dataclasses
import datetime as dt
from typing import Any

from apscheduler.job import Job

from jobstore.schedules import catch_up
from jobstore.schedules.next_times import following
from jobstore.texts import described
from jobstore.util import is_storable

# Times that a job that does not coalesce catches up with in one claim.
MAX_RUN_TIMES = 1000


class UnusableTrigger(Exception):
    """A trigger raises, or does not advance; the text says which."""


@dataclasses.dataclass(frozen=True)
class Previous:
    """The newest row of a job's schedule, to which further times of its status may be added.

    `newest` is the latest time of any row of the job, requested runs included.
    """

    id: int | None
    status: str
    last: dt.datetime
    newest: dt.datetime


@dataclasses.dataclass
class Plan:
    """What a claim will write for one job, provided that nobody changed the job meanwhile."""

    job: Job
    version: int
    due: dt.datetime
    start: list[dt.datetime]
    missed: list[dt.datetime]
    skipped: list[dt.datetime]
    next_run_time: dt.datetime | None
    # Set only if times are missed or skipped. The reason is set if it is not max_instances.
    previous: Previous | None = None
    reason: str = ""


def plan(
    job: Job,
    version: int,
    now: dt.datetime,
    *,
    running: int = 0,
    saturated_since: dt.datetime | None = None,
    most: int = MAX_RUN_TIMES,
) -> Plan:
    """Decide about a job that is due. `now` is in the scheduler's zone.

    :param running: how many claims of this job are running, in every process.
    :param saturated_since: since when jobs have been waiting for a free worker, if they have.
    :param most: times to settle; the job stays due if it has more.
    :raises UnusableTrigger: if the trigger raises or gives a time that is not later.
    """
    run_times, next_run_time = _run_times(job, now, min(most, MAX_RUN_TIMES))
    at = now.astimezone(dt.UTC)
    missed: list[dt.datetime] = []
    start: list[dt.datetime] = []
    for time in run_times:
        (missed if _is_misfire(job, time, at, saturated_since) else start).append(time)
    skipped: list[dt.datetime] = []
    if start and running >= job.max_instances:
        start, skipped = [], start
    due = job.next_run_time.astimezone(dt.UTC)
    return Plan(job, version, due, start, missed, skipped, next_run_time)


def _run_times(
    job: Job, now: dt.datetime, most: int
) -> tuple[list[dt.datetime], dt.datetime | None]:
    """Return the due times (only the last one if they coalesce) and the first that is not due.

    Each time is asked for once: with jitter, a trigger answers the same question differently.
    """
    run_times: list[dt.datetime] = []
    zoned: dt.datetime | None = job.next_run_time
    if job.coalesce and zoned is not None and zoned.astimezone(dt.UTC) <= now:
        zoned = _close_to(job, zoned, now)
    while zoned is not None and (time := zoned.astimezone(dt.UTC)) <= now:
        if job.coalesce:
            run_times = [time]
        elif len(run_times) >= most:
            break
        else:
            run_times.append(time)
        zoned = _next_storable(job, zoned, now)
    return run_times, None if zoned is None else zoned.astimezone(dt.UTC)


def _close_to(job: Job, due: dt.datetime, now: dt.datetime) -> dt.datetime:
    try:
        return catch_up.close_to(job.trigger, due, now)
    except Exception as error:
        raise UnusableTrigger(f"The trigger {job.trigger} raised {described(error)}.") from error


def _next_storable(job: Job, previous: dt.datetime, now: dt.datetime) -> dt.datetime | None:
    found = _next(job, previous, now)
    while found is not None and not is_storable(found):
        # Some triggers look no further than from now on.
        later = found if found.astimezone(dt.UTC) > now else now
        found = _next(job, found, later)
    return found


def _next(job: Job, previous: dt.datetime, now: dt.datetime) -> dt.datetime | None:
    try:
        found = following(job.trigger, previous, now)
        if found is not None and getattr(job.trigger, "jitter", None):
            found = _in_the_hour_meant(job.trigger, found, previous, now)
    except Exception as error:
        raise UnusableTrigger(f"The trigger {job.trigger} raised {described(error)}.") from error
    if found is not None and found.astimezone(dt.UTC) <= previous.astimezone(dt.UTC):
        raise UnusableTrigger(
            f"The trigger {job.trigger} does not advance: after {previous} it gave {found}."
        )
    return found


def _in_the_hour_meant(
    trigger: Any, found: dt.datetime, previous: dt.datetime, now: dt.datetime
) -> dt.datetime:
    """Correct a trigger that adds jitter in local time, which may lead an hour back."""
    if found.fold or found.replace(fold=1).utcoffset() == found.utcoffset():
        return found
    exact = copy.copy(trigger)
    exact.jitter = None
    meant = following(exact, previous, now)
    return found if meant is None else found.replace(fold=meant.fold)


def _is_misfire(
    job: Job, time: dt.datetime, now: dt.datetime, saturated_since: dt.datetime | None
) -> bool:
    """Tell whether a run is too late to start.

    Waiting for a free worker while a scheduler is active is a delay, not a misfire: lateness counts
    only up to the moment since which all workers have been busy.
    """
    if job.misfire_grace_time is None:
        return False
    seen = now if saturated_since is None else min(now, max(saturated_since, time))
    return seen - time > dt.timedelta(seconds=job.misfire_grace_time)
