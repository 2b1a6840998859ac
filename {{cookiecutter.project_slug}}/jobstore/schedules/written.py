"""Schedules in files of jobs: plain data that people can read, write and compare.

    cron: {hour: '3', minute: '30'}       interval: {minutes: 10}, or 10m
    crontab: 0 2 * * sun                  at: '2030-01-31T08:00:00+01:00'
    calendarinterval: {months: 1}
    or: [a schedule, another one]         and: [a schedule, another one]

Beside it may stand `timezone`, `jitter`, `start` and `end`.
"""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.conf import settings

from jobstore.schedules import trigger_defaults
from jobstore.schedules.crontab import crontab, known_zone
from jobstore.schedules.schedule_checks import check_jitter, check_schedule
from jobstore.schedules.wording import UNITS, cron_fields

KINDS = ("cron", "crontab", "interval", "at", "calendarinterval", "or", "and")
BESIDE = ("timezone", "jitter", "start", "end")
# The further keys that each kind takes. A combination has none: zones belong to its parts.
MEANT_BESIDE = {
    "crontab": ("timezone",),
    "at": ("timezone",),
    "or": ("jitter",),
    "and": ("jitter",),
}
LENGTHS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
CLOCK = ("hour", "minute", "second")
PART = re.compile(r"(\d+(?:\.\d+)?)\s*(w|d|h|m|s)")
LETTERS = {name[0]: name for name in LENGTHS}


class NotWritable(ValueError):
    """A trigger of the project's own, which plain data cannot describe."""


def as_data(trigger: Any) -> dict[str, Any]:
    """Return a schedule as plain data, from which `from_data` makes one that means the same.

    :raises NotWritable: for a trigger of another kind.
    """
    kind = type(trigger)
    if kind in (OrTrigger, AndTrigger):
        name = "or" if kind is OrTrigger else "and"
        return {name: [as_data(one) for one in trigger.triggers]} | _beside(trigger)
    if kind is CronTrigger:
        return {"cron": cron_fields(trigger) or {"second": "*"}} | _beside(trigger)
    if kind is IntervalTrigger:
        return {"interval": _lengths(trigger.interval)} | _beside(trigger)
    if kind is DateTrigger:
        return {"at": trigger.run_date.isoformat()}
    if kind is CalendarIntervalTrigger:
        given = {unit: getattr(trigger, unit) for unit in UNITS if getattr(trigger, unit)}
        given |= {part: getattr(trigger._time, part) for part in CLOCK}
        return {"calendarinterval": given} | _beside(trigger)
    raise NotWritable(f"a trigger of the type {kind.__name__} cannot be written into a file")


def from_data(data: Any) -> tuple[Any, dict[str, Any]]:
    """Return what `add_job` takes for a schedule of a file: a trigger, and its arguments.

    :raises ValueError: with one sentence that says what is wrong with it.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"a schedule is one of {', '.join(KINDS)}, with what belongs to it")
    kinds = [name for name in data if name in KINDS]
    if len(kinds) != 1:
        raise ValueError(f"a schedule is one of {', '.join(KINDS)}, and not {list(data)}")
    if unknown := next((name for name in data if name not in (*KINDS, *BESIDE)), None):
        raise ValueError(
            f"{unknown!r} has no meaning beside {kinds[0]}; it takes {', '.join(BESIDE)}"
        )
    [kind], beside = kinds, {name: data[name] for name in BESIDE if data.get(name) is not None}
    meant = MEANT_BESIDE.get(kind, BESIDE)
    if foreign := ", ".join(name for name in beside if name not in meant):
        raise ValueError(f"{foreign} has no meaning beside {kind}")
    value = data[kind]
    if kind in ("or", "and"):
        return _combined(kind, value, beside), {}
    if kind == "crontab":
        return crontab(value, beside.get("timezone")), {}
    if kind == "at":
        return "date", {"run_date": moment(value), **beside}
    return kind, _named(kind, value, beside)


def _named(kind: str, value: Any, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Return what belongs to a trigger as the names that it takes, and their values."""
    if kind == "interval" and isinstance(value, str):
        value = lengths(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"{kind} has names and values, such as {{hour: 3}}, and not {value!r}")

    if unnamed := next((name for name in value if not isinstance(name, str)), None):
        raise ValueError(f"{kind} has names and values, and {unnamed!r} is not a name")
    names = {"start": "start_date", "end": "end_date"}
    return {**value, **{names.get(name, name): one for name, one in beside.items()}}


def lengths(text: str) -> dict[str, float]:
    """Return the length of an interval that is written as 90s, 10m, 1h30m, 1d or 2w.

    :raises ValueError: if it is none.
    """
    parts = PART.findall(text.lower())
    if not parts or PART.sub("", text.lower()).strip():
        raise ValueError(f"{text!r} is not a length of time; write it as 90s, 10m, 1h30m, 1d or 2w")
    found: dict[str, float] = {}
    for number, letter in parts:
        name = LETTERS[letter]
        found[name] = found.get(name, 0) + (float(number) if "." in number else int(number))
    return found


def moment(value: Any) -> dt.datetime:
    """Return a moment that is written as 2030-01-31 08:00, or is one.

    :raises ValueError: if it is none.
    """
    if isinstance(value, dt.datetime):
        return value
    try:
        return dt.datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(
            f"{value!r} is not a date and time; write it as 2030-01-31 08:00"
        ) from None


def _combined(kind: str, parts: Any, beside: dict[str, Any]) -> Any:
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"{kind} has a list of schedules")
    try:
        check_jitter(beside.get("jitter"))
    except TypeError as error:
        raise ValueError(str(error)) from error
    triggers = []
    for part in parts:
        trigger, fields = from_data(part)
        triggers.append(_made(trigger, fields) if isinstance(trigger, str) else trigger)
    return (OrTrigger if kind == "or" else AndTrigger)(triggers, **beside)


def _made(name: str, fields: dict[str, Any]) -> Any:
    kinds = {
        "cron": CronTrigger,
        "interval": IntervalTrigger,
        "date": DateTrigger,
        "calendarinterval": CalendarIntervalTrigger,
    }
    try:
        check_schedule(name, fields, list(fields))
        zone = known_zone(fields.pop("timezone", None))
        return kinds[name](timezone=zone, **fields)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {error}") from error


def _lengths(length: dt.timedelta) -> dict[str, float]:
    """Return an interval in the largest unit that holds it in whole numbers."""
    seconds = length.total_seconds()
    for name, size in LENGTHS.items():
        if seconds and seconds % size == 0:
            return {name: int(seconds // size)}
    return {"seconds": seconds}


def _beside(trigger: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    zone = getattr(trigger, "timezone", None)
    if zone is not None and str(zone) != settings.TIME_ZONE:
        found["timezone"] = str(zone)
    if getattr(trigger, "jitter", None):
        found["jitter"] = trigger.jitter
    is_default = not hasattr(trigger, "triggers") and trigger_defaults.has_default_moment(trigger)
    if getattr(trigger, "start_date", None) is not None and not is_default:
        found["start"] = trigger.start_date.isoformat()
    if getattr(trigger, "end_date", None) is not None:
        found["end"] = trigger.end_date.isoformat()
    return found
