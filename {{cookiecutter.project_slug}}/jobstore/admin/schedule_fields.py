"""Form fields for zones and moments of a schedule, and their initial values."""

import datetime as dt
import functools
import zoneinfo
from collections.abc import Mapping
from typing import Any

from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from jobstore.registry import crontab
from jobstore.schedules import trigger_defaults
from jobstore.storage import replacement

UNITS = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
# Years that can be converted into any zone and are no typing errors.
YEARS = range(2000, 3000)


@functools.lru_cache(maxsize=1)
def zone_names() -> tuple[str, ...]:
    """Return the names of all time zones that this machine knows."""
    return tuple(sorted(zoneinfo.available_timezones() - {"Factory", "localtime"}))


def is_zone(name: str) -> bool:
    """Tell whether a name is in the list of zones."""
    return name == settings.TIME_ZONE or name in zone_names()


def is_skipped(moment: dt.datetime, zone: str) -> bool:
    """Tell whether clocks in a zone skip a time when they are set forward."""
    there = moment.replace(tzinfo=zoneinfo.ZoneInfo(zone))
    return there.astimezone(dt.UTC).astimezone(there.tzinfo).replace(tzinfo=None) != moment


@functools.lru_cache(maxsize=4)
def _zone_options(first: str) -> str:
    """Return the options of a list of zones, made once: six hundred take several milliseconds."""
    names = dict.fromkeys([first, *zone_names()])
    return format_html_join("", '<option value="{0}">{0}</option>', ((name,) for name in names))


class ZoneSelect(forms.Select):
    """A list of all zones, the project's first."""

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None
    ) -> SafeString:
        """Return the list, with one name chosen."""
        options = _zone_options(settings.TIME_ZONE)
        chosen = format_html('<option value="{}"', value)
        found = self.build_attrs(self.attrs, {**(attrs or {}), "name": name})
        attributes = format_html_join("", ' {}="{}"', found.items())
        # Both are safe: options were escaped one by one, and so was the name.
        marked = SafeString(options.replace(chosen, f"{chosen} selected"))
        return format_html("<select{}>{}</select>", attributes, marked)


class MomentField(forms.CharField):
    """A date and a time in a zone that another field has: a naive datetime."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"})

    def to_python(self, value: Any) -> Any:
        """Return the moment; None for an empty text."""
        text = super().to_python(value)
        if not text:
            return None
        try:
            found = dt.datetime.fromisoformat(text)
        except ValueError:
            sentence = _("%(text)r is not a date and time; write it as 2030-01-31 08:00.")
            raise ValidationError(sentence % {"text": text}) from None
        if found.tzinfo is not None:
            raise ValidationError(_("Leave out the offset; choose the time zone below."))
        if found.year not in YEARS:
            sentence = _("Choose a year from %(first)s to %(last)s.")
            raise ValidationError(sentence % {"first": YEARS[0], "last": YEARS[-1]})
        return found

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare moments, not their texts."""
        try:
            return bool(self.to_python(data) != (initial or None))
        except ValidationError:
            return True


def fields_of(trigger: Any) -> dict[str, Any]:
    """Return the initial values that show a trigger; without a kind, if the form cannot show it."""
    zone = zone_of(trigger)
    found: dict[str, Any] = {"timezone": zone or settings.TIME_ZONE, "unit": "minutes"}
    if trigger is None:
        return found | {"kind": "crontab"}
    if not zone:
        return found
    kind = type(trigger)
    if kind is DateTrigger:
        return found | {"kind": "date", "run_at": _naive(trigger.run_date)}
    if kind is CronTrigger:
        texts = {one.name: str(one) for one in trigger.fields if not one.is_default}
        found |= {"kind": "cron", **texts, "crontab": crontab_of(trigger, texts)}
    elif kind is IntervalTrigger:
        length = trigger.interval.total_seconds()
        unit = next((name for name, one in UNITS.items() if length % one == 0), "seconds")
        found |= {"kind": "interval", "every": _number(length / UNITS[unit]), "unit": unit}
    else:
        return found
    if not trigger_defaults.has_default_moment(trigger):
        found["start_date"] = _naive(trigger.start_date)
    return found | {"end_date": _naive(trigger.end_date), "jitter": trigger.jitter}


def crontab_of(trigger: Any, texts: Mapping[str, str]) -> str:
    """Return the line of a crontab that means the same as cron fields; empty if none does."""
    names = ("minute", "hour", "day", "month", "day_of_week")
    line = " ".join(texts.get(name, "*") for name in names)
    if "minute" not in texts and "hour" in texts:
        line = f"0 {line.removeprefix('* ')}"
    try:
        same = replacement.identity(crontab(line, trigger.timezone))
    except ValueError:
        return ""
    return line if same == replacement.identity(trigger) else ""


def zone_of(trigger: Any) -> str:
    """Return the name of a trigger's zone, if the list has it; else an empty text."""
    zone = trigger.run_date.tzinfo if type(trigger) is DateTrigger else None
    name = str(zone or getattr(trigger, "timezone", ""))
    return name if is_zone(name) else ""


def _naive(moment: dt.datetime | None) -> dt.datetime | None:
    return None if moment is None else dt.datetime.fromisoformat(moment.isoformat()[:19])


def _number(value: float) -> float:
    return int(value) if value == int(value) else value
