"""What a job that replaces a stored one keeps of it: the decisions of operators.

Deploys and programs write their jobs again at each start. That must not undo a pause, nor lose a
run that is due since before the start.
"""

import copy
import datetime as dt
from typing import Any

from apscheduler.job import Job
from django.utils import timezone

from . import state
from .models import DjangoJob
from .util import as_aware


def keep_schedule(job: Job, stored: DjangoJob) -> None:
    """Give a job the next run time of the stored one, unless the trigger is another."""
    if stored.next_run_time is None:
        job.next_run_time = None  # paused by an operator
    elif _has_same_trigger(job, stored):
        job.next_run_time = timezone.localtime(as_aware(stored.next_run_time), state.zone_of(job))


def is_as_computed(job: Job) -> bool:
    """Tell whether a job's next run time is one that its trigger gives, not one set by hand."""
    if job.next_run_time is None:
        return False
    trigger = copy.copy(job.trigger)
    jitter = getattr(trigger, "jitter", None) or 0
    if jitter:
        trigger.jitter = None
    spread = dt.timedelta(seconds=jitter)
    fire_time = trigger.get_next_fire_time(None, job.next_run_time - spread)
    return fire_time is not None and bool(fire_time <= job.next_run_time + spread)


def identity(trigger: Any) -> str:
    """Return text that is the same for triggers that mean the same, in every process."""
    get_state = getattr(trigger, "__getstate__", None)
    if get_state is None:
        return repr(trigger)
    parts = get_state()
    if not isinstance(parts, dict):
        return repr(trigger)
    parts = dict(parts)
    # An interval without a start counts from when its object was made, in every process anew.
    if type(trigger).__name__ == "IntervalTrigger":
        parts.pop("start_date", None)
    if "triggers" in parts:
        parts["triggers"] = [identity(part) for part in parts["triggers"]]
    return f"{type(trigger).__name__}{sorted((key, repr(part)) for key, part in parts.items())}"


def _has_same_trigger(job: Job, stored: DjangoJob) -> bool:
    try:
        known = state.restore(stored)
    except state.UnreadableState:
        return bool(stored.trigger == state.columns(job)["trigger"])
    return identity(known.trigger) == identity(job.trigger)
