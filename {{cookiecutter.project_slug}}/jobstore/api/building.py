"""Makes a job that can be stored from the arguments of an operation, or says why not."""

import contextlib
import datetime as dt
import inspect
import itertools
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from apscheduler.job import Job
from apscheduler.triggers.cron import CronTrigger
from apscheduler.util import convert_to_datetime, ref_to_obj
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from jobstore import conf, models
from jobstore.api.errors import (
    InvalidArguments,
    InvalidOption,
    InvalidSchedule,
    NotSchedulable,
    OperationError,
)
from jobstore.declarations import functions, validation
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob
from jobstore.process.scheduler import DjangoScheduler
from jobstore.schedules import trigger_defaults
from jobstore.schedules.next_times import contradiction, first_run_time, following
from jobstore.schedules.schedule_checks import YEARS, check_schedule, year_out_of_range
from jobstore.sentences import Sentence, changed, said, told
from jobstore.storage import replacement, serializer
from jobstore.texts import flattened
from jobstore.util import as_aware

# Run times of a schedule that are computed to find out how often it fires.
LOOKED_AT = 100
# Arguments without an underscore in their names.
NAMES = {*CronTrigger.FIELD_NAMES, "years", "months", "weeks", "days", "hours", "minutes"} | {
    "seconds",
    "args",
    "coalesce",
    "executor",
    "id",
    "kwargs",
    "name",
    "trigger",
    "func",
    "jitter",
}


def stand_in() -> DjangoScheduler:
    """Return a scheduler that is never started: it knows the zone and the executors."""
    return DjangoScheduler(DjangoJobStore(), lambda: None)


@contextlib.contextmanager
def _as(kind: type[Exception]) -> Iterator[None]:
    """Turn any error of APScheduler, a trigger or a check into one of this class."""
    try:
        yield
    except OperationError:
        raise
    except Exception as error:
        text = told(error)
        if not isinstance(text, Sentence):
            text = flattened(error) or type(error).__name__
        raise kind(changed(text, _sentence)) from error


def _sentence(text: str) -> str:
    """Return a text as a sentence; one that begins with the name of an argument keeps it."""
    first = re.match(r"[a-z]+ ", text)
    if first and first[0].strip() not in NAMES:
        text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith("?") else f"{text.rstrip('.')}."


def make_trigger(trigger: Any, fields: Mapping[str, Any], scheduler: DjangoScheduler) -> Any:
    """Return the trigger of a name and its fields, or the given trigger.

    :raises InvalidSchedule: if there is none.
    """
    with _as(InvalidSchedule):
        if trigger == "cron":
            _check_cron_fields(fields)
        check_schedule(trigger, dict(fields), list(fields))
        return validation.make_trigger(trigger, dict(fields), scheduler)


def _check_cron_fields(fields: Mapping[str, Any]) -> None:
    """Refuse a field that is unknown or wrong, by its name, which APScheduler does not tell."""
    known = (*CronTrigger.FIELD_NAMES, "start_date", "end_date", "timezone", "jitter")
    if unknown := next((name for name in fields if name not in known), None):
        text = _("%(name)s is not a field of cron, which takes %(known)s.")
        raise InvalidSchedule(said(text, name=unknown, known=", ".join(known)))
    for name in CronTrigger.FIELD_NAMES:
        if isinstance(fields.get(name), str | int) and not isinstance(fields[name], bool):
            try:
                CronTrigger(timezone=dt.UTC, **{name: fields[name]})
            except ValueError as error:
                text = flattened(error).rpartition(": ")[2].rstrip(".")
                wrong = said(
                    _("%(name)s=%(value)r is wrong: %(why)s."),
                    name=name,
                    value=fields[name],
                    why=text,
                )
                raise InvalidSchedule(wrong) from None


