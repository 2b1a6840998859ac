"""Checks the schedule of a declaration before APScheduler reads it.

Most of what is refused here APScheduler refuses as well, in words that do not tell which argument
is meant, or what to write instead.
"""

import datetime as dt
import difflib
import math
from typing import Any

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.util import convert_to_datetime

from jobstore.schedules.crontab import known_zone

LENGTH_FIELDS = ("weeks", "days", "hours", "minutes", "seconds")
CRON_FIELDS = tuple(CronTrigger.FIELD_NAMES)
CALENDAR_FIELDS = ("years", "months", "weeks", "days")
LIMITS = ("start_date", "end_date", "timezone", "jitter")
# What triggers that are named take.
FIELDS = {
    "cron": (*CRON_FIELDS, *LIMITS),
    "interval": (*LENGTH_FIELDS, *LIMITS),
    "date": ("run_date", "timezone"),
    "calendarinterval": (*CALENDAR_FIELDS, "hour", "minute", "second", *LIMITS),
}
# Options of a job, which may be misspelt.
OPTIONS = ("coalesce", "executor", "max_instances", "misfire_grace_time", "on_lost", "kwargs")
LONGEST_JITTER = 366 * 86_400
DATE_FIELDS = ("start_date", "end_date", "run_date", "next_run_time")
# Years that can be converted into any zone, and are not a typing error.
YEARS = range(1900, 9001)
# Fields of a line of a crontab.
CRONTAB_FIELDS = 5


def check_schedule(trigger: Any, options: dict[str, Any], names: list[str]) -> None:
    """Refuse a schedule that cannot work.

    :param options: all options of the declaration.
    :param names: those of them that are meant for the trigger.
    :raises ValueError: with what to write instead; or a TypeError.
    """
    if hasattr(trigger, "get_next_fire_time"):
        if names:
            raise ValueError(
                f"{', '.join(f'{name}=' for name in names)} has no effect beside a trigger object; "
                "give it to the trigger"
            )
        if not isinstance(trigger, BaseTrigger):
            kind = getattr(trigger, "__name__", type(trigger).__name__)
            raise TypeError(f"{kind} is no trigger object: those are of a BaseTrigger's class")
    elif not isinstance(trigger, str):
        raise TypeError(_no_trigger(trigger))
    elif trigger in ("and", "or"):
        raise ValueError(f"write {trigger.capitalize()}Trigger([...]) with its triggers instead")
    elif trigger in FIELDS:
        _check_names(trigger, names)
    _check_dates(options)
    check_jitter(options.get("jitter"))
    if trigger == "calendarinterval":
        _check_calendar(options)
    elif trigger == "interval":
        _check_interval(options)
    elif trigger == "cron":
        _check_cron(options)


def _check_names(trigger: str, names: list[str]) -> None:
    for name in names:
        if name not in FIELDS[trigger]:
            near = difflib.get_close_matches(name, (*FIELDS[trigger], *OPTIONS), n=1, cutoff=0.7)
            hint = f"; did you mean {near[0]}?" if near else ""
            known = ", ".join(FIELDS[trigger])
            raise TypeError(f"{name}= is not an argument of {trigger}, which takes {known}{hint}")


def check_jitter(jitter: Any) -> None:
    """Refuse what is no number of seconds; None is no jitter.

    :raises ValueError: with what is wrong; or a TypeError.
    """
    if jitter is None:
        return
    if isinstance(jitter, bool) or not isinstance(jitter, int | float):
        raise TypeError(f"jitter={jitter!r} is not a number")
    if jitter < 0:
        raise ValueError(f"a jitter of {jitter} s is below 0")
    if not jitter <= LONGEST_JITTER:
        raise ValueError(f"jitter={jitter} is more than a year; it is in seconds")


def _check_calendar(options: dict[str, Any]) -> None:
    for name in (*CALENDAR_FIELDS, "hour", "minute", "second"):
        value = options.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}={value!r} is not a whole number")
        if value < 0:
            raise ValueError(f"{name}={value} is below 0")
    if not any(options.get(name) for name in CALENDAR_FIELDS):
        raise ValueError(f"it needs a length: one of {', '.join(CALENDAR_FIELDS)} above 0")


def unknown_trigger(name: str) -> str:
    """Return what to say about a name that no trigger has."""
    if len(name.split()) == CRONTAB_FIELDS or name.startswith("@"):
        return f"{name!r} is not a trigger; write crontab({name!r}), from jobstore.registry"
    return f'{name!r} is not a trigger; it is "cron", "interval", "date" or "calendarinterval"'


def _no_trigger(value: Any) -> str:
    if value is None:
        return 'say when it runs: "cron", "interval", "date" or a trigger object'
    if isinstance(value, dt.timedelta):
        return f'write "interval", seconds={value.total_seconds():g} instead of a timedelta'
    if isinstance(value, dt.date):  # a datetime is one as well
        return 'write "date", run_date=... instead of a date'
    kind = type(value).__name__
    return f'a trigger is "cron", "interval", "date" or a trigger object, not of the type {kind}'


def _check_dates(options: dict[str, Any]) -> None:
    if options.get("timezone") is not None:
        known_zone(options["timezone"])
    for name in DATE_FIELDS:
        value = found = options.get(name)
        if isinstance(value, str):
            try:
                found = convert_to_datetime(value, dt.UTC, name)
            except ValueError:
                raise ValueError(
                    f"{name}={value!r} is not a date; write it as '2030-01-31 08:00:00'"
                ) from None
        elif value is not None and not isinstance(value, dt.date):
            raise TypeError(f"{name}={value!r} is not a date; write it as '2030-01-31 08:00:00'")
        if isinstance(found, dt.date) and found.year not in YEARS:
            raise ValueError(
                f"{name} is in the year {found.year}; choose {YEARS[0]} to {YEARS[-1]}"
            )


def _check_interval(options: dict[str, Any]) -> None:
    for name in LENGTH_FIELDS:
        value = options.get(name)
        if name in options and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"{name}={value!r} is not a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value} is not a length of time")
    try:
        length = dt.timedelta(**{name: options[name] for name in LENGTH_FIELDS if name in options})
        dt.datetime.now(dt.UTC) + length
    except OverflowError:
        raise ValueError("an interval that long never comes to its first run") from None
    if not length:  # less than a microsecond is nothing, of which APScheduler makes a second
        raise ValueError(f"an interval needs a length: one of {', '.join(LENGTH_FIELDS)} above 0")


def _check_cron(options: dict[str, Any]) -> None:
    for name in CRON_FIELDS:
        value = options.get(name)
        if isinstance(value, list | tuple | set | frozenset | range):
            text = ",".join(map(str, sorted(value, key=str)))
            raise TypeError(f"{name} is a number, or text such as {name}={text!r}")
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            raise TypeError(f"{name}={value!r} is neither a number nor text such as {name}='1,2'")
        if isinstance(value, str) and not value.strip():
            raise ValueError(f"{name} is empty; leave it out, or write {name}='*'")
    if all(options.get(name) is None for name in CRON_FIELDS):
        raise ValueError(
            "without a field it would run every second; say when, such as hour=3, or second='*' if "
            "every second is meant"
        )
