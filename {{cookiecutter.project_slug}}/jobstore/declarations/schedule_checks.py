"""Checks the schedule of a declaration before APScheduler reads it.

APScheduler refuses most of this as well, but does not say which argument is wrong, or what to write
instead.
"""

import datetime as dt
import math
from typing import Any

from apscheduler.triggers.cron import CronTrigger
from apscheduler.util import convert_to_datetime

from jobstore.schedules.crontab import known_zone

LENGTH_FIELDS = ("weeks", "days", "hours", "minutes", "seconds")
CRON_FIELDS = tuple(CronTrigger.FIELD_NAMES)
DATE_FIELDS = ("start_date", "end_date", "run_date", "next_run_time")
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
    elif not isinstance(trigger, str):
        raise TypeError(_no_trigger(trigger))
    _check_dates(options)
    if trigger == "interval":
        _check_interval(options)
    elif trigger == "cron":
        _check_cron(options)


def unknown_trigger(name: str) -> str:
    """Return the sentence about a name that no trigger has."""
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
        value = options.get(name)
        if not isinstance(value, str):
            continue
        try:
            convert_to_datetime(value, dt.UTC, name)
        except ValueError:
            raise ValueError(
                f"{name}={value!r} is not a date; write it as '2030-01-31 08:00:00'"
            ) from None


def _check_interval(options: dict[str, Any]) -> None:
    for name in (*LENGTH_FIELDS, "jitter"):
        value = options.get(name)
        if value is None and name == "jitter":
            continue
        if name in options and not isinstance(value, int | float):
            raise TypeError(f"{name}={value!r} is not a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value} is not a length of time")
    if not any(options.get(name) for name in LENGTH_FIELDS):
        raise ValueError(f"an interval needs a length: one of {', '.join(LENGTH_FIELDS)} above 0")


def _check_cron(options: dict[str, Any]) -> None:
    for name in CRON_FIELDS:
        value = options.get(name)
        if isinstance(value, list | tuple | set | frozenset | range):
            text = ",".join(map(str, sorted(value, key=str)))
            raise TypeError(f"{name} is a number, or text such as {name}={text!r}")
        if isinstance(value, str) and not value.strip():
            raise ValueError(f"{name} is empty; leave it out, or write {name}='*'")
    jitter = options.get("jitter")
    if jitter is not None and not isinstance(jitter, int | float):
        raise TypeError(f"jitter={jitter!r} is not a number")
    if all(options.get(name) is None for name in CRON_FIELDS):
        raise ValueError(
            "without a field it would run every second; say when, such as hour=3, or second='*' if "
            "every second is meant"
        )
