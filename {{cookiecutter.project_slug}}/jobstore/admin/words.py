"""Triggers in words, from the text that APScheduler gives for them."""

import re

INTERVAL = re.compile(r"(?:(?P<day>\d+) days?, )?(?P<hour>\d+):(?P<minute>\d+):(?P<second>[\d.]+)")
FIELD = re.compile(r"(\w+)='([^']*)'")

# The fields of cron that make a sentence; any other is shown by its name.
SIMPLE = {"day_of_week", "hour", "minute", "second"}


def in_words(trigger: str) -> str:
    """Return a trigger as a person would say it; one of another kind as it is.

    >>> in_words("interval[0:00:10]")
    'every 10 seconds'
    >>> in_words("cron[day_of_week='mon-fri', hour='3', minute='30']")
    'mon-fri at 03:30'
    """
    kind, _, inside = trigger.partition("[")
    say = {"interval": _interval, "cron": _cron, "date": _date}.get(kind)
    return say(inside.removesuffix("]")) or trigger if say else trigger


def _interval(length: str) -> str:
    found = INTERVAL.fullmatch(length)
    if not found:
        return ""
    amounts = [(unit, float(text or 0)) for unit, text in found.groupdict().items()]
    parts = [f"{amount:.15g} {unit}{'s' * (amount != 1)}" for unit, amount in amounts if amount]
    return "every " + (parts[0].removeprefix("1 ") if len(parts) == 1 else " ".join(parts))


def _cron(inside: str) -> str:
    fields = dict(FIELD.findall(inside))
    time = [fields.get(name, "0") for name in ("hour", "minute", "second")]
    if "hour" not in fields or set(fields) - SIMPLE or not all(part.isdecimal() for part in time):
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())
    hour, minute, second = (f"{int(part):02}" for part in time)
    seconds = "" if second == "00" else f":{second}"
    return f"{fields.get('day_of_week', 'every day')} at {hour}:{minute}{seconds}"


def _date(when: str) -> str:
    return f"once, at {when}"
