"""Job state in the database: APScheduler's own pickle, signed, and verified before it is read.

The signature covers the job's id, so that neither write access to the table nor a state copied
from another row is a way to run code here. Keys rotate by SECRET_KEY_FALLBACKS.
"""

import base64
import datetime as dt
import functools
import pickle
from typing import TYPE_CHECKING, Any

from apscheduler.job import Job
from django.conf import settings
from django.core import signing

from .util import as_aware

if TYPE_CHECKING:
    from .due import DueJob
    from .models import DjangoJob

SALT = "jobstore.job_state"
MAX_ID = 255
# What every pickle since protocol 2 begins with; a signed state is ASCII.
PICKLE = b"\x80"


class UnreadableState(Exception):
    """A stored job that cannot be restored; its text says why."""


class _NoScheduler:
    """Stands in where a job is restored outside a scheduler."""

    timezone = None


def dump(job: Job, protocol: int = pickle.HIGHEST_PROTOCOL) -> bytes:
    """Return the signed state of a job.

    Raises ValueError, saying what to do, for a job that cannot be stored.
    """
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
    try:
        pickled = pickle.dumps(job.__getstate__(), protocol)
    except Exception as error:
        raise ValueError(
            f"Job {job.id!r} cannot be stored: its arguments or its trigger cannot be pickled "
            f"({error}). Pass plain values, such as a primary key, and look objects up in the job."
        ) from error
    return sign(job.id, pickled)


def sign(job_id: str, pickled: bytes) -> bytes:
    """Return a pickled state as it is stored for this job."""
    encoded = base64.b64encode(pickled).decode()
    return f"{encoded}:{_signer().signature(_for_job(job_id, encoded))}".encode()


def load(job_id: str, data: bytes | memoryview) -> dict[str, Any]:
    """Return the state that `dump` stored for this job.

    Raises UnreadableState when the signature is not ours, before anything is unpickled, and when
    what it protects cannot be unpickled here.
    """
    if bytes(data[:1]) == PICKLE:
        raise UnreadableState(
            "The stored state is a pickle without a signature, as django-apscheduler writes it. "
            "It is not read. `manage.py import_django_apscheduler` moves such jobs over."
        )
    try:
        signed = _signer().unsign(_for_job(job_id, bytes(data).decode("ascii", "replace")))
    except signing.BadSignature:
        raise UnreadableState(
            "The signature of the stored state does not match: the row was changed from outside, "
            "or SECRET_KEY changed without the old key in SECRET_KEY_FALLBACKS."
        ) from None
    try:
        encoded = signed.rpartition(":")[2]
        loaded = pickle.loads(base64.b64decode(encoded))  # noqa: S301 - the signature was verified
    except Exception as error:
        raise UnreadableState(f"The stored state cannot be unpickled: {error!r}") from error
    if not isinstance(loaded, dict):
        raise UnreadableState("The stored state is not a job's.")
    return loaded


def restore(row: "DjangoJob | DueJob", scheduler: Any = None, alias: str | None = None) -> Job:
    """Return the job of a row, due when the row says (never when the pickle says).

    Raises UnreadableState when its function, trigger or arguments cannot be restored.
    """
    loaded = load(row.pk, row.job_state)
    job = Job.__new__(Job)
    try:
        job.__setstate__(loaded)
    except Exception as error:
        raise UnreadableState(f"The job cannot be restored: {error}") from error
    if job.id != row.pk:
        raise UnreadableState(f"The stored state is that of job {job.id!r}.")
    job._scheduler = scheduler or _NoScheduler()
    if row.next_run_time is None:
        job.next_run_time = None
    else:
        job.next_run_time = as_aware(row.next_run_time).astimezone(zone_of(job))
    job._jobstore_alias = alias
    return job


def zone_of(job: Job) -> dt.tzinfo:
    """Return the zone that the job's trigger counts in; some triggers look at the date alone.

    The zone of a first time that somebody gave may be another. Triggers that combine have none.
    """
    if zone := getattr(job.trigger, "timezone", None):
        return zone  # type: ignore[no-any-return]
    if job.next_run_time is not None and job.next_run_time.tzinfo is not None:
        return job.next_run_time.tzinfo  # type: ignore[no-any-return]
    return job._scheduler.timezone or dt.UTC


def columns(job: Job) -> dict[str, Any]:
    """Return what people look at beside the state, as column values."""
    arguments = [repr(value) for value in job.args]
    arguments += [f"{name}={value!r}" for name, value in job.kwargs.items()]
    return {
        "name": job.name.replace("\x00", "␀").encode("utf-8", "backslashreplace").decode()[:255],
        "func": str(job.func_ref)[:255],
        "arguments": ", ".join(arguments).replace("\x00", "␀")[:2000],
        "trigger": str(job.trigger)[:255],
        "executor": job.executor,
        "coalesce": job.coalesce,
        "max_instances": job.max_instances,
        "misfire_grace_time": job.misfire_grace_time,
    }


def _for_job(job_id: str, encoded: str) -> str:
    """Return what is signed: a state is good for no other job than that it was made for.

    The length keeps the rest of an id that holds a colon from passing for a part of the state.
    """
    return f"{len(job_id)}:{job_id}:{encoded}"


def _signer() -> signing.Signer:
    return _signer_with(settings.SECRET_KEY, tuple(settings.SECRET_KEY_FALLBACKS))


@functools.lru_cache(maxsize=1)
def _signer_with(key: str, fallbacks: tuple[str, ...]) -> signing.Signer:
    return signing.Signer(key=key, fallback_keys=list(fallbacks), salt=SALT)
