"""A run's own arguments, in place of its job's: signed for that run, verified before use."""

import datetime as dt
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from apscheduler.job import Job
from django.utils.translation import gettext_noop as _

from jobstore.sentences import said
from jobstore.storage import serializer, signing
from jobstore.util import as_aware

if TYPE_CHECKING:
    from jobstore.models import DjangoJobExecution

# Bytes. A larger packet than the server accepts would end the database session.
LARGEST = 4_000_000

Columns = Callable[[dt.datetime], dict[str, Any]]


def signer(job: Job, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Columns:
    """Return a function that makes, for a run time as stored, the columns of a job's run.

    :raises ValueError: if the arguments cannot be stored.
    """
    shown = serializer.shown_arguments(job.func, args, kwargs)
    try:
        pickled = pickle.dumps((tuple(args), dict(kwargs)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        text = _(
            "The arguments cannot be stored (%(error)s); pass plain values, such as a primary key"
        )
        raise ValueError(said(text, error=error)) from error
    if len(pickled) > LARGEST * 3 // 4:
        text = _("The arguments are larger than 3 MB; pass a key, and look them up")
        raise ValueError(said(text))
    return lambda run_time: _columns(job.id, run_time, shown, pickled)


def signer_again(run: "DjangoJobExecution") -> Columns | None:
    """Return the same for another run with a run's arguments; None if it has none of its own.

    :raises UnreadableState: if they were not signed for that run.
    """
    if run.arguments_state is None:
        return None
    job_id, shown, pickled = run.job_id, run.arguments, _verified(run)
    return lambda run_time: _columns(job_id, run_time, shown, pickled)


def restore(run: "DjangoJobExecution") -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return the arguments that are a run's own; None if it has its job's.

    :raises UnreadableState: if they were not signed for this run, or cannot be unpickled here.
    """
    if run.arguments_state is None:
        return None
    pickled = _verified(run)
    try:
        args, kwargs = pickle.loads(pickled)  # noqa: S301 - the signature was verified
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # unpickling imports modules, and one may call sys.exit()
        text = f"This run's own arguments cannot be unpickled: {error!r}"
        raise serializer.UnreadableState(text) from error
    return args, kwargs


def give(job: Job, run: "DjangoJobExecution") -> None:
    """Give a restored job the arguments of a run, if the run has its own.

    :raises UnreadableState: as above.
    """
    if (own := restore(run)) is not None:
        job.args, job.kwargs = own


def _columns(job_id: str, run_time: dt.datetime, shown: str, pickled: bytes) -> dict[str, Any]:
    state = signing.sign_run(pickled, _names(job_id, run_time, shown))
    return {"arguments": shown, "arguments_state": state}


def _verified(run: "DjangoJobExecution") -> bytes:
    try:
        named = _names(run.job_id, run.run_time, run.arguments)
        return signing.verified_run(bytes(run.arguments_state or b""), named)
    except signing.BadSignature as error:
        raise serializer.UnsignedState(str(error)) from None


def _names(job_id: str, run_time: dt.datetime, shown: str) -> list[str]:
    # Job and time identify a run, so no row can take over the arguments of another.
    return [job_id, as_aware(run_time).astimezone(dt.UTC).isoformat(), shown]
