"""Schedules as text for people: weekdays by name, and the zone if it is not the project's."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.cron.expressions import AllExpression, RangeExpression
from django.conf import settings
from django.utils.translation import gettext_noop as _

from jobstore.schedules import trigger_defaults
from jobstore.schedules.crontab import weekday_names
from jobstore.sentences import said

# Seconds. The start of a run, its record and a row of history take some milliseconds.
SHORT_INTERVAL = 0.1
UNITS = ("years", "months", "weeks", "days")


def describe(trigger: Any) -> str:
    """Return a trigger in APScheduler's notation, without the parts that are easily misread.

    >>> describe(CronTrigger(day_of_week="0", hour=3, timezone="Asia/Tokyo"))
    "cron[day_of_week='mon', hour='3'] Asia/Tokyo"
    """
    if isinstance(trigger, OrTrigger | AndTrigger):
        kind = "or" if isinstance(trigger, OrTrigger) else "and"
        return f"{kind}[{', '.join(map(describe, trigger.triggers))}]"
    if isinstance(trigger, CronTrigger):
        texts = cron_fields(trigger)
        inside = ", ".join(f"{name}='{text}'" for name, text in texts.items())
        return f"cron[{inside}]{_foreign(trigger.timezone)}"
    if isinstance(trigger, CalendarIntervalTrigger):
        amounts = [f"{unit}={getattr(trigger, unit)}" for unit in UNITS if getattr(trigger, unit)]
        time = trigger._time.replace(tzinfo=None).isoformat()
        inside = ", ".join([*amounts, f"time='{time}'"])
        return f"calendarinterval[{inside}]{_foreign(trigger.timezone)}"
    return str(trigger)


def cron_fields(trigger: CronTrigger) -> dict[str, str]:
    """Return the fields that a cron trigger was given, its weekdays by their names."""
    texts = {one.name: str(one) for one in trigger.fields if not one.is_default}
    if "day_of_week" in texts:
        texts["day_of_week"] = ",".join(_days(one) for one in _weekdays(trigger))
    return texts


def weekday_question(trigger: Any) -> str:
    """Return a warning about weekdays that are given as numbers; empty if there are none.

    For APScheduler 0 is Monday. For cron, and for most people who write it, 0 is Sunday.
    """
    if isinstance(trigger, OrTrigger | AndTrigger):
        return next(filter(None, map(weekday_question, trigger.triggers)), "")
    if not isinstance(trigger, CronTrigger):
        return ""
    numbers = [one for one in _weekdays(trigger) if _is_numeric(one)]
    meant = ",".join(_days(one) for one in numbers)
    if not numbers or meant == "*":
        return ""
    given = ",".join(map(str, numbers))
    text = _(
        "day_of_week=%(given)r means %(meant)s, since APScheduler counts weekdays from Monday and "
        "cron from Sunday; write day_of_week=%(meant)r, or use crontab() of jobstore.registry, "
        "which counts as cron does"
    )
    return said(text, given=given, meant=meant)


def interval_question(trigger: Any) -> str:
    """Return a warning about an interval that is shorter than the start of a run takes."""
    for part in trigger_defaults.parts(trigger):
        length = getattr(part, "interval", None)
        if isinstance(length, dt.timedelta) and length.total_seconds() < SHORT_INTERVAL:
            text = _(
                "an interval of %(seconds)g s is shorter than starting and recording a run takes, "
                "so most of its times are skipped; loop inside one run"
            )
            return said(text, seconds=length.total_seconds())
    return ""


def _weekdays(trigger: CronTrigger) -> Iterable[Any]:
    [field] = [one for one in trigger.fields if one.name == "day_of_week"]
    return field.expressions  # type: ignore[no-any-return]


def _is_numeric(expression: Any) -> bool:
    """Tell whether a part of a weekday field counts days: by numbers, or in steps from Monday."""
    kind = type(expression)
    return kind is RangeExpression or (kind is AllExpression and bool(expression.step))


def _days(expression: Any) -> str:
    if not _is_numeric(expression):
        return str(expression)
    first = getattr(expression, "first", 0)
    last = getattr(expression, "last", None)
    numbers = range(first, (6 if last is None else last) + 1, expression.step or 1)
    return weekday_names(numbers)


def _foreign(zone: dt.tzinfo) -> str:
    return "" if str(zone) == settings.TIME_ZONE else f" {zone}"
