"""Triggers from lines of a crontab, which count weekdays as cron does.

APScheduler's own `CronTrigger.from_crontab` takes 0 for Monday and lets a day of the month and a
weekday both apply; cron takes 0 (and 7) for Sunday and lets either apply.
"""

import dataclasses
import datetime as dt
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.util import astimezone
from django.conf import settings
from django.utils.translation import gettext_noop as _

from jobstore.sentences import Sentence, changed, said, told

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# In cron's order, and in APScheduler's.
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONDAY_FIRST = (*WEEKDAYS[1:], WEEKDAYS[0])
POSITIONS = ("1st", "2nd", "3rd", "4th", "5th")
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
AT_POSITION = re.compile(r"(?P<day>\w+?)(?:#(?P<number>\w+)|l)", re.ASCII)
ITEM = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\w+))?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Field:
    """One of the five fields."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    def values(self, text: str) -> set[int]:
        """Return the numbers that a list of numbers, names, ranges and steps stands for."""
        return {value for item in text.split(",") for value in self._item(item)}

    def _item(self, item: str) -> Iterable[int]:
        found = ITEM.fullmatch(item)
        if not found:
            raise ValueError(self._not_understood(item))
        step = self._step(item, found["step"])
        if found["first"] == "*":
            if found["last"]:
                raise ValueError(
                    self._said(
                        _("%(field)s %(item)r is not understood: * cannot be a part of a range"),
                        item=item,
                    )
                )
            first, last = self.least, self.most
        else:
            first = last = self._number(found["first"])
            if found["last"]:
                last = self._number(found["last"])
            elif found["step"]:
                last = self.most
        if first > last:
            if self.names != WEEKDAYS:
                text = _("%(field)s %(item)r goes backwards; write two ranges, %(ranges)s")
                ranges = f"{first}-{self.most},{self.least}-{last}"
                raise ValueError(self._said(text, item=item, ranges=ranges))
            last += 7
        if step > 1 and step > last - first:
            text = _(
                "%(field)s %(item)r has a step that is longer than its range, so only %(first)s "
                "would be left; write %(first)s if that is what you mean"
            )
            raise ValueError(self._said(text, item=item, first=first))
        return range(first, last + 1, step)

    def _number(self, text: str) -> int:
        if text in self.names:
            return self.names.index(text) + (self.names == MONTHS)
        if not text.isdecimal():
            raise ValueError(self._not_understood(text))
        if not self.least <= int(text) <= self.most:
            sentence = _("%(field)s %(item)s is not from %(least)s to %(most)s")
            raise ValueError(self._said(sentence, item=text))
        return int(text)

    def _step(self, item: str, text: str | None) -> int:
        if text is None:
            return 1
        if not text.isdecimal() or int(text) == 0:
            sentence = _("%(field)s %(item)r has a step that is not a number above 0")
            raise ValueError(self._said(sentence, item=item))
        return int(text)

    def _not_understood(self, item: str) -> Sentence:
        if "?" in item:
            text = _("%(field)s %(item)r is not understood: write * instead of ?")
        elif self.names:
            text = _(
                "%(field)s %(item)r is not understood: it takes %(least)s-%(most)s and the names "
                "%(names)s"
            )
        else:
            text = _(
                "%(field)s %(item)r is not understood: it takes %(least)s-%(most)s, with lists, "
                "ranges and steps"
            )
        return self._said(text, item=item, names=", ".join(self.names))

    def _said(self, text: str, **values: Any) -> Sentence:
        return said(text, field=said(self.name), least=self.least, most=self.most, **values)


MINUTE = Field(_("minute"), 0, 59)
HOUR = Field(_("hour"), 0, 23)
DAY = Field(_("day of month"), 1, 31)
MONTH = Field(_("month"), 1, 12, MONTHS)
WEEKDAY = Field(_("day of week"), 0, 7, WEEKDAYS)


def crontab(expression: str, timezone: dt.tzinfo | str | None = None) -> BaseTrigger:
    """Return the trigger of a line of a crontab, with weekdays counted as cron does.

    - 0 and 7 are Sunday; names, lists, ranges (`fri-mon` too) and steps work as in cron.
    - With both a day of month and a day of week, either is enough, unless one begins with `*`.
    - `L` is the last day of the month, `5L` its last Friday, `5#2` its second.
    - `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` work.

    >>> str(crontab("0 2 * * 0"))
    "cron[day_of_week='sun', hour='2', minute='0']"

    :param timezone: a zone or its name; without it, the project's TIME_ZONE.
    :raises ValueError: with one sentence that says what is wrong with the expression.
    """
    if not isinstance(expression, str):
        raise ValueError(f"crontab({expression!r}): pass one text, such as '0 2 * * 0'.")
    text = expression.strip().lower()
    try:
        fields = MACROS.get(text, text).split()
        if text == "@reboot":
            sentence = _("@reboot is not a time; declare the job with run_at_start=True")
            raise ValueError(said(sentence))
        if text.startswith("@") and text not in MACROS:
            sentence = _("%(text)s is not known; there are %(known)s")
            raise ValueError(said(sentence, text=text, known=", ".join(MACROS)))
        if len(fields) != 5:
            sentence = _(
                "it has %(number)s fields instead of five (minute, hour, day of month, month, day "
                "of week); for seconds or years use CronTrigger"
            )
            raise ValueError(said(sentence, number=len(fields)))
        return _trigger(fields, known_zone(timezone))
    except ValueError as error:
        about = f"crontab({expression!r}): "
        raise ValueError(changed(told(error), lambda text: f"{about}{text}.")) from None


def weekday_names(numbers: Iterable[int]) -> str:
    """Return weekdays that are counted from Monday as APScheduler writes them, by their names."""
    wanted = sorted(set(numbers))
    if len(wanted) == len(MONDAY_FIRST):
        return "*"
    return _runs(wanted, lambda number: MONDAY_FIRST[number])


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as a field of APScheduler's cron has them: a list of numbers and ranges."""
    return _runs(sorted(set(numbers)), str)


