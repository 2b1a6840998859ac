"""Makes the job of a declaration, or says in one sentence why that is impossible.

These checks need no database. They are made by `runapscheduler --check`, by the system
checks, and before a process competes for the lease.
"""

import contextlib
import datetime as dt
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from apscheduler.job import Job
from apscheduler.triggers.combining import AndTrigger
from apscheduler.util import convert_to_datetime
from django.db import connections, router
from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from jobstore import conf
from jobstore.declarations.declaration import (
    Declaration,
    DeclarationError,
    NeverRuns,
    Problem,
    UnstableText,
    is_interrupt,
    moments_of,
    name_of,
)
from jobstore.declarations.functions import fault_of, importable
from jobstore.models import DjangoJob
from jobstore.schedules import trigger_defaults
from jobstore.schedules.next_times import contradiction, first_run_time
from jobstore.schedules.schedule_checks import check_schedule, unknown_trigger
from jobstore.schedules.wording import interval_question, weekday_question
from jobstore.sentences import said
from jobstore.storage import serializer
from jobstore.texts import flattened

JOB_OPTIONS = (
    "args",
    "kwargs",
    "name",
    "executor",
    "max_instances",
    "coalesce",
    "misfire_grace_time",
    "next_run_time",
)
DEFAULT_OPTIONS: dict[str, Any] = {
    "args": (),
    "kwargs": {},
    "executor": "default",
    "max_instances": 1,
    "coalesce": True,
}
# Options of `add_job` that say nothing about a declared job.
MEANINGLESS = {
    "jobstore": "declared jobs live in the Django database",
    "replace_existing": "the stored job follows its declaration anyway",
}
# Options whose wrong types APScheduler would accept, with another meaning.
KINDS: dict[str, tuple[Any, str]] = {
    "coalesce": (bool, "True or False"),
    "args": (list | tuple, "a list or a tuple"),
    "kwargs": (dict, "a dict"),
}
# Bytes of a stored state. A larger packet than the server accepts would end the session.
MAX_STATE_BYTES = 4_000_000
# Seconds that a trigger may take to find the first run time.
TRIGGER_SECONDS = 5.0


def _question_of_weekdays(declaration: Declaration, job: Job) -> Iterable[str]:
    if question := weekday_question(job.trigger):
        yield f"Job {declaration.id!r}: {question}."


def _question_of_intervals(declaration: Declaration, job: Job) -> Iterable[str]:
    if question := interval_question(job.trigger):
        yield f"Job {declaration.id!r}: {question}."


def _question_of_contradictions(declaration: Declaration, job: Job) -> Iterable[str]:
    if hasattr(job.trigger, "triggers") and (why := contradiction(job.trigger)):
        yield f"Job {declaration.id!r}: a part of its trigger never fires: {why}."


# Functions that return sentences about what is questionable in a valid job. It runs all the same.
QUESTIONS: list[Callable[[Declaration, Job], Iterable[str]]] = [
    _question_of_weekdays,
    _question_of_intervals,
    _question_of_contradictions,
]


def prepare(declaration: Declaration, scheduler: Any, now: dt.datetime | None = None) -> Job:
    """Return the job of a declaration, with its first run time.

    :param now: the database's time, aware; without it, the machine's.
    :raises DeclarationError: if APScheduler does not accept it, if its trigger never fires, or if
        it cannot be stored.
    """
    job = build(declaration, scheduler)
    set_first_run(job, declaration, now)
    return job


