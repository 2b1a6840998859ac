"""How fast runs end in this process, and so how many can be claimed before a worker is free."""

import math
import time

# A function's longest duration is multiplied by this after each shorter run, so it counts for half
# after about 14 runs.
DECAY = 0.95
# Lower bound for the measuring interval, so that a few instant runs do not give an absurd rate.
MIN_INTERVAL_SECONDS = 0.005


class Prefetch:
    """The durations of the runs of this process so far.

    Only functions that have run are known. A function that is short with some arguments and long
    with others counts as short until its first long run.
    """

    def __init__(self, seconds: float, most: int) -> None:
        """Prepare.

        :param seconds: seconds of work that may be claimed early.
        :param most: how many runs may be claimed early, however short they are.
        """
        # How many runs beyond the free workers will begin within `seconds`.
        self.ahead = 0
        self._seconds = seconds
        self._most = most
        self._longest: dict[str, float] = {}
        self._rate = 0.0
        self._claimed = 0
        self._finished = 0
        # When runs were last counted; start and end of the current busy period.
        self._looked_at = self._busy_since = self._ended_at = time.monotonic()
        self._is_idle = True

    def expected(self, func: str) -> float:
        """Return how many seconds a run of this function will take; infinity if unknown."""
        return self._longest.get(func, math.inf)

    def claimed(self, runs: int) -> None:
        """Note that so many runs were claimed."""
        if self._is_idle:
            self._busy_since, self._is_idle = time.monotonic(), False
        self._claimed += runs

    def ended(self, func: str, seconds: float | None) -> None:
        """Note how long a run took; None, in a process pool, makes its function unknown."""
        self._ended_at = time.monotonic()
        if seconds is None:
            self._longest.pop(func, None)
        else:
            self._longest[func] = max(seconds, DECAY * self._longest.get(func, 0.0))

    def look(self, unfinished: int) -> None:
        """Compute `ahead`, given how many claimed runs have not finished.

        Only busy time counts: workers that wait for a claim are not slow.
        """
        now, finished = time.monotonic(), self._claimed - unfinished
        until = now if unfinished else self._ended_at
        elapsed = until - max(self._looked_at, self._busy_since)
        if finished > self._finished or elapsed > self._seconds:
            rate = (finished - self._finished) / max(elapsed, MIN_INTERVAL_SECONDS)
            share = min(elapsed / self._seconds, 1.0) if self._rate else 1.0
            self._rate += share * (rate - self._rate)
            self.ahead = min(self._most, int(self._rate * self._seconds))
            self._looked_at, self._finished = until, finished
        self._is_idle = not unfinished
