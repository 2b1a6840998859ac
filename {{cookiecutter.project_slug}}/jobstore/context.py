"""The run that is being carried out here, which all code that it calls can ask for."""

import contextvars
import datetime as dt
import decimal
from typing import Protocol

Number = float | decimal.Decimal


class CurrentRun(Protocol):
    """A run as its job sees it: all that it needs to recognise its own repetition.

    `execution_id` is its row in the history, `run_time` its scheduled time in UTC, `epoch` that of
    the lease it was claimed with.
    """

    execution_id: int
    job_id: str
    run_time: dt.datetime
    epoch: int | None

    def progress(self, done: Number, total: Number | None = None, text: str = "") -> None:
        """Tell how far the run has come; it is shown within a second, and kept when it is over.

        Call it as often as you like: it only remembers, and what it remembers is written once a
        second and at the end, on another connection. It never fails the job. What makes no sense
        is left out, and a warning in the log names the argument, once in a run.

        :param done: how much is done, in any unit; 0 or more.
        :param total: how much there is to do, in the same unit; more than 0.
        :param text: what is done at the moment; the first 200 characters are kept.
        """


current: contextvars.ContextVar[CurrentRun | None] = contextvars.ContextVar(
    "current_run", default=None
)