def build(declaration: Declaration, scheduler: Any) -> Job:
    """Return the valid job of a declaration, without its first run time.

    :raises DeclarationError: if it cannot be carried out.
    """
    with _named(declaration):
        if declaration.fault:
            raise ValueError(declaration.fault)
        if fault := fault_of(declaration.func):
            raise ValueError(fault)
        _check_options(declaration)
        try:
            declaration.digest  # noqa: B018 - raises if there is none
        except UnstableText as error:
            raise ValueError(
                f"{error} reads differently in every process, so the job would look changed at "
                "each start; pass plain values, or give it a __repr__ that says what it is"
            ) from error
        chosen = {key: value for key, value in declaration.options.items() if key in JOB_OPTIONS}
        grace = conf.get("SCHEDULER_MISFIRE_GRACE_SECONDS")
        options = DEFAULT_OPTIONS | {"misfire_grace_time": grace} | chosen
        options.pop("next_run_time", None)
        job = Job(
            scheduler,
            id=declaration.id,
            func=importable(declaration.func),
            trigger=make_trigger(declaration.trigger, _trigger_fields(declaration), scheduler),
            next_run_time=None,
            **options,
        )
        if len(serializer.values(job)["job_state"]) > MAX_STATE_BYTES:
            raise ValueError("its arguments are larger than 3 MB; pass a key, and look them up")
        check_limits(job, scheduler)
    return job


def set_first_run(job: Job, declaration: Declaration, now: dt.datetime | None = None) -> None:
    """Give a built job its first run time.

    :param now: the database's time, aware; without it, the machine's.
    :raises NeverRuns: if its trigger has no run time left.
    :raises DeclarationError: if its trigger raises.
    """
    trigger = job.trigger
    with _named(declaration):
        at = timezone.localtime(now, job._scheduler.timezone)
        trigger_defaults.begin_at(trigger, at)  # it counted from this machine's time
        with limited():
            first = first_run_time(trigger, at)
        if first is not None and "next_run_time" in declaration.options:
            given = declaration.options["next_run_time"]
            first = convert_to_datetime(given, job._scheduler.timezone, "next_run_time")
        elif first is None:
            why = contradiction(trigger)
            reason = f": {why}" if why else ""
            raise NeverRuns(f"its trigger {flattened(trigger)} has no run time left{reason}")
        job._modify(next_run_time=first)


def questions_of(declaration: Declaration, job: Job) -> list[Problem]:
    """Return what is questionable about a valid job."""
    with _named(declaration):
        found = [text for ask in QUESTIONS for text in ask(declaration, job)]
    return [declaration.problem(text, is_fatal=False) for text in found]


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Limit a trigger to TRIGGER_SECONDS, on the main thread: all jobs would wait for it."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def end(*_signal: object) -> None:
        text = _("its trigger finds no run time within %(seconds)g s")
        raise TimeoutError(said(text, seconds=TRIGGER_SECONDS))

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, TRIGGER_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)


@contextlib.contextmanager
def _named(declaration: Declaration) -> Iterator[None]:
    """Turn every error, also of the project's code, into a DeclarationError that names the job."""
    about = f"Job {declaration.id!r} ({flattened(name_of(declaration.func))})"
    try:
        yield
    except NeverRuns as error:
        raise NeverRuns(f"{about} never runs: {error}.") from error
    except BaseException as error:
        if is_interrupt(error):
            raise
        text = flattened(error) or type(error).__name__
        if not isinstance(error, ValueError | TypeError | LookupError | AttributeError):
            text = f"{type(error).__name__}: {text}"
        raise DeclarationError(f"{about}: {text.rstrip('.')}.") from error


# --- Options -------------------------------------------------------------------------------------


def _check_options(declaration: Declaration) -> None:
    options, trigger = declaration.options, declaration.trigger
    for name, why in MEANINGLESS.items():
        if name in options:
            raise ValueError(f"{name}= has no meaning here, since {why}; delete it")
    if declaration.on_lost not in DjangoJob.OnLost.values:
        raise ValueError(f"on_lost={declaration.on_lost!r}: it is one of {DjangoJob.OnLost.values}")
    for name, (kinds, what) in KINDS.items():
        if name in options and not isinstance(options[name], kinds):
            raise TypeError(f"{name} is {what}")
    if not isinstance(declaration.run_at_start, bool):
        raise TypeError("run_at_start is True or False")
    check_arguments(options)
    check_schedule(trigger, options, [name for name in options if name not in JOB_OPTIONS])
    if moments := moments_of(declaration):
        raise ValueError(
            f"{', '.join(moments)} holds the time of the start, so the job would look changed "
            "each time; write a fixed time, or run_at_start=True for a run at each start"
        )