def first_time(trigger: Any, now: dt.datetime, grace: int | None) -> dt.datetime:
    """Return the first time of a new schedule, which counts from now unless it has a start.

    :param now: aware, by the database's clock.
    :param grace: seconds by which a run may be late; None for any.
    :raises InvalidSchedule: if it never fires, or fires more often than is allowed.
    """
    with _as(InvalidSchedule):
        trigger_defaults.begin_at(trigger, now)
        with validation.limited():
            first = first_run_time(trigger, now)
        why = contradiction(trigger)
        if first is None:
            shown = flattened(trigger)
            if not why:
                raise InvalidSchedule(
                    said(_("The schedule %(schedule)s never fires."), schedule=shown)
                )
            text = _("The schedule %(schedule)s never fires: %(why)s.")
            raise InvalidSchedule(said(text, schedule=shown, why=why))
        if why:
            text = _("A part of %(schedule)s never fires: %(why)s.")
            raise InvalidSchedule(said(text, schedule=flattened(trigger), why=why))
        if grace is not None and (now - first).total_seconds() > grace:
            text = _("The schedule %(schedule)s lies in the past.")
            raise InvalidSchedule(said(text, schedule=flattened(trigger)))
        _check_frequency(trigger, first)
    return first


def _check_frequency(trigger: Any, first: dt.datetime) -> None:
    least = conf.get("SCHEDULER_MIN_INTERVAL_SECONDS")
    if not least:
        return
    exact, _jitter = replacement.without_jitter(trigger)
    times = [one.timestamp() for one in times_from(exact, first, LOOKED_AT)]
    shortest = min((later - time for time, later in itertools.pairwise(times)), default=0)
    if len(times) > 1 and shortest < least:
        text = _(
            "The schedule %(schedule)s fires again after %(shortest)g s, and no less than "
            "%(least)g s are allowed here (SCHEDULER_MIN_INTERVAL_SECONDS)."
        )
        raise InvalidSchedule(
            said(text, schedule=flattened(trigger), shortest=shortest, least=least)
        )


def times_from(trigger: Any, first: dt.datetime | None, number: int) -> list[dt.datetime]:
    """Return a number of times of a trigger in turn, beginning with one that is known.

    There are fewer if it ends, or if its parts do not agree on a next time within some questions.
    """
    found: list[dt.datetime] = []
    while first is not None and len(found) < number:
        found.append(first)
        try:
            later = following(trigger, first, first)
        except (OverflowError, ValueError):
            break  # beyond the year 9999, or never
        if later is not None and later.timestamp() <= first.timestamp():
            break
        first = later
    return found


