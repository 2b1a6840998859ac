"""Triggers in words, from the text that `jobstore.schedules` gives for them."""

import re

from jobstore.schedules.crontab import MONTHS

INTERVAL = re.compile(r"(?:(?P<day>\d+) days?, )?(?P<hour>\d+):(?P<minute>\d+):(?P<second>[\d.]+)")
FIELD = re.compile(r"(\w+)='([^']*)'")
AMOUNT = re.compile(r"(year|month|week|day)s=(\d+)")
# A kind, what is inside of its brackets, and a zone.
TRIGGER = re.compile(r"(\w+)\[(.*)\](?: ([\w/+-]+))?", re.DOTALL)

POSITION = re.compile(r"(?:1st|2nd|3rd|4th|5th|last) (?:mon|tue|wed|thu|fri|sat|sun)")

# The fields of cron, the longest first, with what each is below the shortest that is given.
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
# Times of a day that are told one by one.
MAX_CLOCKS = 4


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
    fields = dict(FIELD.findall(inside)) or {"second": "*"}
    whole = {}
    is_shorter = False
    for name in reversed(LEAST):
        is_shorter |= name in fields
        whole[name] = fields.get(name, "*" if is_shorter else LEAST[name])
    days, times = _days(whole), _times(whole)
    if not days or not times:
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())
    if times.startswith("at "):
        return f"{days} {times}"
    return times if days == "every day" else f"{times}, {days}"


def _times(whole: dict[str, str]) -> str:
    """Return the times of a day in words; nothing for those that words would only make longer."""
    hour, minute, second = (whole[name] for name in ("hour", "minute", "second"))
    if not second.isdecimal():
        step = _step(second, 60)
        return _every([("second", str(step))]) if step and hour == minute == "*" else ""
    if minute.isdecimal() and _are_few(hour):
        clocks = [_clock([one, minute, second]) for one in hour.split(",")]
        return f"at {_list(clocks)}"
    if hour.isdecimal() and _are_few(minute):
        clocks = [_clock([hour, one, second]) for one in minute.split(",")]
        return f"at {_list(clocks)}"
    begin, dash, end = ("0", "", "23") if _step(hour, 24) else hour.partition("-")
    if hour.isdecimal():
        dash, end = "-", hour
    if not (begin.isdecimal() and end.isdecimal()):
        return ""
    if minute.isdecimal():
        first, last = _clock([begin, minute, second]), _clock([end, minute, second])
        every = _every([("hour", str(_step(hour, 24) or 1))])
        if dash:
            return f"{every} from {first} to {last}"
        return every if first == "00:00" else f"{every}, at {first[2:]}"
    step = _step(minute, 60)
    if not step or second != "0" or _step(hour, 24) > 1:
        return ""
    every = _every([("minute", str(step))])
    return (
        f"{every} from {_clock([begin, '0', '0'])} to {int(end):02}:{60 - step}" if dash else every
    )


def _days(whole: dict[str, str]) -> str:
    """Return the days in words; nothing for those that words would only make longer."""
    year, month, week, day = (whole[name] for name in ("year", "month", "week", "day"))
    weekday = whole["day_of_week"]
    if week != "*" or not (year == "*" or year.isdecimal()):
        return ""
    items = [] if day == "*" else [_day(one) for one in day.split(",")]
    months = [] if month == "*" else [_month(one) for one in month.split(",")]
    if not all(items) or not all(months) or "/" in weekday:
        return ""
    text = f"on {_list(items)}" if items else "every day" if weekday == "*" else weekday
    if items and weekday != "*":
        text += f" if it is {weekday}"
    text += f" in {_list(months)}" if months else ""
    return text if year == "*" else f"{text} in {year}"


def _day(text: str) -> str:
    if found := re.fullmatch(r"(\d+)(?:-(\d+))?", text):
        return f"days {found[1]} to {found[2]}" if found[2] else f"day {found[1]}"
    is_position = re.fullmatch(
        r"last|(1st|2nd|3rd|4th|5th|last) (mon|tue|wed|thu|fri|sat|sun)", text
    )
    return f"the {text}{' day' * (text == 'last')}" if is_position else ""


def _month(text: str) -> str:
    found = re.fullmatch(r"(\d+|[a-z]{3})(?:-(\d+|[a-z]{3}))?", text)
    ends = [one for one in found.groups() if one] if found else []
    names = [MONTHS[int(one) - 1] if one.isdecimal() else one for one in ends]
    return " to ".join(names)


def _step(text: str, most: int) -> int:
    """Return the length of even steps through an hour or a day; 0 for what is none."""
    number = 1 if text == "*" else int(text[2:]) if re.fullmatch(r"\*/\d+", text) else 0
    return number if number and number < most and most % number == 0 else 0


def _are_few(text: str) -> bool:
    numbers = text.split(",")
    return len(numbers) <= MAX_CLOCKS and all(one.isdecimal() for one in numbers)


def _list(parts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


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
