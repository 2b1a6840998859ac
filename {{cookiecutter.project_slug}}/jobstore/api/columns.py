"""A job as the operations store it: its columns, and what is questionable about it."""

import enum
import logging
from typing import Any, Final

from jobstore.api.errors import InvalidOption
from jobstore.schedules.wording import weekday_question
from jobstore.sentences import told
from jobstore.storage import serializer
from jobstore.storage.serializer import UnreadableState
from jobstore.util import get_django_internal_datetime

logger = logging.getLogger("jobstore.store")


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "unset"


# The value of an option that was not given, since for some options None has a meaning.
UNSET: Final = Unset.UNSET


def warn_of_weekdays(job: Any) -> None:
    """Log a warning about weekdays that are given as numbers: valid, but often a mistake."""
    if question := weekday_question(job.trigger):
        logger.warning("Job %r: %s.", job.id, question)


def definition(job: Any) -> dict[str, Any]:
    """Return the columns that define a job, and when it runs next."""
    try:
        values = serializer.values(job)
    except (ValueError, UnreadableState) as error:
        raise InvalidOption(told(error)) from error
    return {"next_run_time": get_django_internal_datetime(job.next_run_time), **values}


def in_service(job: Any) -> dict[str, Any]:
    """Return the same with the columns that put a job into service."""
    columns = {"quarantined_at": None, "quarantine_reason": "", "retired_at": None}
    return columns | definition(job)
