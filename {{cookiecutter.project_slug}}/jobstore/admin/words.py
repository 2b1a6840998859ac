"""Triggers in words, from the text that `jobstore.schedules` gives for them."""

import re

INTERVAL = re.compile(r"(?:(?P<day>\d+) days?, )?(?P<hour>\d+):(?P<minute>\d+):(?P<second>[\d.]+)")
FIELD = re.compile(r"(\w+)='([^']*)'")
AMOUNT = re.compile(r"(year|month|week|day)s=(\d+)")
# A kind, what is inside of its brackets, and a zone.
TRIGGER = re.compile(r"(\w+)\[(.*)\](?: ([\w/+-]+))?", re.DOTALL)

# The fields of cron that make a sentence; any other is shown by its name.
SIMPLE = {"day_of_week", "hour", "minute", "second"}


def in_words(trigger: str) -> str:
    """Return a trigger as a person would say it; one of another kind as it is.

    >>> in_words("interval[0:00:10]")
    'every 10 seconds'
    >>> in_words("cron[day_of_week='mon-fri', hour='3', minute='30'] Asia/Tokyo")
    'mon-fri at 03:30 (Asia/Tokyo)'
    """
    found = TRIGGER.fullmatch(trigger)
    say = WORDS.get(found[1]) if found else None
    text = say(found[2]) if found and say else ""
    if not text:
        return trigger
    return f"{text} ({found[3]})" if found and found[3] else text


def _interval(length: str) -> str:
    found = INTERVAL.fullmatch(length)
    if not found:
        return ""
    amounts = [(unit, float(text or 0)) for unit, text in found.groupdict().items()]
    return _every([(unit, f"{amount:.15g}") for unit, amount in amounts if amount])


def _every(amounts: list[tuple[str, str]]) -> str:
    parts = [f"{amount} {unit}{'s' * (amount != '1')}" for unit, amount in amounts]
    return "every " + (parts[0].removeprefix("1 ") if len(parts) == 1 else " ".join(parts))


def _cron(inside: str) -> str:
    fields = dict(FIELD.findall(inside))
    time = [fields.get(name, "0") for name in ("hour", "minute", "second")]
    if "hour" not in fields or set(fields) - SIMPLE or not all(part.isdecimal() for part in time):
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())
    return f"{fields.get('day_of_week', 'every day')} at {_clock(time)}"


def _clock(time: list[str]) -> str:
    hour, minute, second = (f"{int(part):02}" for part in time)
    return f"{hour}:{minute}" + ("" if second == "00" else f":{second}")


def _calendar(inside: str) -> str:
    amounts = AMOUNT.findall(inside)
    time = dict(FIELD.findall(inside)).get("time", "").split(":")
    if not amounts or len(time) != 3:
        return ""
    return f"{_every(amounts)} at {_clock(time)}"


def _date(when: str) -> str:
    return f"once, at {when}"


def _or(inside: str) -> str:
    parts = _split(inside)
    return ", or ".join(map(in_words, parts)) if all(map(TRIGGER.fullmatch, parts)) else ""


def _and(inside: str) -> str:
    parts = _split(inside)
    return ", and also ".join(map(in_words, parts)) if all(map(TRIGGER.fullmatch, parts)) else ""


def _split(inside: str) -> list[str]:
    """Return the parts between the commas that are in no brackets."""
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