def _trigger(fields: list[str], zone: dt.tzinfo) -> BaseTrigger:
    minute, hour, day, month, weekday = fields
    months = MONTH.values(month)
    always = {
        "minute": _text(MINUTE.values(minute), MINUTE),
        "hour": _text(HOUR.values(hour), HOUR),
        "month": _text(months, MONTH),
    }
    days = _days(day)
    weekdays, positions = _weekdays(weekday)
    if day.startswith("*") or weekday.startswith("*"):  # as in cron, both must then match
        if positions and days != "*":
            text = _(
                "day of month %(day)r and day of week %(weekday)r cannot be combined; declare two "
                "jobs"
            )
            raise ValueError(said(text, day=day, weekday=weekday))
        if days != "*" and not _occurs(days, months):
            text = _("no month of %(month)r has a day %(day)s, so it would never run")
            raise ValueError(said(text, month=month, day=day))
        choices = [{"day": days, "day_of_week": weekdays}] if weekdays else []
        choices += [{"day": positions}] if positions else []
    elif "*" in (days, weekdays):
        choices = [{}]
    else:
        choices = [{"day": ",".join(filter(None, (days, positions)))}]
        choices += [{"day_of_week": weekdays}] if weekdays else []
    triggers = [_cron(zone, **always, **choice) for choice in choices]
    return triggers[0] if len(triggers) == 1 else OrTrigger(triggers)


def _cron(zone: dt.tzinfo, minute: str, **fields: str) -> CronTrigger:
    limited = {name: text for name, text in fields.items() if text != "*"}
    return CronTrigger(timezone=zone, minute=minute, **limited)


def _days(text: str) -> str:
    """Return the days of the month as APScheduler writes them."""
    items = text.split(",")
    numbers = {day for item in items if item != "l" for day in DAY.values(item)}
    return ",".join(filter(None, (_text(numbers, DAY), "last" if "l" in items else "")))


def _weekdays(text: str) -> tuple[str, str]:
    """Return the weekdays, and separately those with a position in the month."""
    days: set[str] = set()
    positions: list[str] = []
    for item in text.split(","):
        found = AT_POSITION.fullmatch(item)
        if not found:
            days |= {WEEKDAYS[day % 7] for day in WEEKDAY.values(item)}
            continue
        [day] = WEEKDAY.values(found["day"])
        number = found["number"]
        if number is not None and number not in "12345":
            text = _("day of week %(item)r: a month has the first to the fifth, #1 to #5")
            raise ValueError(said(text, item=item))
        positions.append(f"{POSITIONS[int(number) - 1] if number else 'last'} {WEEKDAYS[day % 7]}")
    return weekday_names(map(MONDAY_FIRST.index, days)), ",".join(positions)


def _occurs(days: str, months: set[int]) -> bool:
    """Tell whether one of the months has one of the days."""
    first = re.match(r"\d+", days)
    return first is None or "last" in days or int(first[0]) <= max(LONGEST[m - 1] for m in months)


def _text(values: set[int], field: Field) -> str:
    """Return numbers as APScheduler writes them, in few characters."""
    everything = range(field.least, field.most + 1)
    if len(values) == len(everything):
        return "*"
    numbers = sorted(values)
    step = numbers[1] - numbers[0] if len(numbers) > 2 else 0
    if step > 1 and values == set(everything[::step]):
        return f"*/{step}"
    return _runs(numbers, str)


def _runs(numbers: list[int], name: Callable[[int], str]) -> str:
    """Return sorted numbers as a list of ranges."""
    parts: list[str] = []
    for _step, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _place, number in group]
        if len(run) > 2:
            parts.append(f"{name(run[0])}-{name(run[-1])}")
        else:
            parts += map(name, run)
    return ",".join(parts)


def known_zone(zone: dt.tzinfo | str | None) -> dt.tzinfo:
    """Return the zone of a name; the project's for none.

    :raises ValueError: if it is not known.
    """
    try:
        return astimezone(zone or settings.TIME_ZONE)  # type: ignore[no-any-return]
    except Exception:  # a name that is a path, or another object, may raise anything
        text = _(
            "the time zone %(zone)r is not known; it is a name such as 'Europe/Berlin', or a tzinfo"
        )
        raise ValueError(said(text, zone=zone or settings.TIME_ZONE)) from None
