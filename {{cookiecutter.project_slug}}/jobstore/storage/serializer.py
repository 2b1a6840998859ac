"""Job state in the database: APScheduler's own pickle, signed, and verified before it is read.

signing.py says what is signed, and with which key.
"""

import datetime as dt
import inspect
import pickle
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from apscheduler.job import Job
from apscheduler.util import ref_to_obj

from jobstore.schedules import trigger_defaults
from jobstore.schedules.wording import describe
from jobstore.storage import masking, signing
from jobstore.texts import described, storable
from jobstore.util import as_aware

if TYPE_CHECKING:
    from jobstore.models import DjangoJob
    from jobstore.storage.rows import DueJob

MAX_ID = 255
# The first byte of every pickle since protocol 2; a signed state is ASCII.
PICKLE = b"\x80"
# The key, beside APScheduler's own state, of the marks of moments that nobody gave.
MARKS = "default_moments"


class UnreadableState(Exception):
    """A stored job that cannot be restored; its text says why."""


class UnsignedState(UnreadableState):
    """A stored job whose signature does not match, with any key that is known here."""


class _NoScheduler:
    """Takes a scheduler's place when a job is restored outside of one."""

    timezone = None


def values(job: Job, protocol: int = pickle.HIGHEST_PROTOCOL) -> dict[str, Any]:
    """Return the column values of a job: its signed state, and the columns for people.

    :raises ValueError: if the job cannot be stored; the text says what to do.
    """
    pickled = _pickled(job, protocol)
    shown = columns(job)
    return {**shown, "job_state": signing.sign(job.id, pickled, shown)}


def _pickled(job: Job, protocol: int) -> bytes:
    if len(job.id) > MAX_ID:
        raise ValueError(
            f"Job id {job.id[:40]!r}… has {len(job.id)} characters; at most {MAX_ID} can be stored."
        )
    if "\x00" in job.id or job.id != job.id.encode("utf-8", "replace").decode():
        raise ValueError(
            f"Job id {job.id!r} has a character that databases do not store (NUL, or half of a "
            "surrogate pair)."
        )
    if not job.func_ref:
        raise ValueError(
            f"Job {job.id!r} cannot be stored: {job.func!r} has no importable name. Lambdas and "
            "nested functions cannot be found again by another process; move the function to "
            "the top level of a module."
        )
    # An import finds a callable only by its reference.
    if job.func is not None and is_object(job.func) and not _leads_to(job.func_ref, job.func):
        raise ValueError(
            f"Job {job.id!r} cannot be stored: its function is an object of the type "
            f"{type(job.func).__name__}, which APScheduler does not find again by "
            f"{job.func_ref!r}; give the reference to it as text, such as 'package.module:name'."
        )
    try:
        return pickle.dumps(
            job.__getstate__() | {MARKS: trigger_defaults.marks(job.trigger)}, protocol
        )
    except Exception as error:
        raise ValueError(
            f"Job {job.id!r} cannot be stored: its arguments or its trigger cannot be pickled "
            f"({error}). Pass plain values, such as a primary key, and look objects up in the job."
        ) from error


def is_object(func: Any) -> bool:
    """Tell whether a callable is neither a function nor a class, such as what lru_cache makes."""
    is_known = inspect.isfunction(func) or inspect.ismethod(func) or inspect.isbuiltin(func)
    return not is_known and not inspect.isclass(func)


def _leads_to(reference: str, func: Any) -> bool:
    try:
        return ref_to_obj(reference) is func
    except LookupError:
        return False


def load(row: "DjangoJob | DueJob") -> dict[str, Any]:
    """Return the state that `values` made for the job of this row.

    :raises UnreadableState: if the signature does not match the state and the columns (nothing is
        unpickled then), or if the state cannot be unpickled here.
    """
    if bytes(row.job_state[:1]) == PICKLE:
        raise UnreadableState(
            "The stored state is a pickle without a signature, as django-apscheduler writes it. "
            "It is not read. `manage.py import_django_apscheduler` moves such jobs over."
        )
    try:
        pickled = signing.verified(row)
    except signing.BadSignature as error:
        raise UnsignedState(str(error)) from None
    return _unpickled(pickled)


def _unpickled(pickled: bytes) -> dict[str, Any]:
    try:
        loaded = pickle.loads(pickled)  # noqa: S301 - the signature was verified
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # modules are imported, and one may call sys.exit()
        raise UnreadableState(
            f"The stored state cannot be unpickled: {described(error)}"
        ) from error
    if not isinstance(loaded, dict):
        raise UnreadableState("The stored state is not a job's.")
    return loaded


def restore(row: "DjangoJob | DueJob", scheduler: Any = None, alias: str | None = None) -> Job:
    """Return the job of a row, due when the row says (never when the pickle says).

    :raises UnreadableState: if its function, trigger or arguments cannot be restored.
    """
    job = _job(load(row))
    if job.id != row.pk:
        raise UnreadableState(f"The stored state is that of job {job.id!r}.")
    job._scheduler = scheduler or _NoScheduler()
    if row.next_run_time is None:
        job.next_run_time = None
    else:
        job.next_run_time = as_aware(row.next_run_time).astimezone(zone_of(job))
    job._jobstore_alias = alias
    return job


def tells_marks(row: "DjangoJob") -> bool:
    """Tell whether the state has marks of moments that nobody gave: older code stored none.

    :raises UnreadableState: as `load` does.
    """
    return MARKS in load(row)


def columns_of_former(row: "DjangoJob") -> dict[str, Any]:
    """Return column values for a row with a signature of the old format, signed again.

    The old format did not cover the columns, so they are made again from the state.

    :raises UnreadableState: if the old signature does not match, or the job cannot be restored.
    """
    try:
        pickled = signing.verified_former(row)
    except signing.BadSignature as error:
        raise UnsignedState(str(error)) from None
    shown = columns(_job(_unpickled(pickled)))
    return {**shown, "job_state": signing.sign(row.pk, pickled, shown)}


def _job(loaded: dict[str, Any]) -> Job:
    job = Job.__new__(Job)
    try:
        job.__setstate__(loaded)
        trigger_defaults.set_marks(job.trigger, loaded.get(MARKS, ()))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # as above
        text = error if isinstance(error, Exception) else repr(error)
        raise UnreadableState(f"The job cannot be restored: {text}") from error
    return job


def zone_of(job: Job) -> dt.tzinfo:
    """Return the zone that the job's trigger counts in.

    The first time that somebody gave may have another zone. Triggers that combine others have none,
    and some look at the date alone.
    """
    if zone := getattr(job.trigger, "timezone", None):
        return zone  # type: ignore[no-any-return]
    if job.next_run_time is not None and job.next_run_time.tzinfo is not None:
        return job.next_run_time.tzinfo  # type: ignore[no-any-return]
    return job._scheduler.timezone or dt.UTC


def columns(job: Job) -> dict[str, Any]:
    """Return the values of the columns for people."""
    return {
        "name": storable(job.name)[:255],
        "func": str(job.func_ref)[:255],
        "arguments": shown_arguments(job.func, job.args, job.kwargs),
        "trigger": storable(describe(job.trigger))[:255],
        "executor": str.__str__(job.executor),
        "coalesce": job.coalesce,
        "max_instances": job.max_instances,
        "misfire_grace_time": job.misfire_grace_time,
    }


def shown_arguments(func: Any, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    """Return arguments as text for people, the secret ones masked."""
    return storable(masking.shown(func, args, kwargs))[:2000]
