"""The options of a job that APScheduler does not have: default, check and name of each.

What stores, compares, resets, shows, exports or imports jobs goes through `OPTIONS`. So a further
option is a column of `DjangoJob`, an entry here, and an argument of `scheduled`, `api.add_job` and
`api.change`.
"""

import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from django.utils.translation import gettext_noop as _

from jobstore import exception_names
from jobstore.sentences import Sentence, said
from jobstore.texts import quoted

ON_LOST = ("record", "rerun")
# What becomes of a time that comes while as many runs of its job as may be are under way.
SKIP, QUEUE, CANCEL_RUNNING = OVERLAPS = ("skip", "queue", "cancel_running")
# What becomes of times that passed while nothing ran, unless it is a number of times.
NONE, LATEST, ALL = CATCH_UPS = ("none", "latest", "all")
MOST_CAUGHT_UP = 1000
LONGEST_QUEUE = 100
QUEUE_NAME = re.compile(r"[A-Za-z0-9_.-]+")
# Seconds.
LONGEST_TIMEOUT = 7 * 86_400
RETRY_DELAY_SECONDS = 10.0
# No retry waits longer, however often its delay doubled.
LONGEST_RETRY_DELAY = 3600.0
MOST_RETRIES = 100

# Seconds, or a timedelta.
Length = float | dt.timedelta
# Values of all options, by their names, as the columns of `DjangoJob` hold them.
Values = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """One option: what a job has without it, and what it may be."""

    default: Any
    # Returns a given value as it is stored, or raises ValueError with a sentence.
    taken: Callable[[Any], Any]
    # What a form, or a flag of a command, asks for.
    kind: Literal["choice", "seconds", "whole", "text", "name", "times"]
    # What people read, to be translated: its name within a sentence, and how to fill it in.
    label: str
    help: str
    choices: tuple[str, ...] = ()


def _on_lost(value: Any) -> str:
    if not isinstance(value, str) or value not in ON_LOST:
        first, second = ON_LOST
        text = _("on_lost is %(first)r or %(second)r, not %(value)s.")
        raise ValueError(said(text, first=first, second=second, value=quoted(value)))
    return str(value)


def _timeout(value: Any) -> float | None:
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None or not 0 < seconds <= LONGEST_TIMEOUT:
        text = _(
            "timeout is a number of seconds above 0 and up to %(most)s (7 days), such as 600, not "
            "%(value)s; without it, a run may take as long as it needs."
        )
        raise ValueError(said(text, most=LONGEST_TIMEOUT, value=quoted(plain(value))))
    return seconds


def _retries(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_RETRIES:
        text = _("retries is a whole number from 0 to %(most)s, not %(value)s.")
        raise ValueError(said(text, most=MOST_RETRIES, value=quoted(value)))
    return int(value)


def _retry_delay(value: Any) -> float:
    seconds = _seconds(value)
    if seconds is None or not 0 <= seconds <= LONGEST_RETRY_DELAY:
        text = _(
            "retry_delay is a number of seconds from 0 to %(most)g (an hour), such as 30, not "
            "%(value)s."
        )
        raise ValueError(said(text, most=LONGEST_RETRY_DELAY, value=quoted(plain(value))))
    return seconds


def _overlap(value: Any) -> str:
    if not isinstance(value, str) or value not in OVERLAPS:
        text = _("overlap is %(skip)r, %(queue)r or %(cancel)r, not %(value)s.")
        named = {"skip": SKIP, "queue": QUEUE, "cancel": CANCEL_RUNNING}
        raise ValueError(said(text, **named, value=quoted(value)))
    return str(value)


def _catch_up(value: Any) -> str:
    if value is None or (isinstance(value, str) and value in ("", *CATCH_UPS)):
        return str(value or "")
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,3}", value):
        value, is_whole = int(value), True
    if not is_whole or not 1 <= value <= MOST_CAUGHT_UP:
        text = _(
            "catch_up is %(none)r, %(latest)r, %(all)r, or how many of the last times run, from 1 "
            "to %(most)s, not %(value)s."
        )
        named = {"none": NONE, "latest": LATEST, "all": ALL, "most": MOST_CAUGHT_UP}
        raise ValueError(said(text, **named, value=quoted(value)))
    return str(int(value))


def _queue(value: Any) -> str:
    if value is None or value == "":
        return ""
    is_name = isinstance(value, str) and QUEUE_NAME.fullmatch(value)
    if not is_name or len(value) > LONGEST_QUEUE:
        text = _(
            "queue is the name of a queue, of up to %(most)s letters, digits, _ . and -, such as "
            "heavy, not %(value)s."
        )
        raise ValueError(said(text, most=LONGEST_QUEUE, value=quoted(value)))
    return str(value)