def check_arguments(options: dict[str, Any]) -> None:
    """Refuse arguments that cannot be stored and restored as the same values.

    :raises TypeError: with what to pass instead.
    """
    for key in options.get("kwargs", {}):
        if not isinstance(key, str):
            text = _("the key %(key)r of kwargs is not the name of an argument")
            raise TypeError(said(text, key=key))
    values = (*options.get("args", ()), *options.get("kwargs", {}).values())
    if kind := next(filter(None, map(_kept_rows, values)), ""):
        text = _(
            "an argument holds a %(kind)s, which would be stored with the rows as they are now; "
            "pass primary keys, and look the rows up in the job"
        )
        raise TypeError(said(text, kind=kind))


def _kept_rows(value: Any) -> str:
    """Return the type of database rows that an argument holds; empty if it holds none."""
    if isinstance(value, QuerySet | Model):
        return type(value).__name__
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return next(filter(None, map(_kept_rows, value)), "")
    return ""


def _trigger_fields(declaration: Declaration) -> dict[str, Any]:
    return {key: value for key, value in declaration.options.items() if key not in JOB_OPTIONS}


def make_trigger(given: Any, fields: dict[str, Any], scheduler: Any) -> Any:
    """Return the trigger of a name and its arguments, or the given trigger.

    :raises ValueError: if there is none. APScheduler may raise other errors.
    """
    try:
        trigger = scheduler._create_trigger(given, fields)
    except LookupError:
        raise ValueError(unknown_trigger(given)) from None
    for part in _parts(trigger):
        length = getattr(part, "interval", None)
        if isinstance(length, dt.timedelta) and length <= dt.timedelta(0):
            text = _("an interval of %(seconds)g s is not above 0")
            raise ValueError(said(text, seconds=length.total_seconds()))
        jitter = getattr(part, "jitter", None)
        if isinstance(jitter, int | float) and jitter < 0:
            raise ValueError(said(_("a jitter of %(jitter)s s is below 0"), jitter=jitter))
        if hasattr(part, "triggers") and not part.triggers:
            raise ValueError(said(_("a combination of triggers needs at least one")))
        if isinstance(part, AndTrigger) and any(getattr(one, "jitter", 0) for one in part.triggers):
            text = _("parts of and[] have no jitter of their own; give it to and[] itself")
            raise ValueError(said(text))
    return trigger


def _parts(trigger: Any) -> Iterator[Any]:
    """Return a trigger, and those that it combines."""
    yield trigger
    for part in getattr(trigger, "triggers", None) or ():
        yield from _parts(part)


# --- What a database holds -----------------------------------------------------------------------


def check_limits(job: Job, scheduler: Any) -> None:
    """Refuse values that the columns cannot hold, by the ranges that Django's backends know.

    :raises ValueError: with the value that is too large or unknown.
    """
    connection = connections[router.db_for_write(DjangoJob)]
    for name in ("max_instances", "misfire_grace_time"):
        value = getattr(job, name)
        kind = DjangoJob._meta.get_field(name).get_internal_type()
        _lowest, highest = connection.ops.integer_field_range(kind)
        if value is not None and highest is not None and value > highest:
            text = _("%(name)s=%(value)s is more than %(database)s holds (%(highest)s)")
            database = connection.display_name
            raise ValueError(said(text, name=name, value=value, database=database, highest=highest))
    longest = DjangoJob._meta.get_field("executor").max_length
    if len(job.executor) > (longest or 0):
        text = _("the name of its executor is longer than %(longest)s characters")
        raise ValueError(said(text, longest=longest))
    known = {"default", *scheduler._executors}
    if job.executor not in known:
        names = ", ".join(sorted(known))
        text = _("there is no executor %(executor)r, only %(known)s")
        raise ValueError(said(text, executor=flattened(job.executor), known=names))
