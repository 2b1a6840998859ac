"""How long to wait for a database that fails."""

import random
import time

# Seconds between two tries at most: half of the 2 s within which claims are to resume.
MAX_BACKOFF_SECONDS = 1.0


class Backoff:
    """A pause that grows with each failure and ends with the first success."""

    def __init__(self) -> None:
        # How long the current pause is, in seconds; zero if there is none.
        self.seconds = 0.0
        self._ends_at = 0.0

    def longer(self) -> None:
        """Begin another pause, twice as long as the one before."""
        longer = min(MAX_BACKOFF_SECONDS, max(0.1, 2 * self.seconds))
        self.seconds = longer * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads the tries
        self._ends_at = time.monotonic() + self.seconds

    def over(self) -> None:
        """Forget the failures: the last try went well."""
        self.seconds = 0.0

    def end_pause(self) -> None:
        """Let the next try be made at once."""
        self._ends_at = 0.0

    @property
    def lasts(self) -> bool:
        """Whether it is too early to try again."""
        return time.monotonic() < self._ends_at
