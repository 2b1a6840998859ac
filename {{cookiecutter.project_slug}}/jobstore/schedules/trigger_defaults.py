"""Marks values that APScheduler filled in, to tell them from values that somebody gave.

A trigger without a start counts from the moment at which its object was made, and keeps that moment
as if somebody had given it. The next process makes another object with another moment, so a changed
schedule would look like one that was only declared again. The same is true of the misfire grace of
a scheduler without `job_defaults`. So the constructors of both mark such values. A marked value
equals a plain one, works like one, and is pickled as one.

Import this module before the first trigger is made; `jobstore.apps` does.
"""

import datetime as dt
import functools
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from apscheduler.job import Job
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from jobstore import conf

# The attribute and argument of each trigger that is the current moment by default.
MOMENTS = {
    IntervalTrigger: "start_date",
    DateTrigger: "run_date",
    CalendarIntervalTrigger: "start_date",
}


class DefaultMoment(dt.datetime):
    """A time that nobody gave."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain(self).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> "DefaultMoment":
        return self


class DefaultDay(dt.date):
    """A day that nobody gave."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain(self).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> "DefaultDay":
        return self


class DefaultGrace(int):
    """A misfire grace time that neither a job nor its scheduler was given."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return int, (int(self),)


# --- Triggers -----------------------------------------------------------------------------------


def parts(trigger: Any) -> Iterator[Any]:
    """Yield the triggers that a trigger consists of: itself, unless it combines others."""
    if hasattr(trigger, "triggers"):
        for one in trigger.triggers:
            yield from parts(one)
    else:
        yield trigger


def moment_of(trigger: Any) -> str:
    """Return the name of the attribute that is the current moment by default; empty if none is."""
    return next((name for kind, name in MOMENTS.items() if isinstance(trigger, kind)), "")


def has_default_moment(trigger: Any) -> bool:
    """Tell whether a trigger, which combines no others, counts from when it was made."""
    name = moment_of(trigger)
    return bool(name) and isinstance(getattr(trigger, name), DefaultMoment | DefaultDay)


def marks(trigger: Any) -> list[bool]:
    """Return for each part of a trigger whether it counts from when it was made; empty if none."""
    found = [has_default_moment(part) for part in parts(trigger)]
    return found if any(found) else []


def set_marks(trigger: Any, found: Iterable[bool]) -> None:
    """Mark a restored trigger with what `marks` returned when it was stored."""
    for part, is_default in zip(parts(trigger), found, strict=False):
        if is_default and (name := moment_of(part)):
            setattr(part, name, _marked(getattr(part, name)))


def begin_at(trigger: Any, at: dt.datetime) -> None:
    """Let the parts of a trigger that count from when they were made count from another moment.

    :param at: aware. The database's time, if this machine's clock must not matter.
    """
    for part in parts(trigger):
        if not has_default_moment(part):
            continue
        if isinstance(part, IntervalTrigger):
            part.start_date = _marked(at.astimezone(part.timezone) + part.interval)
        elif isinstance(part, DateTrigger):
            part.run_date = _marked(at.astimezone(part.run_date.tzinfo))
        else:
            part.start_date = _marked(at.astimezone(part.timezone).date())


def _marked(value: dt.date) -> dt.date:
    if isinstance(value, dt.datetime):
        return _as(DefaultMoment, value)
    return DefaultDay(value.year, value.month, value.day)


def _plain(value: dt.date) -> dt.date:
    if isinstance(value, dt.datetime):
        return _as(dt.datetime, value)
    return dt.date(value.year, value.month, value.day)


def _as(kind: type[dt.datetime], value: dt.datetime) -> dt.datetime:
    clock = (value.hour, value.minute, value.second, value.microsecond)
    return kind(value.year, value.month, value.day, *clock, tzinfo=value.tzinfo, fold=value.fold)


def _mark_default_moments(kind: Any, name: str) -> None:
    create = kind.__init__
    arguments = inspect.signature(create)

    @functools.wraps(create)
    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: N807 - it becomes one
        create(self, *args, **options)
        is_given = arguments.bind(self, *args, **options).arguments.get(name)
        value = getattr(self, name)
        # A given value may be a marked moment of another trigger.
        setattr(self, name, _plain(value) if is_given else _marked(value))

    kind.__init__ = __init__


# --- Grace --------------------------------------------------------------------------------------


def settle_grace(job: Job) -> None:
    """Let a job be late by SCHEDULER_MISFIRE_GRACE_SECONDS, unless it or its scheduler has a grace.

    This is the default for every job in our stores, declared or added from code.
    """
    if isinstance(job.misfire_grace_time, DefaultGrace):
        job.misfire_grace_time = conf.get("SCHEDULER_MISFIRE_GRACE_SECONDS")


def _mark_default_grace() -> None:
    configure = BaseScheduler._configure

    @functools.wraps(configure)
    def _configure(self: Any, config: Any) -> None:
        given = config.get("job_defaults", {})
        configure(self, config)
        if "misfire_grace_time" not in given:
            default = self._job_defaults["misfire_grace_time"]
            self._job_defaults["misfire_grace_time"] = DefaultGrace(default)

    BaseScheduler._configure = _configure


for _kind, _name in MOMENTS.items():
    _mark_default_moments(_kind, _name)
_mark_default_grace()
