"""A log of which nobody but the project writes the lines, whatever a job is called or raises."""

import logging
from types import TracebackType
from typing import Any

from jobstore.texts import one_line

# Characters of a record, and of a line of a traceback.
LIMIT = 10_000


class LineFormatter(logging.Formatter):
    """Puts each record on one line; what cannot be printed is written as Python writes it.

    A traceback has more lines than one. They are indented, so that none passes for a record.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the record without its traceback."""
        return one_line(super().formatMessage(record), LIMIT)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return a traceback."""
        error: tuple[type[BaseException], BaseException, TracebackType | None] = ei
        return _indented(super().formatException(error))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Return where the program was."""
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(f"    {one_line(line, LIMIT)}" for line in text.split("\n"))
