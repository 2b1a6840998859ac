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
from django.utils.translation import gettext_noop as _

from jobstore.schedules.crontab import known_zone
from jobstore.sentences import Sentence, said

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
            text = _("%(names)s has no effect beside a trigger object; give it to the trigger")
            raise ValueError(said(text, names=", ".join(f"{name}=" for name in names)))
        if not isinstance(trigger, BaseTrigger):
            kind = getattr(trigger, "__name__", type(trigger).__name__)
            text = _("%(kind)s is no trigger object: those are of a BaseTrigger's class")
            raise TypeError(said(text, kind=kind))
    elif not isinstance(trigger, str):
        raise TypeError(_no_trigger(trigger))
    elif trigger in ("and", "or"):
        text = _("write %(kind)s([...]) with its triggers instead")
        raise ValueError(said(text, kind=f"{trigger.capitalize()}Trigger"))
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
            known = ", ".join(FIELDS[trigger])
            text = _("%(name)s= is not an argument of %(trigger)s, which takes %(known)s")
            if near:
                text = _(
                    "%(name)s= is not an argument of %(trigger)s, which takes %(known)s; did you "
                    "mean %(near)s?"
                )
            near_one = near[0] if near else ""
            raise TypeError(said(text, name=name, trigger=trigger, known=known, near=near_one))


def check_jitter(jitter: Any) -> None:
    """Refuse what is no number of seconds; None is no jitter.

    :raises ValueError: with what is wrong; or a TypeError.
    """
    if jitter is None:
        return
    if isinstance(jitter, bool) or not isinstance(jitter, int | float):
        raise TypeError(said(_("%(name)s=%(value)r is not a number"), name="jitter", value=jitter))
    if jitter < 0:
        raise ValueError(said(_("a jitter of %(jitter)s s is below 0"), jitter=jitter))
    if not jitter <= LONGEST_JITTER:
        text = _("jitter=%(value)s is more than a year; it is in seconds")
        raise ValueError(said(text, value=jitter))


def _check_calendar(options: dict[str, Any]) -> None:
    for name in (*CALENDAR_FIELDS, "hour", "minute", "second"):
        value = options.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int):
            text = _("%(name)s=%(value)r is not a whole number")
            raise TypeError(said(text, name=name, value=value))
        if value < 0:
            raise ValueError(said(_("%(name)s=%(value)s is below 0"), name=name, value=value))
    if not any(options.get(name) for name in CALENDAR_FIELDS):
        text = _("it needs a length: one of %(names)s above 0")
        raise ValueError(said(text, names=", ".join(CALENDAR_FIELDS)))


def unknown_trigger(name: str) -> Sentence:
    """Return what to say about a name that no trigger has."""
    if len(name.split()) == CRONTAB_FIELDS or name.startswith("@"):
        text = _("%(name)r is not a trigger; write crontab(%(name)r), from jobstore.registry")
    else:
        text = _(
            '%(name)r is not a trigger; it is "cron", "interval", "date" or "calendarinterval"'
        )
    return said(text, name=name)


def _no_trigger(value: Any) -> Sentence:
    if value is None:
        return said(_('say when it runs: "cron", "interval", "date" or a trigger object'))
    if isinstance(value, dt.timedelta):
        text = _('write "interval", seconds=%(seconds)g instead of a timedelta')
        return said(text, seconds=value.total_seconds())
    if isinstance(value, dt.date):  # a datetime is one as well
        return said(_('write "date", run_date=... instead of a date'))
    text = _(
        'a trigger is "cron", "interval", "date" or a trigger object, not of the type %(kind)s'
    )
    return said(text, kind=type(value).__name__)


def _check_dates(options: dict[str, Any]) -> None:
    no_date = _("%(name)s=%(value)r is not a date; write it as '2030-01-31 08:00:00'")
    if options.get("timezone") is not None:
        known_zone(options["timezone"])
    for name in DATE_FIELDS:
        value = found = options.get(name)
        if isinstance(value, str):
            try:
                found = convert_to_datetime(value, dt.UTC, name)
            except ValueError:
                raise ValueError(said(no_date, name=name, value=value)) from None
        elif value is not None and not isinstance(value, dt.date):
            raise TypeError(said(no_date, name=name, value=value))
        if isinstance(found, dt.date) and found.year not in YEARS:
            raise ValueError(year_out_of_range(name, found.year))


def year_out_of_range(name: str, year: int) -> Sentence:
    """Return what to say about the year of a date."""
    text = _("%(name)s is in the year %(year)s; choose %(first)s to %(last)s")
    return said(text, name=name, year=year, first=YEARS[0], last=YEARS[-1])


def _check_interval(options: dict[str, Any]) -> None:
    for name in LENGTH_FIELDS:
        value = options.get(name)
        if name in options and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(said(_("%(name)s=%(value)r is not a number"), name=name, value=value))
        if isinstance(value, float) and not math.isfinite(value):
            text = _("%(name)s=%(value)s is not a length of time")
            raise ValueError(said(text, name=name, value=value))
    try:
        length = dt.timedelta(**{name: options[name] for name in LENGTH_FIELDS if name in options})
        dt.datetime.now(dt.UTC) + length
    except OverflowError:
        raise ValueError(said(_("an interval that long never comes to its first run"))) from None
    if not length:  # less than a microsecond is nothing, of which APScheduler makes a second
        text = _("an interval needs a length: one of %(names)s above 0")
        raise ValueError(said(text, names=", ".join(LENGTH_FIELDS)))


def _check_cron(options: dict[str, Any]) -> None:
    for name in CRON_FIELDS:
        value = options.get(name)
        if isinstance(value, list | tuple | set | frozenset | range):
            example = ",".join(map(str, sorted(value, key=str)))
            text = _("%(name)s is a number, or text such as %(name)s=%(example)r")
            raise TypeError(said(text, name=name, example=example))
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            text = _("%(name)s=%(value)r is neither a number nor text such as %(name)s='1,2'")
            raise TypeError(said(text, name=name, value=value))
        if isinstance(value, str) and not value.strip():
            text = _("%(name)s is empty; leave it out, or write %(name)s='*'")
            raise ValueError(said(text, name=name))
    if all(options.get(name) is None for name in CRON_FIELDS):
        text = _(
            "without a field it would run every second; say when, such as hour=3, or second='*' if "
            "every second is meant"
        )
        raise ValueError(said(text))