def _seconds(value: Any) -> float | None:
    """Return a length of time in seconds, to the millisecond; None if it is none."""
    if isinstance(value, dt.timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return round(float(value), 3) + 0.0  # there is a -0.0
    except OverflowError:
        return None


OPTIONS = {
    "on_lost": Option(
        default="record",
        taken=_on_lost,
        kind="choice",
        choices=ON_LOST,
        label=_("if its process dies"),
        help=_("“rerun” starts it again, for jobs that may safely run twice."),
    ),
    "timeout": Option(
        default=None,
        taken=_timeout,
        kind="seconds",
        label=_("may take at most"),
        help=_("Seconds that a run may take; empty for as long as it needs."),
    ),
    "retries": Option(
        default=0,
        taken=_retries,
        kind="whole",
        label=_("retries"),
        help=_("Further attempts at a run that failed."),
    ),
    "retry_delay": Option(
        default=RETRY_DELAY_SECONDS,
        taken=_retry_delay,
        kind="seconds",
        label=_("delay of the first retry"),
        help=_("Seconds; it doubles with each further retry, up to an hour."),
    ),
    "retry_on": Option(
        default="",
        taken=exception_names.listed,
        kind="text",
        label=_("retry on"),
        help=_(
            "Exception types that are worth another attempt, separated by commas, such as "
            "ConnectionError or requests.exceptions.Timeout; empty for all."
        ),
    ),
    "overlap": Option(
        default=SKIP,
        taken=_overlap,
        kind="choice",
        choices=OVERLAPS,
        label=_("if the run before goes on"),
        help=_("What becomes of a time that comes while as many runs as may be are under way."),
    ),
    "catch_up": Option(
        default="",
        taken=_catch_up,
        kind="times",
        label=_("of times that passed"),
        help=_("What runs of several passed times: none, latest, all, or a number of the last."),
    ),
    "queue": Option(
        default="",
        taken=_queue,
        kind="name",
        label=_("queue"),
        help=_("Where its executor sends runs, such as heavy; empty for the executor's own."),
    ),
}
NAMES = tuple(OPTIONS)


def defaults() -> Values:
    """Return what a job has of which nothing is said."""
    return {name: one.default for name, one in OPTIONS.items()}


def taken(given: Mapping[str, Any]) -> Values:
    """Return the given options as they are stored.

    :raises ValueError: with a sentence about the first that is wrong.
    """
    return {name: OPTIONS[name].taken(value) for name, value in given.items()}


def of(row: Any) -> Values:
    """Return the options of a stored job."""
    return {name: getattr(row, name) for name in NAMES}


def plain(value: Any) -> Any:
    """Return a value as people write it: 600 for 600.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def delays(values: Mapping[str, Any]) -> list[float]:
    """Return the seconds before each retry, but for jitter."""
    first = values["retry_delay"]
    return [min(first * 2.0**number, LONGEST_RETRY_DELAY) for number in range(values["retries"])]


def implied_coalesce(catch_up: str, given: bool | None = None) -> bool | None:
    """Return the `coalesce` that a stored `catch_up` means; None if it means none.

    :param given: what somebody wrote for `coalesce` beside it.
    :raises ValueError: if that says something else.
    """
    if catch_up in ("", NONE):
        return None
    implied = catch_up == LATEST
    if given is not None and given is not implied:
        text = _(
            "catch_up=%(catch_up)r means coalesce=%(implied)s, not coalesce=%(given)s; leave out "
            "one of both, or change both."
        )
        raise ValueError(said(text, catch_up=catch_up, implied=implied, given=given))
    return implied


def questions(
    values: Mapping[str, Any], executor: str = "", executors: Mapping[str, Any] | None = None
) -> Iterator[Sentence | str]:
    """Return a sentence, without its end, for each questionable thing about stored options.

    :param executor: the alias of the job's executor, one of these `executors`.
    """
    for name in ("retry_on", "retry_delay"):
        if values[name] != OPTIONS[name].default and not values["retries"]:
            text = _("%(name)s has no effect without retries; give it some, such as 3")
            yield said(text, name=name)
    yield from exception_names.questions(values["retry_on"])
    known = (executors or {}).get(executor)
    if values["queue"] and executors is not None and not getattr(known, "has_queues", False):
        text = _(
            "queue has no effect, since the executor %(executor)r has no queues; leave it out, or "
            "choose an executor such as celery"
        )
        yield said(text, executor=executor)
    elif values["queue"] and (fault := _fault_of_queue(known, values["queue"])):
        yield fault


def _fault_of_queue(executor: Any, queue: str) -> Sentence | str:
    ask: Callable[[str], Sentence | str] | None = getattr(executor, "fault_of_queue", None)
    return ask(queue) if ask is not None else ""
