"""Triggers in words, from the text that `jobstore.schedules` gives for them."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import get_language, gettext_lazy, ngettext, pgettext_lazy
from django.utils.translation import gettext as _

from jobstore.schedules.crontab import MONTHS

INTERVAL = re.compile(r"(?:(?P<day>\d+) days?, )?(?P<hour>\d+):(?P<minute>\d+):(?P<second>[\d.]+)")
FIELD = re.compile(r"(\w+)='([^']*)'")
AMOUNT = re.compile(r"(year|month|week|day)s=(\d+)")
# A kind, what is inside of its brackets, and a zone.
TRIGGER = re.compile(r"(\w+)\[(.*)\](?: ([\w/+-]+))?", re.DOTALL)

# The fields of cron, the longest first, with the value of each below the shortest given one.
LEAST = {
    "year": "*",
    "month": "1",
    "day": "1",
    "week": "*",
    "day_of_week": "*",
    "hour": "0",
    "minute": "0",
    "second": "0",
}
# Times of a day that are listed one by one.
MAX_CLOCKS = 4

# The words of APScheduler's notation.
NAMES: dict[str, Any] = {
    "mon": pgettext_lazy("weekday", "mon"),
    "tue": pgettext_lazy("weekday", "tue"),
    "wed": pgettext_lazy("weekday", "wed"),
    "thu": pgettext_lazy("weekday", "thu"),
    "fri": pgettext_lazy("weekday", "fri"),
    "sat": pgettext_lazy("weekday", "sat"),
    "sun": pgettext_lazy("weekday", "sun"),
    "jan": pgettext_lazy("month", "jan"),
    "feb": pgettext_lazy("month", "feb"),
    "mar": pgettext_lazy("month", "mar"),
    "apr": pgettext_lazy("month", "apr"),
    "may": pgettext_lazy("month", "may"),
    "jun": pgettext_lazy("month", "jun"),
    "jul": pgettext_lazy("month", "jul"),
    "aug": pgettext_lazy("month", "aug"),
    "sep": pgettext_lazy("month", "sep"),
    "oct": pgettext_lazy("month", "oct"),
    "nov": pgettext_lazy("month", "nov"),
    "dec": pgettext_lazy("month", "dec"),
    "1st": pgettext_lazy("position in a month", "1st"),
    "2nd": pgettext_lazy("position in a month", "2nd"),
    "3rd": pgettext_lazy("position in a month", "3rd"),
    "4th": pgettext_lazy("position in a month", "4th"),
    "5th": pgettext_lazy("position in a month", "5th"),
    "last": pgettext_lazy("position in a month", "last"),
}
NAME = re.compile(r"\d?[a-z]+")
FIELD_NAMES = {
    "year": gettext_lazy("year"),
    "month": gettext_lazy("month"),
    "day": gettext_lazy("day"),
    "week": gettext_lazy("week"),
    "day_of_week": gettext_lazy("day of week"),
    "hour": gettext_lazy("hour"),
    "minute": gettext_lazy("minute"),
    "second": gettext_lazy("second"),
}
# In many languages the word for every depends on the unit.
EVERY_ONE = {
    "year": gettext_lazy("every year"),
    "month": gettext_lazy("every month"),
    "week": gettext_lazy("every week"),
    "day": gettext_lazy("every day"),
    "hour": gettext_lazy("every hour"),
    "minute": gettext_lazy("every minute"),
    "second": gettext_lazy("every second"),
}
AMOUNTS: dict[str, Callable[[int], str]] = {
    "year": lambda number: ngettext("%(number)s year", "%(number)s years", number),
    "month": lambda number: ngettext("%(number)s month", "%(number)s months", number),
    "week": lambda number: ngettext("%(number)s week", "%(number)s weeks", number),
    "day": lambda number: ngettext("%(number)s day", "%(number)s days", number),
    "hour": lambda number: ngettext("%(number)s hour", "%(number)s hours", number),
    "minute": lambda number: ngettext("%(number)s minute", "%(number)s minutes", number),
    "second": lambda number: ngettext("%(number)s second", "%(number)s seconds", number),
}


def in_words(trigger: str) -> str:
    """Return a trigger in words; a trigger of another kind as it is.

    >>> in_words("interval[0:00:10]")
    'every 10 seconds'
    >>> in_words("cron[day_of_week='mon-fri', hour='3', minute='30'] Asia/Tokyo")
    'mon-fri at 03:30 (Asia/Tokyo)'
    """
    return _in_words(trigger, get_language())


@functools.lru_cache(maxsize=10_000)
def _in_words(trigger: str, _language: str | None) -> str:
    """Return the words in the present language. They are kept: pages that refresh need the same."""
    found = TRIGGER.fullmatch(trigger)
    say = WORDS.get(found[1]) if found else None
    text = say(found[2]) if found and say else ""
    if not text:
        return trigger
    return f"{text} ({found[3]})" if found and found[3] else text


def named(text: str) -> str:
    """Return a field of cron with names for its weekdays, months and positions."""
    return NAME.sub(lambda found: str(NAMES.get(found[0], found[0])), text)


def _interval(length: str) -> str:
    found = INTERVAL.fullmatch(length)
    if not found:
        return ""
    amounts = [(unit, float(text or 0)) for unit, text in found.groupdict().items()]
    return _every([(unit, f"{amount:.15g}") for unit, amount in amounts if amount])


def _every(amounts: list[tuple[str, str]]) -> str:
    if len(amounts) == 1 and amounts[0][1] == "1":
        return str(EVERY_ONE[amounts[0][0]])
    return _("every %(length)s") % {"length": " ".join(_amount(*one) for one in amounts)}


def _amount(unit: str, number: str) -> str:
    return AMOUNTS[unit](1 if number == "1" else 2) % {"number": number_format(number)}


def _cron(inside: str) -> str:
    fields = dict(FIELD.findall(inside)) or {"second": "*"}
    whole = {}
    is_shorter = False
    for name in reversed(LEAST):
        is_shorter |= name in fields
        whole[name] = fields.get(name, "*" if is_shorter else LEAST[name])
    days, (clocks, times) = _days(whole), _times(whole)
    if not days or not (clocks or times):
        return ", ".join(f"{FIELD_NAMES[name]} {named(value)}" for name, value in fields.items())
    if clocks:
        return _at(days, clocks)
    return times if _is_every_day(whole) else f"{times}, {days}"


def _at(days: str, clocks: Sequence[str]) -> str:
    return _("%(days)s at %(times)s") % {"days": days, "times": _list(clocks)}


def _times(whole: dict[str, str]) -> tuple[list[str], str]:
    """Return the times of a day, one by one or in words; empty if words would be longer."""
    hour, minute, second = (whole[name] for name in ("hour", "minute", "second"))
    if not second.isdecimal():
        step = _step(second, 60)
        return [], _every([("second", str(step))]) if step and hour == minute == "*" else ""
    if minute.isdecimal() and _are_few(hour):
        return [_clock([one, minute, second]) for one in hour.split(",")], ""
    if hour.isdecimal() and _are_few(minute):
        return [_clock([hour, one, second]) for one in minute.split(",")], ""
    begin, dash, end = ("0", "", "23") if _step(hour, 24) else hour.partition("-")
    if hour.isdecimal():
        dash, end = "-", hour
    if not (begin.isdecimal() and end.isdecimal()):
        return [], ""
    if minute.isdecimal():
        first, last = _clock([begin, minute, second]), _clock([end, minute, second])
        every = _every([("hour", str(_step(hour, 24) or 1))])
        if dash:
            return [], _between(every, first, last)
        past = _("%(every)s, at %(time)s") % {"every": every, "time": first[2:]}
        return [], every if first == "00:00" else past
    step = _step(minute, 60)
    if not step or second != "0" or _step(hour, 24) > 1:
        return [], ""
    every = _every([("minute", str(step))])
    last = f"{int(end):02}:{60 - step}"
    return [], _between(every, _clock([begin, "0", "0"]), last) if dash else every


def _between(every: str, first: str, last: str) -> str:
    text = _("%(every)s from %(first)s to %(last)s")
    return text % {"every": every, "first": first, "last": last}


def _is_every_day(whole: dict[str, str]) -> bool:
    return all(whole[name] == "*" for name in ("year", "month", "week", "day", "day_of_week"))


def _days(whole: dict[str, str]) -> str:
    """Return the days in words; empty if words would only be longer."""
    year, month, week, day = (whole[name] for name in ("year", "month", "week", "day"))
    weekday = whole["day_of_week"]
    if week != "*" or not (year == "*" or year.isdecimal()):
        return ""
    items = [] if day == "*" else [_day(one) for one in day.split(",")]
    months = [] if month == "*" else [_month(one) for one in month.split(",")]
    if not all(items) or not all(months) or "/" in weekday:
        return ""
    if items:
        text = _("on %(days)s") % {"days": _list(items)}
    else:
        text = str(EVERY_ONE["day"]) if weekday == "*" else named(weekday)
    if items and weekday != "*":
        text = _("%(days)s if it is %(weekday)s") % {"days": text, "weekday": named(weekday)}
    if months:
        text = _("%(days)s in %(months)s") % {"days": text, "months": _list(months)}
    return text if year == "*" else _("%(days)s in %(year)s") % {"days": text, "year": year}


def _day(text: str) -> str:
    if found := re.fullmatch(r"(\d+)(?:-(\d+))?", text):
        if found[2]:
            return _("days %(first)s to %(last)s") % {"first": found[1], "last": found[2]}
        return _("day %(day)s") % {"day": found[1]}
    if text == "last":
        return _("the last day")
    is_position = re.fullmatch(r"(1st|2nd|3rd|4th|5th|last) (mon|tue|wed|thu|fri|sat|sun)", text)
    return _("the %(weekday)s") % {"weekday": named(text)} if is_position else ""


def _month(text: str) -> str:
    found = re.fullmatch(r"(\d+|[a-z]{3})(?:-(\d+|[a-z]{3}))?", text)
    ends = [one for one in found.groups() if one] if found else []
    names = [named(MONTHS[int(one) - 1] if one.isdecimal() else one) for one in ends]
    if len(names) < 2:
        return "".join(names)
    return _("%(first)s to %(last)s") % {"first": names[0], "last": names[1]}


def _step(text: str, most: int) -> int:
    """Return the length of even steps through an hour or a day; 0 if the text has none."""
    number = 1 if text == "*" else int(text[2:]) if re.fullmatch(r"\*/\d+", text) else 0
    return number if number and number < most and most % number == 0 else 0


def _are_few(text: str) -> bool:
    numbers = text.split(",")
    return len(numbers) <= MAX_CLOCKS and all(one.isdecimal() for one in numbers)


def _list(parts: Sequence[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return _("%(first)s and %(last)s") % {"first": ", ".join(parts[:-1]), "last": parts[-1]}


def _clock(time: list[str]) -> str:
    hour, minute, second = (f"{int(part):02}" for part in time)
    return f"{hour}:{minute}" + ("" if second == "00" else f":{second}")


def _calendar(inside: str) -> str:
    amounts = AMOUNT.findall(inside)
    time = dict(FIELD.findall(inside)).get("time", "").split(":")
    return _at(_every(amounts), [_clock(time)]) if amounts and len(time) == 3 else ""


def _date(when: str) -> str:
    return _("once, at %(time)s") % {"time": when}


def _or(inside: str) -> str:
    return _joined(inside, _("%(first)s, or %(second)s"))


def _and(inside: str) -> str:
    return _joined(inside, _("%(first)s, and also %(second)s"))


def _joined(inside: str, both: str) -> str:
    parts = _split(inside)
    if not all(map(TRIGGER.fullmatch, parts)):
        return ""
    words = [in_words(one) for one in parts]
    return functools.reduce(lambda first, second: both % {"first": first, "second": second}, words)


def _split(inside: str) -> list[str]:
    """Return the parts between commas outside of brackets."""
    parts, depth = [""], 0
    for character in inside:
        depth += (character == "[") - (character == "]")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


WORDS = {
    "interval": _interval,
    "cron": _cron,
    "date": _date,
    "calendarinterval": _calendar,
    "or": _or,
    "and": _and,
}
