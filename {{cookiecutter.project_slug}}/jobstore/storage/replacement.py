"""What a job keeps of the stored job that it replaces: the decisions of operators.

Deploys and programs write their jobs again at each start. That must not undo a pause, lose a run
that became due before the start, or begin an unchanged schedule anew.
"""

import copy
import datetime as dt
import inspect
from typing import Any

from apscheduler.job import Job
from django.utils import timezone

from jobstore.models import DjangoJob
from jobstore.schedules import trigger_defaults
from jobstore.schedules.next_times import following
from jobstore.storage import serializer
from jobstore.util import as_aware

# How deep the state of a project's own trigger is looked into.
MAX_DEPTH = 8


def keep_schedule(job: Job, stored: DjangoJob) -> None:
    """Give a job the schedule of the stored one, unless its trigger means another schedule.

    A trigger that counts from the moment at which it was made keeps the stored trigger's moment.
    """
    known = _stored_trigger(job, stored)
    is_same = _is_same(job, stored, known)
    if is_same and known is not None:
        job.trigger = known
    if stored.next_run_time is None:
        job.next_run_time = None  # paused by an operator
    elif is_same:
        job.next_run_time = timezone.localtime(
            as_aware(stored.next_run_time), serializer.zone_of(job)
        )


def is_as_computed(job: Job) -> bool:
    """Tell whether a job's next run time comes from its trigger, and was not set by hand."""
    if job.next_run_time is None:
        return False
    trigger, spread = without_jitter(job.trigger)
    fire_time = following(trigger, None, job.next_run_time - spread)
    return fire_time is not None and bool(abs(fire_time - job.next_run_time) <= spread)


def identity(trigger: Any) -> str:
    """Return a text that is the same for triggers that mean the same, in every process.

    A moment that was filled in because none was given is not part of it.
    """
    return _identity(trigger, 0)


def _stored_trigger(job: Job, stored: DjangoJob) -> Any:
    """Return the trigger that is stored; None if it cannot be read."""
    try:
        known = serializer.restore(stored).trigger
        if not serializer.tells_marks(stored):  # stored before there were marks: taken as it looks
            trigger_defaults.set_marks(known, trigger_defaults.marks(job.trigger))
    except serializer.UnreadableState:
        return None
    return known


def _is_same(job: Job, stored: DjangoJob, known: Any) -> bool:
    if known is None:
        return bool(stored.trigger == serializer.columns(job)["trigger"])
    return identity(known) == identity(job.trigger)


def without_jitter(trigger: Any) -> tuple[Any, dt.timedelta]:
    """Return a trigger without jitter, and by how much the jitter may delay it."""
    exact = copy.copy(trigger)
    spread = dt.timedelta()
    if jitter := getattr(exact, "jitter", None):
        spread += dt.timedelta(seconds=jitter)
        exact.jitter = None
    if hasattr(exact, "triggers"):
        pairs = [without_jitter(part) for part in exact.triggers]
        exact.triggers = [part for part, _ in pairs]
        spread += max((one for _, one in pairs), default=dt.timedelta())
    return exact, spread


def _identity(trigger: Any, depth: int) -> str:
    name = type(trigger).__name__
    if hasattr(trigger, "triggers"):  # whose state shows its parts' moments
        inside = [_identity(part, depth + 1) for part in trigger.triggers]
        return f"{name}({inside}, jitter={getattr(trigger, 'jitter', None)!r})"
    values = _state_of(trigger)
    if values is None:
        return repr(trigger)
    if trigger_defaults.has_default_moment(trigger):
        del values[trigger_defaults.moment_of(trigger)]
    return f"{name}{sorted((key, _text(value, depth + 1)) for key, value in values.items())}"


def _text(value: Any, depth: int) -> str:
    """Return text for a part of a trigger, without addresses in memory."""
    if hasattr(value, "get_next_fire_time"):
        return _identity(value, depth)
    if isinstance(value, dt.datetime):
        return f"{value.isoformat()} {value.tzinfo} {value.fold}"
    if isinstance(value, dt.tzinfo):
        return str(value)
    if inspect.isroutine(value) or inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, dict):
        pairs = (f"{_text(key, depth)}: {_text(one, depth)}" for key, one in value.items())
        return "{" + str(sorted(pairs)) + "}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}{[_text(one, depth) for one in value]}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}{sorted(_text(one, depth) for one in value)}"
    has_own_text = any("__repr__" in vars(kind) for kind in type(value).__mro__[:-1])
    values = None if has_own_text or depth > MAX_DEPTH else _state_of(value)
    if values is None:
        return repr(value) if has_own_text else type(value).__name__
    inside = sorted(f"{key}={_text(one, depth + 1)}" for key, one in values.items())
    return f"{type(value).__name__}{inside}"


def _state_of(value: Any) -> dict[str, Any] | None:
    """Return what an object pickles of itself, by name; None if that has no names."""
    found = value.__getstate__()
    if isinstance(found, tuple):  # what has slots: its dictionary, and its slots
        found = {key: one for part in found if isinstance(part, dict) for key, one in part.items()}
    return dict(found) if isinstance(found, dict) else None
