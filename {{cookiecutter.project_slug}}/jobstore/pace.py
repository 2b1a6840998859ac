"""How fast runs come to their end here, and so how many can be claimed ahead of free workers."""

import math
import time

# Of a function's longest run, the part that counts after each shorter one: about twenty are
# remembered.
MEMORY = 0.95
# Seconds that two looks are taken to be apart at least: a few runs in no time are no pace yet.
SHORTEST = 0.005


class Pace:
    """What the runs of this process took so far.

    Only functions that have run are known. One that was short with some arguments and is long with
    others is found out by its first long run.
    """

    def __init__(self, seconds: float, most: int) -> None:
        """Prepare.

        :param seconds: of work that may be claimed ahead.
        :param most: runs that may be claimed ahead, however short they are.
        """
        # Runs that will begin within `seconds` beside those that workers are busy with.
        self.ahead = 0
        self._seconds = seconds
        self._most = most
        self._longest: dict[str, float] = {}
        self._claimed = 0
        self._finished = 0
        self._rate = 0.0
        self._at = time.monotonic()

    def expected(self, func: str) -> float:
        """Return how many seconds a run of this function will take; infinity if nobody knows."""
        return self._longest.get(func, math.inf)

    def claimed(self, runs: int) -> None:
        """Note that so many runs were claimed."""
        self._claimed += runs

    def ended(self, func: str, seconds: float | None) -> None:
        """Note how long a run took; None, in a process pool, makes its function unknown."""
        if seconds is None:
            self._longest.pop(func, None)
        else:
            self._longest[func] = max(seconds, MEMORY * self._longest.get(func, 0.0))

    def look(self, unfinished: int) -> None:
        """Work out `ahead`, given how many claimed runs have not finished."""
        now, finished = time.monotonic(), self._claimed - unfinished
        elapsed = now - self._at
        if finished > self._finished or elapsed > self._seconds:
            rate = (finished - self._finished) / max(elapsed, SHORTEST)
            share = min(elapsed / self._seconds, 1.0)
            self._rate += share * (rate - self._rate) if self._rate else rate
            self.ahead = min(self._most, int(self._rate * self._seconds))
            self._at, self._finished = now, finished
