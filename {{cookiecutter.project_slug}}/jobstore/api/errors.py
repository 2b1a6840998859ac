"""The errors of operations: a class for each kind of mistake, with one sentence as its text.

Most are also ValueErrors, which they were before they had classes of their own.
"""

from django.core.exceptions import PermissionDenied

from jobstore.storage.serializer import UnreadableState


class OperationError(Exception):
    """An operation that was refused; its text says why, and nothing was changed."""


class NoSuchJob(OperationError, ValueError):
    """There is no job with this id in service."""


class NoSuchRun(OperationError, ValueError):
    """There is no such run in the history, or not any more."""


class AlreadyExists(OperationError, ValueError):
    """There is a job with this id."""


class InvalidSchedule(OperationError, ValueError):
    """A schedule that is wrong, never fires, or fires more often than is allowed."""


class InvalidArguments(OperationError, ValueError):
    """Arguments that the function does not take, or that cannot be stored."""


class InvalidOption(OperationError, ValueError):
    """An option of a job, or a filter, that is wrong."""


class NotSchedulable(OperationError, ValueError):
    """A function that cannot be a job, or that the code does not offer."""


class NotDeclared(OperationError, ValueError):
    """A job that the code does not declare, so that it cannot be reset."""


class Conflict(OperationError):
    """The job was changed since it was looked at."""


class NotAllowed(OperationError, PermissionDenied):
    """The user may not do this. In a view that does not catch it, the answer is 403."""


class CannotCancel(OperationError, ValueError):
    """A run that has ended, or that nothing can interrupt."""


class NotEnded(OperationError, ValueError):
    """A run that has not ended yet, so that it cannot be run again."""


class Quarantined(OperationError, ValueError):
    """The job is quarantined, and does not run until it is repaired."""


class Unreadable(OperationError, UnreadableState):
    """The stored job, or the arguments of a run, cannot be restored here."""
