"""Formats of the log: lines that no text can forge, or JSON; both name the run of each record."""

import contextlib
import copy
import logging
import sys
from types import TracebackType
from typing import IO, Any, Literal

import colorlog
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter as PlainJsonFormatter

from jobstore.context import CurrentRun, current
from jobstore.texts import one_line

# Characters of a record, and of a line of a traceback.
MAX_CHARACTERS = 10_000
COLOURS = {"DEBUG": "thin", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold_red"}


class RunFilter(logging.Filter):
    """Adds the run to each record that is written inside one.

    Such a record has `job_id`, `run_id` (the id of its row in the history) and `epoch` (that of the
    lease). What a job does in another process is not inside its run.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is known; let every record pass."""
        if (run := current.get() or _run_of(record)) is not None:
            record.job_id, record.run_id, record.epoch = run.job_id, run.execution_id, run.epoch
        return True


def mark(error: BaseException, run: CurrentRun) -> None:
    """Note in an exception which run raised it, since APScheduler logs it after the run."""
    with contextlib.suppress(Exception):  # it is anybody's class
        error.__dict__["_jobstore_run"] = run


def _run_of(record: logging.LogRecord) -> CurrentRun | None:
    error = record.exc_info[1] if record.exc_info else None
    run: CurrentRun | None = None
    with contextlib.suppress(Exception):  # as above
        run = error.__dict__.get("_jobstore_run") if error is not None else None
    return run


class LineFormatter(colorlog.ColoredFormatter):
    """Writes each record on one line; characters that cannot be printed are escaped as in Python.

    The lines of a traceback are indented, so that none passes for a record. A record of a run ends
    with the run. Colours are for terminals alone.
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        stream: IO[str] | None = None,
    ) -> None:
        """Prepare.

        :param fmt: may name `log_color` and `reset`.
        :param stream: where it goes; without it, to the standard error.
        """
        stream = stream or sys.stderr
        super().__init__(fmt, datefmt, style, log_colors=COLOURS, stream=stream)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the record without its traceback."""
        safe = copy.copy(record)
        for name, value in vars(record).items():
            if isinstance(value, str):
                setattr(safe, name, one_line(value, MAX_CHARACTERS))
        if job_id := getattr(safe, "job_id", None):
            safe.message += f" [job {job_id}, run {safe.run_id}, epoch {safe.epoch}]"  # type: ignore[attr-defined]
        return super().formatMessage(safe)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return a traceback."""
        error: tuple[type[BaseException], BaseException, TracebackType | None] = ei
        return _indented(super().formatException(error))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Return where the program was."""
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(f"    {one_line(line, MAX_CHARACTERS)}" for line in text.split("\n"))


class JsonFormatter(PlainJsonFormatter):
    """Writes each record as one line of JSON: time (UTC), level, logger, message, and its run."""

    def __init__(self, *formats: object) -> None:
        """Prepare. The fields are the same whatever format and date somebody else's logger had."""
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
            reserved_attrs=RESERVED_ATTRS,
            timestamp="time",
        )