def check_call(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that a function does not take, or that cannot be stored.

    :raises InvalidArguments: with the argument that is wrong.
    """
    with _as(InvalidArguments):
        if isinstance(args, str) or not isinstance(args, Sequence):
            raise InvalidArguments(said(_("The positional arguments are a list or a tuple.")))
        if not isinstance(kwargs, Mapping):
            raise InvalidArguments(said(_("The named arguments are a dict.")))
        validation.check_arguments({"args": tuple(args), "kwargs": dict(kwargs)})
        check_storable(args, kwargs)
        try:
            signature = inspect.signature(func)
        except (ValueError, TypeError):
            return  # some functions written in C have no signature
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            name = getattr(func, "__qualname__", flattened(func))
            text = _("%(call)s is called wrongly: %(error)s.")
            raise InvalidArguments(said(text, call=f"{name}{signature}", error=error)) from None


def check_storable(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that no database could keep.

    :raises InvalidArguments: with what to pass instead.
    """
    try:
        pickle.dumps((tuple(args), dict(kwargs)), pickle.HIGHEST_PROTOCOL)
        repr((args, kwargs))
    except Exception as error:  # methods of anybody's objects
        is_deep = isinstance(error, RecursionError)
        why = said(_("they are nested too deeply")) if is_deep else flattened(error)
        text = _(
            "The arguments cannot be stored (%(why)s); pass plain values, such as a primary key."
        )
        raise InvalidArguments(said(text, why=why)) from error


def find_function(func: Callable[..., Any] | str) -> Any:
    """Return the function to call, or a reference to a callable that has no name of its own.

    :param func: a function, or "package.module:name".
    :raises NotSchedulable: if no other process could find it by its name.
    """
    if isinstance(func, str):
        try:
            func = ref_to_obj(func)
        except Exception as error:  # modules are imported, which do what they like
            text = flattened(error).rstrip(".")
            if ":" not in str(func):
                text = "write it as 'package.module:name'"
            name = flattened(repr(func), 80)
            sentence = said(_("There is no function %(name)s: %(why)s."), name=name, why=text)
            raise NotSchedulable(sentence) from error
    if not callable(func):
        text = _("%(object)s cannot be called; name a function.")
        raise NotSchedulable(said(text, object=flattened(repr(func))))
    if fault := functions.fault_of(func):
        text = _("%(object)s cannot be a job: %(fault)s.")
        raise NotSchedulable(said(text, object=flattened(func), fault=fault))
    return functions.importable(func)


def make_job(
    job_id: str, func: Any, trigger: Any, options: Mapping[str, Any], scheduler: DjangoScheduler
) -> Job:
    """Return a job without a next run time.

    :param options: args, kwargs, name, executor, coalesce, max_instances and misfire_grace_time.
    :raises InvalidOption: if one of them makes no sense.
    """
    if not isinstance(job_id, str) or not job_id.strip():
        raise InvalidOption(said(_("A job's id is a text that is not empty.")))
    _check_values(options)
    with _as(InvalidOption):
        job = Job(
            scheduler, id=job_id, func=func, trigger=trigger, next_run_time=None, **dict(options)
        )
        check_options(job, scheduler)
    return job


def callable_of(func: Any) -> Any:
    """Return the callable that `find_function` found."""
    return ref_to_obj(func) if isinstance(func, str) else func


def modify(job: Job, options: Mapping[str, Any], scheduler: DjangoScheduler) -> None:
    """Change options of a restored job.

    :raises InvalidOption: if one of them makes no sense.
    """
    _check_values(options)
    with _as(InvalidOption):
        job._modify(**options)
        check_options(job, scheduler)


def check_options(job: Job, scheduler: DjangoScheduler) -> None:
    """Refuse options that no database can hold, and unknown executors.

    :raises InvalidOption: with the option that is wrong.
    """
    with _as(InvalidOption):
        validation.check_limits(job, scheduler)
        values = serializer.values(job)  # raises for what cannot be stored
    if len(values["job_state"]) > validation.MAX_STATE_BYTES:
        text = _("The arguments are larger than 3 MB; pass a key, and look them up.")
        raise InvalidArguments(said(text))


def _check_values(options: Mapping[str, Any]) -> None:
    # APScheduler would accept any value as true or false, and True as a number.
    if not isinstance(options.get("coalesce", True), bool):
        raise InvalidOption(said(_("coalesce is True or False.")))
    for name in ("max_instances", "misfire_grace_time"):
        if isinstance(options.get(name), bool):
            raise InvalidOption(said(_("%(name)s is a whole number above 0."), name=name))


def check_on_lost(on_lost: str) -> None:
    """Refuse an unknown value of `on_lost`.

    :raises InvalidOption: with the known values.
    """
    if on_lost not in DjangoJob.OnLost.values:
        first, second = DjangoJob.OnLost.values
        text = _("on_lost is %(first)r or %(second)r, not %(value)r.")
        raise InvalidOption(said(text, first=first, second=second, value=on_lost))


def given_time(value: Any, scheduler: DjangoScheduler) -> dt.datetime:
    """Return the moment of a given datetime, or of a text such as '2030-01-31 08:00'.

    :raises InvalidSchedule: if it is none.
    """
    if value is None:
        text = _("A job that is not to run next is paused: use that, with a reason.")
        raise InvalidSchedule(said(text))
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            text = _("%(value)r is not a date and time; write it as '2030-01-31 08:00'.")
            raise InvalidSchedule(said(text, value=value)) from None
    with _as(InvalidSchedule):
        found: dt.datetime = convert_to_datetime(value, scheduler.timezone, "next_run_time")
        return found


def future_time(
    value: Any, grace: int | None, scheduler: DjangoScheduler, using: str
) -> dt.datetime:
    """Return a moment that somebody gave for the next run, which would not be missed at once.

    :param grace: seconds by which a run may be late; None for any.
    :raises InvalidSchedule: if it is no moment, or has passed.
    """
    found = given_time(value, scheduler)
    if found.year not in YEARS:
        raise InvalidSchedule(changed(year_out_of_range("next_run_time", found.year), _sentence))
    if grace is not None and (now(using) - found).total_seconds() > grace:
        text = _("The next run time %(when)s lies in the past.")
        raise InvalidSchedule(said(text, when=str(found)))
    return found


def now(using: str) -> dt.datetime:
    """Return the database's time in the project's zone."""
    return timezone.localtime(as_aware(models.database_now(using)), timezone.get_default_timezone())
