"""What the options of a job mean, in words."""

from collections.abc import Callable, Mapping
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from jobstore import exception_names, job_options
from jobstore.admin.display import rough_length
from jobstore.api.building import stand_in
from jobstore.executors import endings
from jobstore.models import DjangoJob

# Delays of retries that are listed one by one.
MAX_DELAYS = 4
# The longest lengths of time that two units tell exactly, by the smaller unit in seconds.
UNITS = ((60, 1), (3600, 1), (86_400, 60), (float("inf"), 3600))


def in_words(name: str, value: Any) -> str:
    """Return the value of one option, as people read it."""
    say = WORDS.get(name)
    return say(value) if say else str(value)


def limit(timeout: float | None) -> str:
    """Return how long a run may take."""
    return _("as long as it needs") if timeout is None else length(timeout)


def limit_of(job: DjangoJob) -> str:
    """Return how long a run may take, and what becomes of it then."""
    text = limit(job.timeout)
    if job.timeout is None:
        return text
    executor = stand_in()._executors.get(job.executor)
    if executor is None:  # this process does not know what it is
        return text
    if endings.can_end(executor):
        return _("%(length)s, then it is ended") % {"length": text}
    return _("%(length)s, then its function is told to stop") % {"length": text}


def retrying(values: Mapping[str, Any]) -> str:
    """Return how often, when and after which exceptions a failed run is tried again."""
    if not values["retries"]:
        return _("not tried again")
    delays = job_options.delays(values)
    shown = [length(one) for one in delays[:MAX_DELAYS]]
    if len(delays) > MAX_DELAYS:
        shown.append("…")
    if len(delays) > MAX_DELAYS and delays[-1] != delays[MAX_DELAYS - 1]:
        shown.append(length(delays[-1]))
    given = {
        "number": len(delays),
        "delays": ", ".join(shown),
        "exceptions": after_which(values["retry_on"]),
    }
    if len(delays) == 1:
        return _("tried again once, after %(delays)s, on %(exceptions)s") % given
    return _("tried again up to %(number)d times, after %(delays)s, on %(exceptions)s") % given


def after_which(retry_on: str) -> str:
    """Return the exceptions that are worth another attempt."""
    return ", ".join(exception_names.split(retry_on)) or _("any exception")


def length(seconds: float) -> str:
    """Return a length of time exactly, in its two largest units if they can tell it."""
    smaller = next(part for most, part in UNITS if seconds < most)
    if seconds % smaller == 0:
        return rough_length(seconds)
    return _("%(seconds)s s") % {"seconds": number_format(job_options.plain(seconds))}


def _on_lost(value: str) -> str:
    return str(dict(DjangoJob.OnLost.choices).get(value, value))


def catch_up(value: str) -> str:
    """Return what becomes of the times that passed while nothing ran."""
    names = {
        "": _("as “coalesce” says"),
        job_options.NONE: _("none runs"),
        job_options.LATEST: _("the latest runs"),
        job_options.ALL: _("each runs"),
    }
    return names.get(value) or _("the last %(number)s run") % {"number": value}


def queue(value: str) -> str:
    """Return where an executor sends runs."""
    return value or _("the executor's own")


def _overlap(value: str) -> str:
    return str(dict(DjangoJob.Overlap.choices).get(value, value))


WORDS: dict[str, Callable[[Any], str]] = {
    "on_lost": _on_lost,
    "timeout": limit,
    "retry_delay": length,
    "retry_on": after_which,
    "overlap": _overlap,
    "catch_up": catch_up,
    "queue": queue,
}
