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


# What an option is that nobody gave: for some, None means something.
UNSET: Final = Unset.UNSET


def warn_of_weekdays(job: Any) -> None:
    """Write into the log what is valid, and hardly meant: weekdays that are given as numbers."""
    if question := weekday_question(job.trigger):
        logger.warning("Job %r: %s.", job.id, question)


def definition(job: Any) -> dict[str, Any]:
    """Return the columns that tell what a job is and when it runs next."""
    try:
        values = serializer.values(job)
    except (ValueError, UnreadableState) as error:
        raise InvalidOption(told(error)) from error
    return {"next_run_time": get_django_internal_datetime(job.next_run_time), **values}


def in_service(job: Any) -> dict[str, Any]:
    """Return the same, of a job that is in service."""
    columns = {"quarantined_at": None, "quarantine_reason": "", "retired_at": None}
    return columns | definition(job)
