"""Logs failures that repeat: one line at first, then counts, and a line when they are over."""

import logging
import time

# Seconds between two lines that only count.
COUNT_SECONDS = 60.0
# Seconds without a failure after which the next one counts as new.
FORGOTTEN_SECONDS = 15.0


class RepeatedFailure:
    """One kind of failure of one thread, and for how long it has been failing."""

    def __init__(self, logger: logging.Logger, what: str, over: str) -> None:
        """Prepare.

        :param what: the beginning of each line, such as "Due jobs wait".
        :param over: the beginning of the last line, such as "Due jobs are claimed again".
        """
        self.text = ""
        self._logger = logger
        self._what = what
        self._over = over
        self._times = 0
        self._since = self._last = self._told = 0.0

    @property
    def seconds(self) -> float:
        """Seconds for which every try has failed; 0 if the last one did not."""
        if not self._times or time.monotonic() - self._last > FORGOTTEN_SECONDS:
            return 0.0
        return time.monotonic() - self._since

    def happened(
        self, text: str, *, level: int = logging.WARNING, error: BaseException | None = None
    ) -> None:
        """Note a failure; log it if it is the first, differs from the last, or a minute has passed.

        :param error: an unexpected exception, whose traceback is logged with the first line.
        """
        now = time.monotonic()
        if self._times and now - self._last > FORGOTTEN_SECONDS:
            self._times = 0
        if not self._times:
            self._since = now
        is_new = not self._times or text != self.text
        self.text, self._last = text, now
        self._times += 1
        if is_new:
            self._logger.log(level, "%s: %s", self._what, text, exc_info=error)
            self._told = now
        elif now - self._told >= COUNT_SECONDS:
            self._logger.log(
                level,
                "%s, %d times within %.0f s by now: %s",
                self._what,
                self._times,
                now - self._since,
                text,
            )
            self._told = now

    def over(self) -> None:
        """Note a success; log it if there was more than one failure."""
        if self._times > 1:
            seconds = time.monotonic() - self._since
            self._logger.info("%s, after %d failures in %.0f s.", self._over, self._times, seconds)
        self._times, self.text = 0, ""
