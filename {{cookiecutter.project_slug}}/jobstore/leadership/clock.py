"""The database's time, which decides everything, as one process knows it between two answers.

In between it advances by the monotonic clock, so a wrong or jumping clock of this machine does not
matter.
"""

import datetime as dt
import logging
import time

from jobstore.util import as_aware

logger = logging.getLogger("jobstore.scheduler")

# Seconds by which this machine's clock may differ from the database's before it is reported.
REPORTED_SKEW_SECONDS = 1.0


class DatabaseClock:
    """Keeps the time that the database last showed."""

    def __init__(self) -> None:
        # Seconds by which the database's clock is ahead of this machine's monotonic one.
        self._ahead: float | None = None
        self._is_skewed = False

    def now(self) -> dt.datetime:
        """Return the database's time: never ahead of it, and behind it by less than a round trip.

        Before the database first answers, this is the machine's own time.
        """
        if self._ahead is None:
            return dt.datetime.now(dt.UTC)
        return dt.datetime.fromtimestamp(time.monotonic() + self._ahead, dt.UTC)

    def read(self, shown: dt.datetime, asked_at: float, answered_at: float) -> None:
        """Take in a time that the database showed between two moments of the monotonic clock.

        The known offset changes only if the answer rules it out, so a slow answer does no harm
        (F. Cristian, "Probabilistic clock synchronization", 1989).
        """
        earliest = as_aware(shown).timestamp() - answered_at
        latest = as_aware(shown).timestamp() - asked_at
        known = earliest if self._ahead is None else self._ahead
        self._ahead = min(max(known, earliest), latest)

    @property
    def skew(self) -> float:
        """Seconds by which this machine's clock is ahead of the database's."""
        return (dt.datetime.now(dt.UTC) - self.now()).total_seconds()

    def report_skew(self) -> None:
        """Log when this machine's clock begins or ceases to differ from the database's."""
        was_skewed, skew = self._is_skewed, self.skew
        self._is_skewed = abs(skew) >= REPORTED_SKEW_SECONDS
        if self._is_skewed and not was_skewed:
            logger.warning(
                "This machine's clock is %.1f s %s the database's, which decides when jobs run.",
                abs(skew),
                "ahead of" if skew > 0 else "behind",
            )
        elif was_skewed and not self._is_skewed:
            logger.info("This machine's clock agrees with the database's again.")
